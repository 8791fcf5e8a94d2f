"""All scenarios under all laws: prints the tables and the bounds, and draws plots.

Run with `make sim`; `ARGS="--seeds 1"` is a quick look, `--help` tells the rest.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.adaptive.bounds import BASE, BOUNDS, judged
from benchmarks.adaptive.families import FAMILIES
from benchmarks.adaptive.ours import Ours
from benchmarks.adaptive.published import PUBLISHED
from benchmarks.adaptive.simulation import simulate
from benchmarks.adaptive.table import (
    LAWS,
    SCENARIOS,
    Found,
    by_law,
    by_scenario,
    run_all,
)

__all__ = ["main"]

OURS = "metering"
OVERLOADED = (
    "over2x",
    "over5x",
    "over10x",
    "capdrop",
    "coldstart",
    "drift",
    "bursty",
    "greedy",
)
DRAWN = ("over5x", "capdrop", "diurnal", "restart", "paidsurge")
PLOTS = Path(__file__).parents[2] / "docs" / "explanation" / "adaptive"


def main() -> None:
    """Run what the command line says; exit with 1 if a bound is missed."""
    asked = _arguments()
    found = run_all(asked.laws, SCENARIOS, range(1, asked.seeds + 1))
    print(f"Overload: {', '.join(OVERLOADED)}. Medians of {asked.seeds} seeds.\n")
    print(*by_law(found, OVERLOADED), sep="\n")
    print(f"\nNothing was tuned on: {', '.join(FAMILIES)}.\n")
    print(*by_law(found, list(FAMILIES)), sep="\n")
    print("\nGoodput · paid p99 in s · paid lost · Jain.\n")
    print(*by_scenario(found, asked.laws[:4]), sep="\n")
    if asked.plots:
        _draw(asked.plots)
    sys.exit(_missed(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1 on")
    parser.add_argument(
        "--plots", type=Path, nargs="?", const=PLOTS, help="draw into this directory"
    )
    parser.add_argument(
        "--laws", nargs="+", choices=LAWS, default=list(LAWS), help="others than all"
    )
    asked = parser.parse_args()
    # Ours is what is judged, and relative bounds are relative to no limiter.
    asked.laws = list(dict.fromkeys([OURS, *asked.laws, "none"]))
    return asked


def _draw(directory: Path) -> None:
    # matplotlib is needed for this alone.
    from benchmarks.adaptive.plots import draw  # noqa: PLC0415

    for name in DRAWN:
        draw(simulate(SCENARIOS[name], Ours(), seed=1), directory / f"{name}.svg")


def _missed(found: Found) -> bool:
    """Print the bounds of our law, and say whether one is missed."""
    ours = {name: found[OURS, name] for name in PUBLISHED}
    verdicts = judged(BOUNDS, ours, found["none", BASE])
    print("\nBounds:\n", *verdicts, sep="\n")
    met = sum(verdict.met for verdict in verdicts)
    print(f"\n{met} of {len(verdicts)} met")
    return met < len(verdicts)


if __name__ == "__main__":
    main()
