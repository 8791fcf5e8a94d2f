"""A small model server with everything around it: `python -m metering.demo`."""
