"""What a ledger promises of invoices: periods are closed once, and cents add up."""

import pytest

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, LedgerError
from metering.ledger import (
    CENT_P,
    SETTLE_GRACE_NS,
    Invoice,
    PeriodState,
    Revision,
    books,
)
from metering.money import PICO
from metering.stores import Ledger, UnbilledPeriod
from metering.testing.contracts.samples import (
    at,
    open_account,
    paid,
    promo,
    used,
)

__all__ = ["InvoicingContract"]

_JANUARY_NS = at("2026-01-15T00:00")
_FEBRUARY_NS = at("2026-02-15T00:00")
_CLOSED_NS = at("2026-02-02T00:00")
_MARCH_NS = at("2026-03-02T00:00")


def _close(
    ledger: Ledger, period: str = "2026-01", now_ns: int = _CLOSED_NS
) -> Invoice:
    return ledger.close_period("acme", period, now_ns=now_ns, grace_ns=SETTLE_GRACE_NS)


def _amounts(invoice: Invoice) -> list[tuple[str, str, int]]:
    return [(line.kind, line.period, line.amount_p) for line in invoice.lines]


def _owed_p(ledger: Ledger) -> int:
    """Return what the account owes, of books that must sum to 0."""
    balances = ledger.balances_p()
    assert sum(balances.values()) == 0
    return balances.get(books.receivable_of("acme"), 0)


class InvoicingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_a_period_becomes_an_invoice(self, ledger: Ledger) -> None:
        """By model and price: calls, leaves, amount; the total alone is rounded."""
        open_account(ledger)
        ledger.post(
            [
                used("e1", 936_566_600_000),
                used("e2", 1, model="other"),
                used("e3", 3),
                used("f1", 7, admitted_ns=_FEBRUARY_NS),
            ]
        )

        invoice = _close(ledger)

        assert invoice.id == "acme-2026-01"
        assert (invoice.start_ns, invoice.end_ns) == (
            at("2026-01-01T00:00"),
            at("2026-02-01T00:00"),
        )
        assert [
            (line.model, line.calls, line.usage and line.usage.input_tokens)
            for line in invoice.lines
        ] == [("other", 1, 10), ("zai-org/GLM-4.7", 2, 20)]
        assert [line.amount_p for line in invoice.lines] == [1, 936_566_600_003]
        assert invoice.total_cents == 94
        assert invoice.residual_p == 94 * CENT_P - 936_566_600_004

    def test_a_period_before_the_account_is_none_of_its_own(
        self, ledger: Ledger
    ) -> None:
        """The error names the first; nothing is kept of the one that was asked for."""
        open_account(ledger)

        with pytest.raises(
            ConfigurationError, match=r"no period '2025-12'.*first is '2026-01'"
        ):
            _close(ledger, "2025-12")

        assert ledger.invoices("acme") == []
        assert ledger.unbilled() == []

    def test_calls_from_before_their_account_are_billed_by_their_month(
        self, ledger: Ledger
    ) -> None:
        """And so is, by a later month, what of that one came after its invoice."""
        december_ns = at("2025-12-15T00:00")
        ledger.post([used("e1", CENT_P, admitted_ns=december_ns)])
        account = Account(id="acme", created_ns=_FEBRUARY_NS, payment_method=True)
        ledger.create(account, None)

        first = _close(ledger, "2025-12")
        ledger.post([used("e2", CENT_P, admitted_ns=december_ns)])
        second = _close(ledger, "2026-01")

        assert (first.total_cents, second.total_cents) == (1, 1)

    def test_what_rounding_leaves_over_is_booked(self, ledger: Ledger) -> None:
        """The account owes whole cents; the books sum to 0 at each step."""
        open_account(ledger)
        ledger.post([used("e1", 936_566_600_000)])

        invoice = _close(ledger)

        assert _owed_p(ledger) == invoice.total_p == 94 * CENT_P
        assert ledger.balances_p()[books.ROUNDING] == -3_433_400_000
        ledger.record_payment(
            paid(94 * CENT_P, "invoice", at_ns=_CLOSED_NS, refers_to=invoice.id)
        )
        assert _owed_p(ledger) == 0

    def test_closed_again_it_is_the_same(self, ledger: Ledger) -> None:
        """Nothing is booked a second time, whatever the hour."""
        open_account(ledger)
        ledger.post([used("e1", 15 * CENT_P // 10)])
        first = _close(ledger)
        balances = ledger.balances_p()

        again = _close(ledger, now_ns=_MARCH_NS)

        assert again == first == ledger.invoice("acme-2026-01")
        assert ledger.balances_p() == balances
        assert ledger.invoices() == [first]

    def test_a_period_is_not_closed_before_its_calls_are_in(
        self, ledger: Ledger
    ) -> None:
        """One nanosecond before its end and the grace it is refused, then it is not."""
        open_account(ledger)
        due_ns = at("2026-02-01T00:00") + SETTLE_GRACE_NS

        with pytest.raises(ConfigurationError, match="2026-02-02T00:00:00Z"):
            _close(ledger, now_ns=due_ns - 1)

        assert _close(ledger, now_ns=due_ns).lines == ()

    def test_a_period_that_the_account_has_not_is_refused(self, ledger: Ledger) -> None:
        """Periods have the account's own names."""
        open_account(ledger)

        with pytest.raises(ConfigurationError, match="2026-01-31"):
            _close(ledger, "2026-01-31")

    def test_credit_and_early_payments_lower_what_is_due(self, ledger: Ledger) -> None:
        """$10 used, $3 of it by credit, $2 paid early: $5 are due."""
        open_account(ledger)
        ledger.grant_credit(promo(3 * PICO))
        ledger.post([used("e1", 10 * PICO)])
        ledger.record_payment(paid(2 * PICO, "early_payment"))

        invoice = _close(ledger)

        assert _amounts(invoice) == [
            ("usage", "2026-01", 10 * PICO),
            ("early_payment", "2026-01", -2 * PICO),
            ("credit", "2026-01", -3 * PICO),
        ]
        assert invoice.total_cents == 500
        assert _owed_p(ledger) == 5 * PICO

    def test_what_ran_over_credit_alone_is_not_billed(self, ledger: Ledger) -> None:
        """Later credit makes up for it, so an invoice must not ask for it, too."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(3))
        ledger.post([used("e1", 5, funding="credit")])

        invoice = _close(ledger)

        assert _amounts(invoice) == [("usage", "2026-01", 5), ("credit", "2026-01", -5)]
        assert (invoice.total_cents, invoice.paid) == (0, True)

    def test_what_was_paid_too_much_becomes_credit(self, ledger: Ledger) -> None:
        """$2 were paid early for what credit had paid already: $2 of credit."""
        open_account(ledger)
        ledger.grant_credit(promo(10 * PICO))
        ledger.post([used("e1", 4 * PICO)])
        ledger.record_payment(paid(2 * PICO, "early_payment"))

        invoice = _close(ledger)

        assert invoice.total_cents == 0
        assert invoice.sum_p("carried") == 2 * PICO
        grants = {grant.id: grant for grant in ledger.grants("acme")}
        carried = grants["invoice:acme-2026-01"]
        assert (carried.kind, carried.left_p) == ("paid", 2 * PICO)
        assert _owed_p(ledger) == 0
        assert ledger.balances_p()[books.credit_of("acme", "paid")] == -2 * PICO

    def test_a_late_call_is_told_by_the_next_invoice(self, ledger: Ledger) -> None:
        """By itself, with what credit paid of it; the closed invoice stays."""
        open_account(ledger)
        ledger.post([used("e1", 6 * CENT_P)])
        january = _close(ledger)
        ledger.grant_credit(promo(CENT_P))
        ledger.post(
            [
                used("e2", 3 * CENT_P, took_ns=NS_PER_S * 10**7),
                used("f1", 5 * CENT_P, admitted_ns=_FEBRUARY_NS),
            ]
        )

        february = _close(ledger, "2026-02", _MARCH_NS)

        assert ledger.invoice(january.id) == january
        assert _amounts(february) == [
            ("late", "2026-01", 3 * CENT_P),
            ("usage", "2026-02", 5 * CENT_P),
            ("credit", "2026-02", -CENT_P),
        ]
        assert february.lines[0].calls == 1
        assert february.lines[0].usage == used("e2", 1).usage
        assert _owed_p(ledger) == january.total_p + february.total_p

    def test_it_is_told_once(self, ledger: Ledger) -> None:
        """The invoice after the next says nothing of it."""
        open_account(ledger)
        _close(ledger)
        ledger.post([used("e1", 3 * CENT_P)])
        _close(ledger, "2026-02", _MARCH_NS)

        assert _close(ledger, "2026-03", at("2026-04-02T00:00")).lines == ()

    def test_an_early_payment_that_went_back_is_due_again(self, ledger: Ledger) -> None:
        """After the period was closed: on the next invoice."""
        open_account(ledger)
        ledger.post([used("e1", 5 * PICO)])
        ledger.record_payment(paid(2 * PICO, "early_payment"))
        _close(ledger)
        ledger.record_payment(
            paid(2 * PICO, "refund", "re_1", at_ns=_FEBRUARY_NS, refers_to="pi_1")
        )

        february = _close(ledger, "2026-02", _MARCH_NS)

        assert _amounts(february) == [("early_payment", "2026-01", 2 * PICO)]
        assert february.total_p == 2 * PICO

    def test_a_paid_invoice_raises_the_tier(self, ledger: Ledger) -> None:
        """$50 of January are paid in February: the next tier at once."""
        open_account(ledger)
        ledger.post([used("e1", 50 * PICO)])
        invoice = _close(ledger)
        assert not invoice.paid

        ledger.record_payment(
            paid(50 * PICO, "invoice", at_ns=_CLOSED_NS, refers_to=invoice.id)
        )

        settled = ledger.invoice(invoice.id)
        assert settled is not None
        assert (settled.paid_by, settled.paid) == ("pi_1", True)
        account = ledger.get("acme")
        assert ledger.tiers.tier_of(account, _CLOSED_NS).level == 2

    @pytest.mark.parametrize(
        ("amount_p", "invoice_id", "told"),
        [
            (49 * PICO, "acme-2026-01", r"is of \$50, and payment 'pi_1' of \$49"),
            (50 * PICO, "acme-2026-02", "has no invoice 'acme-2026-02'"),
            (50 * PICO, "other-2026-01", "'acme' has no invoice 'other-2026-01'"),
        ],
    )
    def test_only_its_own_payment_settles_an_invoice(
        self, ledger: Ledger, amount_p: int, invoice_id: str, told: str
    ) -> None:
        """Whole, and of the same account; nothing is recorded otherwise."""
        open_account(ledger)
        open_account(ledger, "other")
        ledger.post([used("e1", 50 * PICO), used("e2", 50 * PICO, "other")])
        _close(ledger)
        ledger.close_period(
            "other", "2026-01", now_ns=_CLOSED_NS, grace_ns=SETTLE_GRACE_NS
        )

        with pytest.raises(LedgerError, match=told):
            ledger.record_payment(paid(amount_p, "invoice", refers_to=invoice_id))

        assert ledger.payments("acme") == []

    def test_an_invoice_is_paid_once(self, ledger: Ledger) -> None:
        """The same payment again is known; another is refused, until it went back."""
        open_account(ledger)
        ledger.post([used("e1", PICO)])
        payment = paid(PICO, "invoice", refers_to=_close(ledger).id)
        ledger.record_payment(payment)
        assert not ledger.record_payment(payment).new

        second = paid(PICO, "invoice", "pi_2", refers_to="acme-2026-01")
        with pytest.raises(LedgerError, match="paid by 'pi_1' already"):
            ledger.record_payment(second)
        for number in (1, 2):
            ledger.record_payment(
                paid(PICO // 2, "chargeback", f"cb_{number}", refers_to="pi_1")
            )

        assert ledger.record_payment(second).new
        settled = ledger.invoice("acme-2026-01")
        assert settled is not None
        assert settled.paid_by == "pi_2"

    def test_what_is_not_billed_is_listed(self, ledger: Ledger) -> None:
        """By account and period; a closed one again once something came to it."""
        open_account(ledger)
        open_account(ledger, "other")
        ledger.post(
            [
                used("e1", 1),
                used("e2", 0, "other"),
                used("f1", 1, admitted_ns=_FEBRUARY_NS),
            ]
        )
        _close(ledger)

        rest = [
            UnbilledPeriod("acme", "2026-02", invoiced=False),
            UnbilledPeriod("other", "2026-01", invoiced=False),
        ]
        assert ledger.unbilled() == rest
        assert ledger.unbilled(limit=1) == rest[:1]
        assert ledger.unbilled(after=("acme", "2026-02")) == rest[1:]
        ledger.post([used("e9", 1)])
        late = UnbilledPeriod("acme", "2026-01", invoiced=True)
        assert ledger.unbilled() == [late, *rest]

    def test_invoices_are_listed_by_id(self, ledger: Ledger) -> None:
        """Of one account or of all, page by page."""
        for name in ("acme", "zeta"):
            open_account(ledger, name)
            for period in ("2026-01", "2026-02"):
                ledger.close_period(name, period, now_ns=_MARCH_NS, grace_ns=0)

        ids = [invoice.id for invoice in ledger.invoices(limit=3)]
        assert ids == ["acme-2026-01", "acme-2026-02", "zeta-2026-01"]
        assert [i.id for i in ledger.invoices(after=ids[-1])] == ["zeta-2026-02"]
        assert [i.period for i in ledger.invoices("zeta")] == ["2026-01", "2026-02"]
        assert ledger.invoice("zeta-2026-03") is None

    def test_a_period_of_many_prices_and_corrections(self, ledger: Ledger) -> None:
        """A call and its correction before the close are both on the invoice."""
        open_account(ledger)
        ledger.post([used("e1", 5 * PICO), used("e2", 2 * PICO)])
        ledger.correct([Revision(event_id="e1", reason="x")], now_ns=_JANUARY_NS)

        invoice = _close(ledger)

        assert _amounts(invoice) == [
            ("usage", "2026-01", 7 * PICO),
            ("correction", "2026-01", -5 * PICO),
        ]
        assert invoice.total_cents == 200
        assert ledger.period("acme", "2026-01") == PeriodState(2 * PICO)
