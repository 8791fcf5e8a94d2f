"""What a ledger promises of usage by day."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.accounts import Account
from metering.errors import ConfigurationError
from metering.ledger import Revision, day_at
from metering.money import AMOUNT_MAX_P
from metering.stores import Ledger, UsageDay, UsageTotal
from metering.testing.contracts.samples import at, open_account, used
from metering.usage import Usage

__all__ = ["DaysContract"]

_NOW_NS = at("2026-03-01T00:00")
_GLM = "zai-org/GLM-4.7"
_numbers = count()

_Call = tuple[int, str, Usage, int]

_leaves = st.integers(0, 2**63 - 1)
_calls = st.lists(
    st.tuples(
        st.sampled_from([at(f"2026-01-{day}") for day in ("01", "15", "16")]).flatmap(
            lambda midnight_ns: st.integers(midnight_ns - 1, midnight_ns)
        ),
        st.sampled_from([_GLM, "another"]),
        st.builds(Usage, *[_leaves] * len(Usage.__struct_fields__)),
        st.integers(0, 10**15),
    ),
    max_size=12,
)
_zones = st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"])


class DaysContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_usage_is_added_up_by_day_and_model(self, ledger: Ledger) -> None:
        """Over batches, of one account and period; a replay adds nothing."""
        open_account(ledger)
        half = Usage(3, 2, audio_ms=5, images=4, compute_ms=1)
        next_day_ns = at("2026-01-16T00:00")
        batch = [
            used("e1", 5, usage=half),
            used("e2", 7, model="another", usage=Usage(output_tokens=4)),
            used("e3", 1, usage=half, admitted_ns=next_day_ns),
            used("e4", 8, admitted_ns=at("2026-02-01T00:00")),
            used("e5", 9, "other"),
        ]
        ledger.post(batch)
        ledger.post([*batch, used("e6", 6, usage=half, admitted_ns=next_day_ns - 1)])

        both = Usage(6, 4, audio_ms=10, images=8, compute_ms=2, requests=2)
        found = [
            UsageDay("2026-01-15", "another", 1, Usage(output_tokens=4), 7),
            UsageDay("2026-01-15", _GLM, 2, both, 11),
            UsageDay("2026-01-16", _GLM, 1, half, 1),
        ]
        assert found == ledger.days("acme", "2026-01")
        assert found[:1] == ledger.days("acme", "2026-01", model="another")
        assert [] == ledger.days("acme", "2025-12")

    def test_a_day_is_of_the_accounts_own_zone(self, ledger: Ledger) -> None:
        """It is the admission's, whatever midnight the call runs over."""
        ledger.create(
            Account(id="acme", created_ns=0, time_zone="America/New_York"), None
        )
        midnight_ns = at("2026-01-15T05:00")  # in New York
        admissions_ns = {"e1": midnight_ns - 1, "e2": midnight_ns}
        ledger.post([used(i, 1, admitted_ns=ns) for i, ns in admissions_ns.items()])

        days = [each.day for each in ledger.days("acme", "2026-01")]
        assert ["2026-01-14", "2026-01-15"] == days

    def test_a_zone_that_comes_later_moves_no_day(self, ledger: Ledger) -> None:
        """What was posted without an account stays in UTC, and adds up all the same."""
        late_ns = at("2026-01-15T23:00")
        ledger.post([used("e1", 1, "ghost", admitted_ns=late_ns)])
        ledger.create(Account(id="ghost", created_ns=0, time_zone="Asia/Tokyo"), None)
        ledger.post([used("e2", 2, "ghost", admitted_ns=late_ns)])

        days = [(e.day, e.charge_p) for e in ledger.days("ghost", "2026-01")]
        assert [("2026-01-15", 1), ("2026-01-16", 2)] == days
        assert [3] == [each.charge_p for each in ledger.totals("ghost", "2026-01")]

    def test_days_of_all_accounts_are_added_up(self, ledger: Ledger) -> None:
        """From the first day to the last, whatever the periods; also of one model."""
        open_account(ledger)
        ledger.post(
            [
                used("e1", 1, admitted_ns=at("2026-01-30T12:00")),
                used("e2", 2, admitted_ns=at("2026-01-31T12:00")),
                used("e3", 3, "other", admitted_ns=at("2026-01-31T12:00")),
                used("e4", 4, "other", admitted_ns=at("2026-02-01T12:00")),
                used("e5", 5, "other", admitted_ns=at("2026-02-02T12:00")),
                used("e6", 6, model="another", admitted_ns=at("2026-02-01T12:00")),
            ]
        )

        found = ledger.days_of_all("2026-01-31", "2026-02-01")
        of_another = ledger.days_of_all("2026-01-31", "2026-02-01", model="another")

        two = Usage(20, output_tokens=10, requests=2)
        one = Usage(10, output_tokens=5)
        assert [
            UsageDay("2026-01-31", _GLM, 2, two, 5),
            UsageDay("2026-02-01", "another", 1, one, 6),
            UsageDay("2026-02-01", _GLM, 1, one, 4),
        ] == found
        assert found[1:2] == of_another

    def test_days_beyond_64_bits_are_exact(self, ledger: Ledger) -> None:
        """However many batches it takes to get there."""
        open_account(ledger)
        for number in range(4):
            huge = Usage(images=3 * 10**18 + number)
            ledger.post([used(f"e{number}", 0, usage=huge)])

        (day,) = ledger.days("acme", "2026-01")
        assert 12 * 10**18 + 6 == day.usage.images

    def test_days_are_told_as_they_were_posted(self, ledger: Ledger) -> None:
        """A charge that is taken back may be followed by more than one cell holds."""
        open_account(ledger)
        ledger.post([used("e1", AMOUNT_MAX_P)])
        ledger.correct([Revision(event_id="e1", reason="wrong")], now_ns=_NOW_NS)
        ledger.post([used("e2", AMOUNT_MAX_P)])

        (day,) = ledger.days("acme", "2026-01")
        assert (2, 2 * AMOUNT_MAX_P) == (day.calls, day.charge_p)

    def test_what_is_refused_is_in_no_day(self, ledger: Ledger) -> None:
        """The batch is undone whole."""
        open_account(ledger)
        ledger.post([used("e1", AMOUNT_MAX_P)])
        before = ledger.days("acme", "2026-01")

        with pytest.raises(ConfigurationError):
            ledger.post([used("e2", 1, "other"), used("e3", 1)])

        assert before == ledger.days("acme", "2026-01")
        assert [] == ledger.days("other", "2026-01")

    # Each example has an account of its own; every backend's class inherits the test.
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(calls=_calls, zone=_zones, cut=st.integers(0, 12))
    def test_days_are_sums_of_events(
        self, ledger: Ledger, calls: list[_Call], zone: str, cut: int
    ) -> None:
        """In any zone, however they are cut into batches, however large they are."""
        number = next(_numbers)
        name = f"days-{number}"
        ledger.create(Account(id=name, created_ns=0, time_zone=zone), None)
        events = [
            used(
                f"{name}-{index}",
                charge_p,
                name,
                admitted_ns=admitted_ns,
                model=model,
                usage=usage,
            )
            for index, (admitted_ns, model, usage, charge_p) in enumerate(calls)
        ]
        for batch in (events[:cut], events[cut:], events):
            ledger.post(batch)

        sums: dict[tuple[str, str, str], Counter[str]] = {}
        for event in events:
            of = event.period, day_at(event.admitted_ns, zone), event.model
            its = sums.setdefault(of, Counter())
            its["calls"] += 1
            its["charge_p"] += event.charge_p
            for leaf in Usage.__struct_fields__:
                its[leaf] += getattr(event.usage, leaf)
        for period in ("2025-12", "2026-01", "2026-02"):
            expected = [
                UsageDay(
                    day,
                    model,
                    its["calls"],
                    Usage(*(its[leaf] for leaf in Usage.__struct_fields__)),
                    its["charge_p"],
                )
                for (of, day, model), its in sorted(sums.items())
                if of == period
            ]
            found = ledger.days(name, period)
            assert expected == found
            assert _by_model(found) == ledger.totals(name, period)


def _by_model(days: list[UsageDay]) -> list[UsageTotal]:
    found: dict[str, UsageTotal] = {}
    for day in sorted(days, key=lambda day: day.model):
        before = found.get(day.model, UsageTotal(day.model, 0, Usage(requests=0), 0))
        leaves = (
            getattr(before.usage, leaf) + getattr(day.usage, leaf)
            for leaf in Usage.__struct_fields__
        )
        found[day.model] = UsageTotal(
            day.model,
            before.calls + day.calls,
            Usage(*leaves),
            before.charge_p + day.charge_p,
        )
    return list(found.values())
