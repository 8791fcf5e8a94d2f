"""What a call hears whose account changed while it was on its way."""

import pytest
from structlog.testing import capture_logs

from metering.backends.sql import SqlLedger
from metering.errors import StorageError
from metering.stores import AccountChange

pytestmark = pytest.mark.anyio


class BrokenLater(SqlLedger):
    """Answers no more once it was told so, and takes an hour to say it."""

    clock = None

    def find_key(self, key_hash, *, now_ns):
        """Look up, or fail when nobody may go by what was known before."""
        if self.clock is not None:
            self.clock.advance(seconds=3600)
            raise StorageError("The ledger is locked. Try again.")
        return super().find_key(key_hash, now_ns=now_ns)


async def _after(service, ledger, change, *, broken):
    """Call, change the account as another process would, call again."""
    key = await service.account("acme", tier=1)
    await service.chat(key)
    account = ledger.change("acme", change, now_ns=0)
    await service.meter.limit_store.announce("acme", account.version)
    ledger.clock = service.clock if broken else None
    with capture_logs() as logs:
        answer = await service.chat(key)
    told = [(line["event"], line["code"]) for line in logs if "code" in line]
    return answer.status_code, answer.json()["error"]["code"], told


async def test_a_ledger_that_fails_the_second_look_is_503(open_service):
    """Not an error of the app's; it is logged, and the app sees nothing of it."""
    ledger = BrokenLater("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        status, code, told = await _after(
            service, ledger, AccountChange(pin=2), broken=True
        )

        assert (503, "storage_unavailable") == (status, code)
        assert [("call_refused", "storage_unavailable")] == told
        assert 1 == len(service.model.calls)


async def test_a_refusal_at_the_second_look_is_logged(open_service):
    """Suspended by another process: 403, and the operator hears of it."""
    ledger = BrokenLater("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        status, code, told = await _after(
            service, ledger, AccountChange(suspended=True), broken=False
        )

    assert (403, "account_suspended") == (status, code)
    assert [("call_refused", "account_suspended")] == told
