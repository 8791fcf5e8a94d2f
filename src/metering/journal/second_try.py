"""What was set aside, offered to the ledger again once its reason has been mended."""

import fcntl
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from metering.errors import StorageError
from metering.journal.set_aside import RefusedEvent, SetAside, held, set_aside_path
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["SecondTry", "post_set_aside", "set_aside_events"]

_decode = msgspec.json.Decoder(RefusedEvent).decode


class SecondTry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events that were set aside.

    Attributes:
        posted: Events that are in the ledger now.
        known: Events that were there already.
        refused: Those that the ledger still refuses, with the reason; set aside again.
        damaged: Lines that a power cut left incomplete. The journal posted or set
            aside their events again.
    """

    posted: int = 0
    known: int = 0
    refused: tuple[RefusedEvent, ...] = ()
    damaged: int = 0


def set_aside_events(home: Path) -> Iterator[RefusedEvent]:
    """Yield what a data home has set aside, oldest first; damaged lines are skipped."""
    for path in (_taken_path(home), set_aside_path(home)):
        if path.exists():
            with path.open("rb") as file:
                yield from filter(None, map(_read, file))


def post_set_aside(
    home: Path,
    post: Callable[[Sequence[UsageEvent]], PostReport],
    *,
    batch_max: int = 1000,
    on_batch: Callable[[int], None] = lambda _: None,
) -> SecondTry:
    """Post what was set aside; what is still refused is set aside again.

    A service may run meanwhile and set aside more: that is left for the next time. A
    process that dies in between loses nothing, and what it posted is posted once.

    Args:
        home: The data home.
        post: Posts a batch, all or nothing, idempotent by event id.
        batch_max: Events in a batch, at least 1.
        on_batch: Told how many events each batch had; it is for progress.

    Raises:
        StorageError: The ledger does not answer, the file has no room for what is
            still refused, or another process does this now. Nothing is lost.
    """
    tally = {"posted": 0, "known": 0, "damaged": 0}
    refused: list[RefusedEvent] = []
    again = SetAside(home, post, on_refused=partial(_note, home, refused))
    with _alone(home):
        # First what a process that died had taken, then what was set aside since.
        while True:
            left_over = _taken_path(home).exists()
            refused.clear()
            for batch in _batches(_take(home), batch_max):
                events = [each.event for each in batch if each is not None]
                before = len(refused)
                posted = len(again.post(events).posted)
                tally["posted"] += posted
                tally["known"] += len(events) - posted - (len(refused) - before)
                tally["damaged"] += len(batch) - len(events)
                on_batch(len(batch))
            _taken_path(home).unlink(missing_ok=True)
            if not left_over:
                return SecondTry(**tally, refused=tuple(refused))


def _note(
    home: Path,
    refused: list[RefusedEvent],
    each: RefusedEvent,
    kept: bool,  # noqa: FBT001 - a callback
) -> None:
    if not kept:
        raise StorageError(
            f"{set_aside_path(home)} has no room for what is still refused:"
            f" {each.reason} All of it stays in {_taken_path(home)}; move the first"
            " file away, then try again."
        )
    refused.append(each)


def _batches(path: Path, batch_max: int) -> Iterator[list[RefusedEvent | None]]:
    if path.exists():
        with path.open("rb") as file:
            lines = map(_read, file)
            while batch := list(itertools.islice(lines, batch_max)):
                yield batch


def _read(line: bytes) -> RefusedEvent | None:
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return None


def _taken_path(home: Path) -> Path:
    return set_aside_path(home).with_suffix(".taken.jsonl")


def _take(home: Path) -> Path:
    """Take the file away from those who append to it, and return where it is now."""
    taken, path = _taken_path(home), set_aside_path(home)
    if not taken.exists() and path.exists():
        with held(path):
            path.rename(taken)
    return taken


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other processes from doing the same; services go on."""
    folder = set_aside_path(home).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "set-aside.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"Another process posts what was set aside in {folder} just now. Try"
                " again when it has ended."
            ) from None
        yield
