"""A hundred thousand of the smallest charges: through journal, shipper and ledger."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.journal import Adoption, Journal, adopt_orphans
from metering.ledger import period_at
from metering.money import format_usd
from metering.shipper import Shipper
from metering.usage import Usage, UsageEvent

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CALLS = 100_000
NOW_NS = 1_768_435_200 * 10**9  # 2026-01-15
ONE_TOKEN = Usage(output_tokens=1)
A_CENT = (CALLS, CALLS, "0.01", "0.01")


class Shipped(NamedTuple):
    """What is left after the calls: the ledger, and a copy of their journal."""

    ledger: SqlLedger
    whole: bool
    copy: Path

    def books(self):
        """Return calls, tokens, and the sum of charges by model and by period."""
        (total,) = self.ledger.totals("acme", "2026-01")
        spent_p = self.ledger.period("acme", "2026-01").spent_p
        return (
            total.calls,
            total.usage.output_tokens,
            format_usd(total.charge_p),
            format_usd(spent_p),
        )


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Admit and close the calls, and ship them; once for both tests."""
    home = tmp_path_factory.mktemp("home")
    plan = plan_from_preset("friendli")
    ledger = SqlLedger(str(home / "ledger.db"), tiers=plan.tiers)
    ledger.create(Account(id="acme", created_ns=NOW_NS, payment_method=True), None)
    journal = Journal(home, clock=lambda: NOW_NS)
    price = plan.prices.model(LLAMA).at(NOW_NS)
    for number in range(CALLS):
        event = _one_token(number, price)
        journal.open_call(event)
        journal.close_call(event)
    # A shipped journal is deleted, so the copy comes first.
    shutil.copytree(home / "journal", home / "copy" / "journal")
    shipper = Shipper(journal, ledger.post)
    shipper.start()
    whole = shipper.stop(15.0)
    journal.close()
    yield Shipped(ledger, whole, home / "copy")
    ledger.close()


def test_a_hundred_thousand_tokens_cost_a_cent(shipped):
    """$0.1 a million: 10^5 calls of one token are $0.01, to the pico-dollar."""
    assert shipped.whole
    assert A_CENT == shipped.books()


def test_the_same_journal_again_changes_nothing(shipped):
    """Each of its 10^5 events is read once more, and none is new."""
    replayed = adopt_orphans(shipped.copy, shipped.ledger.post)

    assert Adoption(owners=1, closed=CALLS) == replayed
    assert A_CENT == shipped.books()


def _one_token(number, price):
    return UsageEvent(
        id=f"019bbf0a-0000-7000-8000-{number:012d}",
        account_id="acme",
        tier=1,
        model=LLAMA,
        dialect="openai.chat",
        price_version=price.id,
        period=period_at(NOW_NS).key,
        admitted_ns=NOW_NS,
        ended_ns=NOW_NS,
        ending="completed",
        usage=ONE_TOKEN,
        usage_source="upstream",
        charge_p=price.charge_p(ONE_TOKEN),
    )
