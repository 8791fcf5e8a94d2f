"""What a ledger promises of what is told of a service over time."""

from threading import Barrier, Thread
from typing import Any

from msgspec.structs import astuple, replace

from metering.stores import Ledger, PoolMinute, PoolSpan, RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS
from metering.testing.contracts.samples import at

__all__ = ["HistoryContract"]

_NOON_NS = at("2026-01-15T12:00")
_DAY_NS = 24 * 60 * MINUTE_NS
_PLACE = RefusalPlace(_NOON_NS, "acme", "m", "rate_limit_exceeded", "requests", 1)
_REFUSED = RefusalMinute(
    place=_PLACE, status=429, calls=3, first_ns=_NOON_NS + 1, last_ns=_NOON_NS + 9
)
_POOL = PoolMinute(
    node="a",
    pool="p",
    minute_ns=_NOON_NS,
    state="normal",
    cause="ceiling",
    limit_rpm=60.0,
    limit_rpm_min=50.0,
    awaiting=3.0,
    waiting=1.0,
    budget_per_s=None,
    capacity_per_s=20.0,
    unloaded_s=0.5,
)


def _refused(**place: Any) -> RefusalMinute:
    return replace(_REFUSED, place=_PLACE._replace(**place))


def _spans(
    ledger: Ledger, pool: str | None = "p", *, step_ns: int = MINUTE_NS
) -> list[PoolSpan]:
    return ledger.history.pools(
        pool, since_ns=_NOON_NS, until_ns=_NOON_NS + _DAY_NS, step_ns=step_ns
    )


