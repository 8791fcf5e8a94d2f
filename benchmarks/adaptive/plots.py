"""Draws what happened in a scenario: demand, admissions, first bytes, and the share."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from benchmarks.adaptive.measures import percentile
from benchmarks.adaptive.simulation import History
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

__all__ = ["draw"]

_BINS = 84
_OURS, _DEMAND, _PLAIN = "#1f6feb", "#8b949e", "#24292f"
_SIZE_INCHES = (7.5, 7.0)
_SHARE = "published share of a free account"
_SHARE_MIN_RPM = 0.4


def draw(history: History, path: Path) -> None:
    """Write three curves over the time of a history to an SVG file."""
    # Letters stay text, ids the same each time: small files that can be compared.
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "metering"
    mpl.rcParams["font.sans-serif"] = ["DejaVu Sans"]
    figure, (rates, waits, shares) = plt.subplots(
        3, 1, sharex=True, figsize=_SIZE_INCHES, layout="constrained"
    )
    scenario = history.scenario
    figure.suptitle(f"{scenario.name}: {scenario.about}", fontsize=10)
    _rates(rates, history)
    _waits(waits, history)
    _shares(shares, history)
    for axes in (rates, waits, shares):
        axes.spines[["top", "right"]].set_visible(b=False)
        axes.legend(
            fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _bin_s(history: History) -> float:
    return history.scenario.duration_s / _BINS


def _starts(history: History) -> list[float]:
    return [k * _bin_s(history) for k in range(_BINS)]


def _bin(history: History, at_s: float) -> int:
    return min(_BINS - 1, int(at_s / _bin_s(history)))


def _per_s(history: History, instants: Sequence[float]) -> list[float]:
    counts = [0.0] * _BINS
    for at_s in instants:
        counts[_bin(history, at_s)] += 1 / _bin_s(history)
    return counts


def _rates(axes: Axes, history: History) -> None:
    starts = _starts(history)
    offered = _per_s(history, [r.at_s for r in history.firsts])
    sent = [r for r in history.requests if r.sent_s is not None]
    admitted = _per_s(history, [r.sent_s for r in sent if r.sent_s is not None])
    paid = _per_s(history, [r.sent_s for r in sent if r.tier and r.sent_s is not None])
    axes.plot(starts, offered, color=_DEMAND, label="offered")
    axes.plot(starts, admitted, color=_OURS, label="admitted")
    axes.plot(starts, paid, color=_PLAIN, linewidth=1, label="of these, paid")
    axes.set_ylabel("requests / s")
    axes.set_ylim(bottom=0)


def _waits(axes: Axes, history: History) -> None:
    starts = _starts(history)
    for share, colour in (0.5, _PLAIN), (0.99, _OURS):
        bins: list[list[float]] = [[] for _ in starts]
        for request in history.requests:
            if request.tier and request.first_s is not None:
                wait_s = request.first_s - request.at_s
                bins[_bin(history, request.at_s)].append(wait_s)
        waits = [percentile(values, share) for values in bins]
        axes.plot(starts, waits, color=colour, label=f"paid, p{100 * share:.0f}")
    axes.set_ylabel("first byte, s")
    axes.set_ylim(bottom=0)


def _shares(axes: Axes, history: History) -> None:
    told: list[tuple[float, float]] = []
    for sample in history.samples:
        rpm = sample.share_rpm
        if rpm is not None and (not told or rpm != told[-1][1]):
            told.append((sample.at_s, rpm))
    if told:
        told.append((history.scenario.duration_s, told[-1][1]))
    at_s, rpms = zip(*told, strict=True) if told else ((), ())
    axes.step(at_s, rpms, where="post", color=_OURS, label=_SHARE)
    axes.set_yscale("log")
    axes.set_ylim(_SHARE_MIN_RPM, 90)
    axes.set_yticks(
        [0.5, 1, 2, 5, 10, 20, 60], ["0.5", "1", "2", "5", "10", "20", "60"]
    )
    axes.set_ylabel("requests / min")
    axes.set_xlabel("s")
