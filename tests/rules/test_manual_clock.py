"""The manual clock stands still, moves on when told, and back only when told so."""

import pytest

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.ledger import period_at
from metering.testing.clock import ManualClock


def test_it_stands_still_until_it_is_told_to_move():
    clock = ManualClock(100)
    assert [clock(), clock()] == [100, 100]
    assert clock.advance(ns=5, seconds=1.5) == clock() == 105 + 3 * NS_PER_S // 2


def test_it_starts_in_january_2026():
    """Inside the free window of the preset's free model."""
    assert period_at(ManualClock()()).key == "2026-01"


def test_it_goes_back_only_when_told_so():
    clock = ManualClock(100)
    with pytest.raises(ConfigurationError, match="move_to"):
        clock.advance(ns=-1)
    assert clock() == 100
    clock.move_to(99)
    assert clock() == 99
