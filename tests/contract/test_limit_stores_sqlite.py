"""Limits in an SQLite file keep the contract, and what is particular to the file."""

from contextlib import closing

import pytest

from metering.backends.sqlite import SqliteLimitStore
from metering.testing.contracts.limits import LimitStoreContract

pytestmark = pytest.mark.anyio


class TestSqliteLimitStore(LimitStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        path = tmp_path / "limits.db"
        with closing(SqliteLimitStore(path, deadline_ms=15_000)) as store:
            yield store
