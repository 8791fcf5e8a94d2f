"""A ledger of an earlier version is brought to the present one with all it has."""

from contextlib import closing

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, Table, create_engine

from metering.backends.sql import SqlLedger, migrate, upgrade, verify
from metering.backends.sql.rows import event_row
from metering.stores import UsageDay
from metering.testing.contracts.samples import PLAN, at, used
from metering.usage import Usage

GLM = "zai-org/GLM-4.7"
LATER_LEAVES = {"audio_ms", "images"}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres").empty()


def fill(url, events):
    """Make a ledger as version 0001 made it, with these events in it."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", str(upgrade._SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        table = Table("usage_events", MetaData(), autoload_with=connection)
        rows = [event_row(event) for event in events]
        for row in rows:
            for leaf in LATER_LEAVES:
                row.pop(leaf)
        connection.execute(table.insert(), rows)
    engine.dispose()


def test_usage_by_day_is_made_of_the_events_that_are_there(url):
    """In UTC, the only zone there was then; exact, also beyond 64 bits."""
    huge = Usage(input_tokens=2**63 - 1, output_tokens=3)
    midnight_ns = at("2026-01-16T00:00")
    fill(
        url,
        [
            used("e1", 5, admitted_ns=midnight_ns - 1, usage=huge),
            used("e2", 6, admitted_ns=midnight_ns - 2, usage=huge),
            used("e3", 7, admitted_ns=midnight_ns - 2, usage=huge),
            used("e4", 8, admitted_ns=midnight_ns, usage=Usage(compute_ms=9)),
            used("e5", 9, "other", model="another"),
        ],
    )
    migrate(url)

    three = Usage(3 * (2**63 - 1), output_tokens=9, requests=3)
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        assert [
            UsageDay("2026-01-15", GLM, 3, three, 18),
            UsageDay("2026-01-16", GLM, 1, Usage(compute_ms=9), 8),
        ] == ledger.days("acme", "2026-01")
        (other,) = ledger.days("other", "2026-01")
        assert ("2026-01-15", "another", 9) == (other.day, other.model, other.charge_p)
    assert "days" not in {finding.check for finding in verify(url).findings}
