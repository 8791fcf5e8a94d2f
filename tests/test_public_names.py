"""The names that users import are there, and come from where they live."""

import pytest

import metering


@pytest.mark.parametrize(
    "name", [*metering.__all__, "OpenTelemetry", "PrometheusGauges"]
)
def test_each_public_name_is_there(name):
    assert name == getattr(metering, name).__name__
    assert name in dir(metering)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'metering' has no attribute 'Meter'"):
        _ = metering.Meter
