"""A real server, four times overloaded: what those who pay feel, what others get.

Run with `make overload`; `ARGS="--seconds 15"` is a quick look, `--config FILE` takes
another plan than the preset. It exits with 1 if a promise is not kept.
"""

import argparse
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import anyio
from benchmarks.adaptive.load import Answer, Caller, load
from benchmarks.adaptive.measures import percentile
from benchmarks.adaptive.served import FREE, MODEL, PAID, SERVICE_S, SLOTS

__all__ = ["main"]

HOST = "127.0.0.1"
CAPACITY_PER_S = SLOTS / SERVICE_S
PAID_LOAD, ALL_LOAD = 0.3, 4.0
UNLOADED_S = 15.0  # some 45 requests of those who pay
SETTLED_AFTER = 0.2  # of the overload, before limits are compared with what was told
NEAR = 0.2

BUSY = 503


@dataclass(frozen=True)
class Promise:
    """What was promised, what was measured, and whether it was kept."""

    about: str
    measured: str
    kept: bool


@contextmanager
def running(config: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the server in a process of its own; give its URL, and a key by account."""
    with socket.create_server((HOST, 0), backlog=1024) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "benchmarks.adaptive.served", str(fd)]
        with subprocess.Popen(  # noqa: S603 - our own program
            [*command, config] if config else command,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[fd],
        ) as server:
            try:
                assert server.stdout is not None
                yield f"http://{HOST}:{port}", json.loads(server.stdout.readline())
            finally:
                server.terminate()


async def measure(config: str | None, seconds: float) -> list[Promise]:
    """Load a server with the paid alone, then with all, and judge."""
    paid_per_s = PAID_LOAD * CAPACITY_PER_S / len(PAID)
    free_per_s = (ALL_LOAD - PAID_LOAD) * CAPACITY_PER_S / len(FREE)
    with running(config) as (url, keys):
        paid = [Caller(name, keys[name], paid_per_s) for name in PAID]
        free = [Caller(name, keys[name], free_per_s) for name in FREE]
        before = await load(url, MODEL, paid, seconds=UNLOADED_S, seed=1)
        during = await load(url, MODEL, [*paid, *free], seconds=seconds, seed=2)
    return judged(before, during, seconds)


def judged(
    before: Sequence[Answer], during: Sequence[Answer], seconds: float
) -> list[Promise]:
    """Hold what was answered against what is promised."""
    paid = [answer for answer in during if answer.caller in PAID]
    free = [answer for answer in during if answer.caller in FREE]
    settled = [a for a in free if a.at_s >= SETTLED_AFTER * seconds]
    return [
        _none_refused(paid),
        _soon(paid, late_s=2 * _p99_s(before) + SERVICE_S),
        _equal(free),
        _as_told(settled),
        _in_use(during, seconds),
    ]


def _none_refused(paid: Sequence[Answer]) -> Promise:
    refused = sum(not answer.served for answer in paid)
    measured = f"{refused} of {len(paid)}"
    return Promise("no paid request is refused", measured, kept=not refused)


def _soon(paid: Sequence[Answer], *, late_s: float) -> Promise:
    return Promise(
        "p99 of paid first bytes is at most twice the unloaded and one service time",
        f"{_p99_s(paid):.2f} s, at most {late_s:.2f} s",
        kept=_p99_s(paid) <= late_s,
    )


def _equal(free: Sequence[Answer]) -> Promise:
    got = Counter(answer.caller for answer in free if answer.served)
    share = got.total() / len(FREE)
    least, most = min(got[name] for name in FREE), max(got[name] for name in FREE)
    return Promise(
        "free accounts get equal shares, 20 % more or less",
        f"{least} to {most} calls, the mean {share:.1f}",
        kept=(1 - NEAR) * share <= least and most <= (1 + NEAR) * share,
    )


def _as_told(free: Sequence[Answer]) -> Promise:
    """Accounts always ask for more than they were told they have."""
    first = {answer.caller: answer for answer in reversed(free)}
    left = sum(a.told_left or 0 for a in first.values()) / len(FREE)
    told = _told_calls(free)
    granted = sum(answer.served for answer in free) / len(FREE)
    busy = sum(answer.status == BUSY for answer in free) / len(FREE)
    least, most = (1 - NEAR) * told, (1 + NEAR) * (left + told)
    return Promise(
        "the limit in the headers is the one enforced",
        f"an account had {left:.1f} calls left, was told {told:.1f} more and granted"
        f" {granted:.1f}; {busy:.1f} times it found the platform busy",
        kept=granted <= most and granted + busy >= least and told > 0,
    )


def _in_use(answers: Sequence[Answer], seconds: float) -> Promise:
    done = sum(answer.served and answer.done_s <= seconds for answer in answers)
    possible = CAPACITY_PER_S * seconds
    return Promise(
        "the platform is in use",
        f"{done} calls served, of {possible:.0f} possible",
        kept=done >= (1 - NEAR) * possible,
    )


def _p99_s(answers: Sequence[Answer]) -> float:
    return percentile([a.first_byte_s for a in answers if a.served], 0.99)


def _told_calls(answers: Sequence[Answer]) -> float:
    """Calls that an account was told it may make, from the first answer to the last."""
    told = [(a.at_s, a.told_rpm) for a in answers if a.told_rpm is not None]
    return sum(
        rpm * (to_s - from_s) / 60 for (from_s, rpm), (to_s, _) in pairwise(told)
    )


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive.overload")
    parser.add_argument("--seconds", type=float, default=90.0, help="of overload")
    parser.add_argument("--config", help="a plan's file; the preset without it")
    asked = parser.parse_args()
    promises = anyio.run(measure, asked.config, asked.seconds)
    for promise in promises:
        word = "ok    " if promise.kept else "BROKEN"
        print(f"{word} {promise.about}: {promise.measured}")
    sys.exit(not all(promise.kept for promise in promises))


if __name__ == "__main__":
    main()
