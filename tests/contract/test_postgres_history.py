"""What is particular to the history of a ledger in PostgreSQL."""

from contextlib import closing

import psycopg
import pytest

from metering.backends.sql import SqlLedger
from metering.stores import RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS
from metering.testing.contracts.samples import PLAN

pytestmark = pytest.mark.timeout(60)

FORGET = {
    "refusals_before_ns": 9 * MINUTE_NS,
    "refusals_max": 100,
    "pools_before_ns": 0,
    "limit": 10,
}


def test_what_another_node_forgets_just_now_is_left_to_it(postgres_url):
    """Each would wait for rows that the other has, in whatever order they come."""
    minutes = [
        RefusalMinute(
            place=RefusalPlace(number * MINUTE_NS, "acme", "m", "c", "", 1),
            status=429,
            calls=1,
            first_ns=number * MINUTE_NS,
            last_ns=number * MINUTE_NS,
        )
        for number in range(3)
    ]
    with (
        closing(SqlLedger(postgres_url, tiers=PLAN, timeout_ms=500)) as ledger,
        psycopg.connect(postgres_url) as other,
    ):
        ledger.history.note(minutes, [])
        other.execute("DELETE FROM refusals WHERE minute_ns = 0")

        assert 2 == ledger.history.forget(**FORGET)
        other.rollback()
        assert 1 == ledger.history.forget(**FORGET)
        assert [] == ledger.history.refusals(None)
