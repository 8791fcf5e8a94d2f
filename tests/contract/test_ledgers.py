"""Each ledger keeps the whole contract."""

from contextlib import closing

import pytest

from metering.backends.sql import SqlLedger
from metering.testing.contracts.ledger import PLAN, LedgerContract


class TestFile(LedgerContract):
    @pytest.fixture
    def ledger(self, tmp_path):
        with closing(SqlLedger(str(tmp_path / "ledger.db"), tiers=PLAN)) as ledger:
            yield ledger


class TestMemory(LedgerContract):
    @pytest.fixture
    def ledger(self):
        with closing(SqlLedger("sqlite://", tiers=PLAN)) as ledger:
            yield ledger


@pytest.fixture(scope="module")
def shared_url(postgres):
    """A database that is emptied for each test, for a new one takes its time."""
    return postgres.migrated()


@pytest.mark.timeout(60)
class TestPostgres(LedgerContract):
    @pytest.fixture
    def ledger(self, shared_url, empty_tables):
        empty_tables(shared_url)
        with closing(SqlLedger(shared_url, tiers=PLAN)) as ledger:
            yield ledger
