"""Each ledger keeps the whole contract."""

from contextlib import closing

import pytest

from metering.backends.ledger_memory import MemoryLedger
from metering.backends.sql import SqlLedger
from metering.testing.contracts.ledger import PLAN, LedgerContract


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self):
        return MemoryLedger(PLAN)


class TestSqlLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, tmp_path):
        with closing(SqlLedger(str(tmp_path / "ledger.db"), tiers=PLAN)) as ledger:
            yield ledger
