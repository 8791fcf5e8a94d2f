"""What the adaptive core achieves on a simulated platform, with seeds that are fixed.

One seed each, so that it is quick; `make sim` takes the median of several, over all
scenarios, beside other laws.
"""

import pytest
from benchmarks.adaptive.bounds import BASE, BOUNDS, judged
from benchmarks.adaptive.laws import Fixed, Law
from benchmarks.adaptive.measures import Measures, measure
from benchmarks.adaptive.ours import Ours
from benchmarks.adaptive.simulation import History, simulate
from benchmarks.adaptive.table import SCENARIOS
from benchmarks.adaptive.traffic import Outcome

SEED = 1


def run(name: str, law: Law) -> History:
    return simulate(SCENARIOS[name], law, SEED)


def missed(name: str, measures: Measures, base: Measures) -> list[str]:
    bounds = [bound for bound in BOUNDS if bound.scenario == name]
    assert bounds
    verdicts = judged(bounds, {name: [measures]}, [base])
    return [str(verdict) for verdict in verdicts if not verdict.met]


@pytest.fixture(scope="module")
def base() -> Measures:
    """What a platform gives that is far from full and has no limiter."""
    return measure(run(BASE, Law()))


@pytest.mark.parametrize(
    "name",
    ["steady07", "over5x", "capdrop", "coldstart", "greedy", "small", "idle"],
)
def test_every_bound_of_a_scenario_is_met(name: str, base: Measures) -> None:
    """Goodput, first bytes of who pays, fairness, settling: what the study promises."""
    assert [] == missed(name, measure(run(name, Ours())), base)


@pytest.mark.parametrize("name", ["retries", "paidsurge"])
def test_it_holds_where_nothing_was_tuned(name: str) -> None:
    """Clients that ask again at once, and paid demand that grows."""
    measures = measure(run(name, Ours()))
    assert measures.goodput >= 0.95
    assert measures.paid_lost <= 0.005
    assert measures.fairness.jain >= 0.93


def test_a_pool_that_was_away_is_used_again() -> None:
    """It answered 503 for 20 s, and refuses nothing since."""
    assert measure(run("restart", Ours())).goodput >= 0.85


def test_without_a_limiter_the_bounds_are_missed(base: Measures) -> None:
    """So that a bound which anything meets is noticed."""
    assert 3 == len(missed("capdrop", measure(run("capdrop", Law())), base))
    assert 2 <= len(missed("capdrop", measure(run("capdrop", Fixed(9.0))), base))


def test_equal_seeds_give_equal_histories() -> None:
    """Nothing in plant or core reads a clock or an order that is not told."""
    first, second = (measure(run("small", Ours())) for _ in range(2))
    assert repr(first) == repr(second)


def test_every_request_comes_to_one_end() -> None:
    """What is pending at the end came in the last seconds; nothing is lost between."""
    history = run("restart", Ours())
    scenario = history.scenario
    late = [r for r in history.requests if r.outcome is Outcome.PENDING]
    most_s = 4 * max(r.steps for r in late) * scenario.engine.iteration_s(128)
    assert all(r.at_s > scenario.duration_s - most_s for r in late)
    assert {Outcome.ANSWERED, Outcome.BROKEN} <= {r.outcome for r in history.requests}
