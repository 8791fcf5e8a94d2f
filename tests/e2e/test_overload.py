"""A real server under four times its load, for seconds: `make overload` in short."""

import pytest
from benchmarks.adaptive.load import Caller, load
from benchmarks.adaptive.overload import (
    ALL_LOAD,
    CAPACITY_PER_S,
    PAID_LOAD,
    running,
)
from benchmarks.adaptive.served import FREE, MODEL, PAID

pytestmark = [pytest.mark.anyio, pytest.mark.slow_start, pytest.mark.timeout(60)]

SECONDS = 5.0
CEILING_RPM = 60.0


async def test_who_pays_is_served_and_the_others_are_told_less():
    """None of the paid is refused; the limit that is told falls; some are served."""
    paid_per_s = PAID_LOAD * CAPACITY_PER_S / len(PAID)
    free_per_s = (ALL_LOAD - PAID_LOAD) * CAPACITY_PER_S / len(FREE)
    with running(None) as (url, keys):
        callers = [Caller(name, keys[name], paid_per_s) for name in PAID]
        callers += [Caller(name, keys[name], free_per_s) for name in FREE]
        answers = await load(url, MODEL, callers, seconds=SECONDS, seed=1)
    paid = [answer for answer in answers if answer.caller in PAID]
    free = [answer for answer in answers if answer.caller in FREE]
    told = [answer.told_rpm for answer in free if answer.told_rpm is not None]

    assert all(answer.served for answer in paid)
    assert {"", "platform_busy", "rate_limit_exceeded"} >= {a.code for a in free}
    assert CEILING_RPM == max(told)
    assert CEILING_RPM > min(told)
    assert 0 < sum(answer.served for answer in free) < len(free)
