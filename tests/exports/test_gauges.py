"""What there is to see of a process becomes values of metrics."""

import pytest

from metering.exports import metrics
from metering.exports.gauges import of_state
from metering.observing import ServiceState


@pytest.mark.parametrize("away", ["limits", "windows"])
def test_each_store_that_is_away_is_told_as_itself(away):
    values = dict(of_state(ServiceState(**{f"{away}_away": True})))

    assert {
        ("limits",): int(away == "limits"),
        ("windows",): int(away == "windows"),
    } == (values[metrics.AWAY])
