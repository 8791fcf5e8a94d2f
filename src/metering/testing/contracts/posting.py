"""What a ledger promises of the events that are posted to it."""

import sys
from collections.abc import Sequence
from itertools import count, pairwise
from threading import Barrier, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.accounts import Account
from metering.errors import ConfigurationError
from metering.ledger import Charge, CreditState, PeriodState
from metering.money import AMOUNT_MAX_P, PICO
from metering.pricing import PriceVersion, Rate
from metering.stores import Ledger, PostReport
from metering.testing.contracts.samples import at, open_account, promo, used
from metering.usage import Usage, UsageEvent

__all__ = ["PostingContract"]

_NOW_NS = at("2026-01-15T00:00")
_numbers = count()


def _spent_p(ledger: Ledger, account_id: str = "acme", period: str = "2026-01") -> int:
    return ledger.period(account_id, period).spent_p


class PostingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_a_charge_is_exact_to_the_pico_dollar(self, ledger: Ledger) -> None:
        """GLM-4.7 at $0.6 and $2.2: 1,234,567 tokens in, 89,012 out, $0.9365666."""
        open_account(ledger)
        usage = Usage(input_tokens=1_234_567, output_tokens=89_012)
        price = PriceVersion(
            model="zai-org/GLM-4.7",
            kind="token",
            rates={"input_tokens": Rate(600_000), "output_tokens": Rate(2_200_000)},
        )

        ledger.post([used("e1", price.charge_p(usage), usage=usage)])

        assert PeriodState(936_566_600_000) == ledger.period("acme", "2026-01")

    def test_an_event_delivered_three_times_is_charged_once(
        self, ledger: Ledger
    ) -> None:
        """Within one batch, and again in later ones."""
        open_account(ledger)
        event, other = used("e1", 7), used("e2", 5)

        reports = [ledger.post([event, event]), ledger.post([other, event])]

        assert [PostReport(("e1",)), PostReport(("e2",))] == reports
        assert PostReport(()) == ledger.post([])
        assert _spent_p(ledger) == 12

    def test_an_id_with_another_charge_is_a_conflict(self, ledger: Ledger) -> None:
        """What was posted first stands, and the contradiction is reported."""
        open_account(ledger)
        event = used("e1", 7)

        reports = [
            ledger.post([event, used("e1", 8), used("e1", 9), used("e2", 1)]),
            ledger.post([used("e1", 6)]),
        ]

        assert [
            PostReport(("e1", "e2"), conflicts=("e1",)),
            PostReport((), conflicts=("e1",)),
        ] == reports
        assert _spent_p(ledger) == 8
        assert event in [posted.event for posted in ledger.events("acme")]

    def test_a_recovered_event_gives_way_without_conflict(self, ledger: Ledger) -> None:
        """It is the journal's guess at a call whose own record was there already."""
        open_account(ledger)
        ledger.post([used("e1", 7)])
        ledger.post([used("e2", 7, ending="recovered")])

        late_guess = ledger.post([used("e1", 3, ending="recovered")])
        late_record = ledger.post([used("e2", 3)])
        other_guess = ledger.post([used("e2", 3, ending="recovered")])

        assert PostReport(()) == late_guess
        assert PostReport((), conflicts=("e2",)) == late_record
        assert PostReport((), conflicts=("e2",)) == other_guess
        assert _spent_p(ledger) == 14

    def test_a_free_call_is_posted_at_nothing(self, ledger: Ledger) -> None:
        """Its usage is known, and it draws no credit."""
        open_account(ledger)
        ledger.grant_credit(promo(PICO))

        report = ledger.post([used("e1", 0)])

        posted = ledger.events("acme")[0]
        assert PostReport(("e1",)) == report
        assert Charge(event_id="e1", amount_p=0, draws=(), rest_p=0) == posted.charge
        assert ledger.totals("acme", "2026-01")[0].usage.input_tokens == 10

    def test_what_an_unknown_account_used_is_not_lost(self, ledger: Ledger) -> None:
        """It is posted, flagged and reported; others are posted beside it."""
        open_account(ledger)
        mine, stray = used("e1", 7), used("e2", 5, "ghost", flags=("late",))

        report = ledger.post([stray, mine, stray])

        assert PostReport(("e2", "e1"), unowned=("e2",)) == report
        assert PostReport(()) == ledger.post([stray])
        assert ledger.events("ghost")[0].event.flags == ("late", "unknown_account")
        assert (_spent_p(ledger, "ghost"), _spent_p(ledger)) == (5, 7)

    def test_who_is_created_late_owes_what_was_used(self, ledger: Ledger) -> None:
        """What credit alone should have paid is debt from the first day."""
        ledger.post(
            [used("e1", 2 * PICO, "ghost", funding="credit"), used("e2", PICO, "ghost")]
        )
        before = ledger.credit("ghost", now_ns=_NOW_NS)

        signup = promo(5 * PICO, "ghost")
        ledger.create(Account(id="ghost", created_ns=_NOW_NS), signup)

        assert CreditState() == before
        assert CreditState(5 * PICO, 2 * PICO) == ledger.credit("ghost", now_ns=_NOW_NS)
        assert _spent_p(ledger, "ghost") == 3 * PICO

    def test_the_period_is_the_admissions(self, ledger: Ledger) -> None:
        """A call over midnight belongs to the month in which it was admitted."""
        open_account(ledger)
        last_ns = at("2026-02-01T00:00") - 1

        ledger.post([used("e1", 7, admitted_ns=last_ns, took_ns=300 * 10**9)])

        assert (_spent_p(ledger), _spent_p(ledger, period="2026-02")) == (7, 0)

    def test_what_does_not_fit_is_refused_whole(self, ledger: Ledger) -> None:
        """A sum beyond its cell is an error, never a float, and the batch is undone."""
        open_account(ledger)
        ledger.post([used("e1", AMOUNT_MAX_P)])
        batch = [used("e2", 1, "other"), used("e3", 1)]

        with pytest.raises(ConfigurationError, match="9,000,000"):
            ledger.post(batch)
        with pytest.raises(ConfigurationError, match="9,000,000"):
            ledger.post([used("e2", 1, "other"), used("e3", AMOUNT_MAX_P + 1)])
        with pytest.raises(ConfigurationError, match="no call costs less"):
            ledger.post([used("e2", 1, "other"), used("e3", -1)])

        spent_p = _spent_p(ledger)
        assert (AMOUNT_MAX_P, int) == (spent_p, type(spent_p))
        assert _spent_p(ledger, "other") == 0
        assert ledger.events("other") == []

    def test_a_debt_that_does_not_fit_is_refused_whole(self, ledger: Ledger) -> None:
        """Debts add up over periods, so they have a bound of their own."""
        open_account(ledger, payment_method=False)
        january = used("e1", AMOUNT_MAX_P, funding="credit")
        february_ns = at("2026-02-15T00:00")
        february = used("e2", 1, funding="credit", admitted_ns=february_ns)
        ledger.post([january])

        with pytest.raises(ConfigurationError, match="9,000,000"):
            ledger.post([february])

        assert ledger.credit("acme", now_ns=_NOW_NS).used_p == AMOUNT_MAX_P
        assert _spent_p(ledger, period="2026-02") == 0

    def test_a_large_batch_is_one_transaction(self, ledger: Ledger) -> None:
        """More events and accounts than one statement takes are posted all the same."""
        open_account(ledger, "name-1499")
        ledger.grant_credit(promo(100, "name-1499"))
        batch = [used(f"e{n}", 2, f"name-{n}") for n in range(1_500)]

        first, again = ledger.post(batch), ledger.post(batch)

        assert tuple(event.id for event in batch) == first.posted
        assert tuple(event.id for event in batch[:-1]) == first.unowned
        assert PostReport(()) == again
        assert ledger.credit("name-1499", now_ns=_NOW_NS) == CreditState(100, 2)
        assert _spent_p(ledger, "name-0") == 2

    def test_threads_that_post_the_same_batch_post_it_once(
        self, ledger: Ledger
    ) -> None:
        """Each event is new to exactly one of them, its credit drawn once."""
        open_account(ledger)
        ledger.grant_credit(promo(100))
        batch = [used(f"e{number}", 3) for number in range(50)]
        together = Barrier(4)
        reports: list[PostReport] = []
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # threads take turns within each method

        def post() -> None:
            together.wait()
            reports.append(ledger.post(batch))

        threads = [Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval_s)

        posted = [event_id for report in reports for event_id in report.posted]
        assert sorted(event.id for event in batch) == sorted(posted)
        assert [report.conflicts for report in reports] == [()] * 4
        assert (_spent_p(ledger), ledger.grants("acme")[0].consumed_p) == (150, 100)

    # Each example has accounts of its own; every backend's class inherits the test.
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(data=st.data())
    def test_order_and_batches_make_no_difference(
        self, ledger: Ledger, data: st.DataObject
    ) -> None:
        """However deliveries are cut, mixed and repeated, the sums are the same."""
        number = next(_numbers)
        names = [f"{number}-a", f"{number}-b"]
        for name in names:
            open_account(ledger, name)
        events = [
            used(f"{number}-{index}", charge_p, name)
            for index, (charge_p, name) in enumerate(
                data.draw(
                    st.lists(
                        st.tuples(st.integers(0, 10 * PICO), st.sampled_from(names)),
                        max_size=20,
                    )
                )
            )
        ]
        deliveries = data.draw(st.permutations(events + events[::2]))
        cuts = data.draw(st.lists(st.integers(0, len(deliveries)), max_size=4))

        for batch in _cut(deliveries, cuts):
            assert ledger.post(batch).conflicts == ()

        for name in names:
            expected_p = sum(e.charge_p for e in events if e.account_id == name)
            totals = ledger.totals(name, "2026-01")
            assert expected_p == _spent_p(ledger, name)
            assert expected_p == sum(total.charge_p for total in totals)


def _cut(events: Sequence[UsageEvent], cuts: list[int]) -> list[Sequence[UsageEvent]]:
    edges = [0, *sorted(cuts), len(events)]
    return [events[start:end] for start, end in pairwise(edges)]