class HistoryContract:
    """Runs on the fixture `ledger`."""

    def test_refusals_of_one_place_add_up(self, ledger: Ledger) -> None:
        """Whoever writes first, the first instant and the last stay what they are."""
        history = ledger.history
        history.note([_REFUSED], [])
        history.note([replace(_REFUSED, calls=2, first_ns=_NOON_NS)], [])
        history.note([replace(_REFUSED, calls=1, last_ns=_NOON_NS + 10)], [])

        assert [
            replace(_REFUSED, calls=6, first_ns=_NOON_NS, last_ns=_NOON_NS + 10)
        ] == history.refusals(None)

    def test_each_reason_of_a_minute_is_told_by_itself(self, ledger: Ledger) -> None:
        """By account, model, code, quota and tier; what was noted is read as it was."""
        some = [
            _REFUSED,
            _refused(minute_ns=_NOON_NS + MINUTE_NS),
            _refused(account_id="zeta"),
            _refused(account_id="", model="", quota="", tier=-1),
            _refused(model=""),
            _refused(code="usage_limit_reached"),
            _refused(quota=""),
            _refused(tier=2),
        ]
        ledger.history.note(some, [])

        assert (
            sorted(some, key=lambda each: each.place)
            == (ledger.history.refusals(None)[::-1])
        )

    def test_an_account_sees_its_own_refusals(self, ledger: Ledger) -> None:
        """And an operator those of callers whom nobody knows as well."""
        nobody = _refused(account_id="", tier=-1)
        ledger.history.note([_REFUSED, _refused(account_id="zeta"), nobody], [])

        assert [_REFUSED] == ledger.history.refusals("acme")
        assert [nobody] == ledger.history.refusals("")
        assert [] == ledger.history.refusals("else")

    def test_pages_of_refusals_leave_nothing_out(self, ledger: Ledger) -> None:
        """Each in its turn, also while newer ones come; for one account and for all."""
        some = [
            _refused(minute_ns=_NOON_NS + minute * MINUTE_NS, account_id=who, tier=tier)
            for minute in range(3)
            for who in ("acme", "zeta")
            for tier in (0, 1)
        ]
        ledger.history.note(some, [])

        for whose in ("acme", None):
            read: list[RefusalMinute] = []
            place = None
            while page := ledger.history.refusals(whose, before=place, limit=3):
                read += page
                place = page[-1].place
                later = _refused(minute_ns=_NOON_NS + _DAY_NS + len(read))
                ledger.history.note([later], [])
            assert [
                each
                for each in sorted(some, key=lambda each: each.place, reverse=True)
                if whose in {None, each.place.account_id}
            ] == [each for each in read if each.place.minute_ns < _NOON_NS + _DAY_NS]

    def test_reasons_are_summed_over_all_accounts(self, ledger: Ledger) -> None:
        """By code and quota, since a minute, what is most frequent first."""
        ledger.history.note(
            [
                _refused(minute_ns=_NOON_NS - MINUTE_NS),
                _REFUSED,
                _refused(account_id="zeta", tier=2),
                _refused(account_id="", model=""),
                _refused(quota=""),
                replace(_refused(code="account_suspended"), calls=10, last_ns=_NOON_NS),
            ],
            [],
        )

        assert [
            ("account_suspended", "requests", 10, 1, _NOON_NS),
            ("rate_limit_exceeded", "requests", 9, 3, _NOON_NS + 9),
            ("rate_limit_exceeded", "", 3, 1, _NOON_NS + 9),
        ] == [astuple(each) for each in ledger.history.reasons(since_ns=_NOON_NS)]

    def test_who_writes_at_once_loses_no_refusal(self, ledger: Ledger) -> None:
        """Eight nodes, the same places in another order each."""
        together = Barrier(8)
        some = [_refused(model=f"m{number}") for number in range(20)]

        def note(number: int) -> None:
            together.wait()
            ledger.history.note(some[number:] + some[:number], [])

        threads = [Thread(target=note, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [8 * 3] * 20 == [each.calls for each in ledger.history.refusals(None)]

    def test_a_minute_of_a_pool_is_told_anew(self, ledger: Ledger) -> None:
        """By the same node it is replaced; one node's figures are read as they were."""
        ledger.history.note([], [_POOL])
        ledger.history.note([], [replace(_POOL, limit_rpm=40.0, cause="budget")])

        assert [
            PoolSpan(
                pool="p",
                start_ns=_NOON_NS,
                nodes=1,
                state="normal",
                causes=("budget",),
                limit_rpm=40.0,
                limit_rpm_min=50.0,
                awaiting=3.0,
                waiting=1.0,
                budget_per_s=None,
                capacity_per_s=20.0,
                unloaded_s=0.5,
            )
        ] == _spans(ledger)

    def test_nodes_are_merged(self, ledger: Ledger) -> None:
        """Load adds up; the limit is the average, and the state the worst."""
        other = replace(
            _POOL,
            node="b",
            state="busy",
            cause="budget",
            limit_rpm=20.0,
            limit_rpm_min=10.0,
            awaiting=5.0,
            waiting=2.0,
            budget_per_s=4.0,
            capacity_per_s=10.0,
            unloaded_s=1.5,
        )
        ledger.history.note([], [other, _POOL])

        (merged,) = _spans(ledger)
        assert (
            PoolSpan(
                pool="p",
                start_ns=_NOON_NS,
                nodes=2,
                state="busy",
                causes=("ceiling", "budget"),
                limit_rpm=40.0,
                limit_rpm_min=10.0,
                awaiting=8.0,
                waiting=3.0,
                budget_per_s=None,
                capacity_per_s=30.0,
                unloaded_s=1.0,
            )
            == merged
        )

        bounded = replace(_POOL, budget_per_s=6.0)
        ledger.history.note([], [bounded])
        assert [10.0] == [each.budget_per_s for each in _spans(ledger)]

    def test_spans_take_the_average_of_their_minutes(self, ledger: Ledger) -> None:
        """Two nodes in one minute and one in the next: their load is not halved."""
        later = replace(_POOL, minute_ns=_NOON_NS + MINUTE_NS, awaiting=2.0)
        beyond = replace(_POOL, minute_ns=_NOON_NS + 5 * MINUTE_NS, awaiting=7.0)
        ledger.history.note([], [_POOL, replace(_POOL, node="b"), later, beyond])

        assert [(_NOON_NS, 2, 4.0), (_NOON_NS + 5 * MINUTE_NS, 1, 7.0)] == [
            (each.start_ns, each.nodes, each.awaiting)
            for each in _spans(ledger, step_ns=5 * MINUTE_NS)
        ]

    def test_pools_are_read_within_bounds(self, ledger: Ledger) -> None:
        """From the first instant on, before the last; one pool, or all by name."""
        minutes = [_NOON_NS + number * MINUTE_NS for number in (-1, 0, 1, 24 * 60)]
        rows = [
            replace(_POOL, pool=pool, minute_ns=minute_ns)
            for minute_ns in minutes
            for pool in ("q", "p")
        ]
        ledger.history.note([], rows)

        inside = minutes[1:3]
        assert inside == [each.start_ns for each in _spans(ledger)]
        assert [(pool, minute_ns) for pool in "pq" for minute_ns in inside] == [
            (each.pool, each.start_ns) for each in _spans(ledger, None)
        ]

    def test_what_is_old_is_forgotten(self, ledger: Ledger) -> None:
        """Some at a time, the two kinds by bounds of their own; the rest stays."""
        ages = [_NOON_NS + number * MINUTE_NS for number in range(6)]
        ledger.history.note(
            [_refused(minute_ns=minute_ns) for minute_ns in ages],
            [replace(_POOL, minute_ns=minute_ns) for minute_ns in ages],
        )

        def forget() -> int:
            return ledger.history.forget(
                refusals_before_ns=ages[4],
                refusals_max=100,
                pools_before_ns=ages[3],
                limit=2,
            )

        assert [4, 3, 0] == [forget() for _ in range(3)]
        assert (
            ages[4:]
            == [each.place.minute_ns for each in ledger.history.refusals("acme")][::-1]
        )
        assert ages[3:] == [each.start_ns for each in _spans(ledger)]

    def test_refusals_that_are_too_many_are_forgotten(self, ledger: Ledger) -> None:
        """Whole minutes, the oldest first, until no more are left than are kept."""
        ledger.history.note(
            [
                _refused(minute_ns=_NOON_NS + minute * MINUTE_NS, model=f"m{number}")
                for minute in range(5)
                for number in range(3)
            ],
            [],
        )

        def forget() -> int:
            return ledger.history.forget(
                refusals_before_ns=0, refusals_max=7, pools_before_ns=0, limit=5
            )

        assert [5, 4, 0] == [forget() for _ in range(3)]
        assert [_NOON_NS + 3 * MINUTE_NS, _NOON_NS + 4 * MINUTE_NS] == sorted(
            {each.place.minute_ns for each in ledger.history.refusals(None)}
        )
