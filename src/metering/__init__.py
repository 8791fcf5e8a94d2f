"""Tiers, rate limits, output caps, metering and billing for ASGI model servers."""

__version__ = "0.1.0"
