"""A ledger in a dict, and a disk that can be full: what journal tests stand on."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from metering.journal import Journal
from metering.stores import PostReport
from metering.usage import Usage, UsageEvent

NOW_NS = 1_768_435_200_000_000_000  # 2026-01-15

MakeEvent = Callable[..., UsageEvent]


@pytest.fixture
def make_event() -> MakeEvent:
    """Make an event whose id, charge and tokens tell its number."""

    def make(number: int, **fields: object) -> UsageEvent:
        values: dict[str, object] = {
            "id": f"019bbf0a-0000-7000-8000-{number:012d}",
            "account_id": "acme",
            "tier": 1,
            "model": "zai-org/GLM-4.7",
            "dialect": "openai.chat",
            "price_version": "2026-01",
            "period": "2026-01",
            "admitted_ns": NOW_NS,
            "ended_ns": NOW_NS,
            "ending": "completed",
            "usage": Usage(output_tokens=number),
            "usage_source": "upstream",
            "charge_p": number + 1,
        }
        return UsageEvent(**(values | fields))  # type: ignore[arg-type]

    return make


class DictLedger:
    """Posts into a dict, once for each id; can be down."""

    def __init__(self) -> None:
        self.events: dict[str, UsageEvent] = {}
        self.batches: list[int] = []
        self.tries = 0
        self.down = False

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        self.tries += 1
        if self.down:
            raise ConnectionError("the ledger is down")
        self.batches.append(len(events))
        posted, conflicts = [], []
        for event in events:
            known = self.events.setdefault(event.id, event)
            if known is event:
                posted.append(event.id)
            elif known.charge_p != event.charge_p:
                conflicts.append(event.id)
        return PostReport(tuple(posted), tuple(conflicts))

    def spent_p(self, account_id: str = "acme") -> int:
        events = list(self.events.values())
        return sum(e.charge_p for e in events if e.account_id == account_id)


@pytest.fixture
def make_ledger() -> Callable[[], DictLedger]:
    """Make a ledger that knows nothing."""
    return DictLedger


@pytest.fixture
def ledger() -> DictLedger:
    """A ledger that knows nothing."""
    return DictLedger()


class Disk:
    """Stands for `os.write` and `os.fdatasync`; can be full, slow or broken."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.wrote = threading.Event()
        self.sync_error: OSError | None = None
        self.sync_may_end = threading.Event()
        self.sync_may_end.set()
        self.sync_began = threading.Event()
        self.sync_threads: set[int] = set()
        self.synced_bytes: dict[int, int] = {}

    def write(self, fd: int, text: bytes | memoryview) -> int:
        if self.room is None:
            self.wrote.set()
            return os.write(fd, text)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, text[: self.room])
        self.room -= written
        return written

    def sync(self, fd: int) -> None:
        self.sync_threads.add(threading.get_ident())
        at = os.fstat(fd)
        self.sync_began.set()
        self.sync_may_end.wait(10)
        if self.sync_error is not None:
            raise self.sync_error
        os.fsync(fd)
        self.synced_bytes[at.st_ino] = at.st_size

    def make_full(self, room: int = 0) -> None:
        """Let *room* bytes more be written, and then none."""
        self.room = room
        self.wrote.clear()

    def make_room(self) -> None:
        """Let everything be written again."""
        self.room = None


@pytest.fixture
def disk() -> Disk:
    """A disk with all the room there is."""
    return Disk()


@pytest.fixture
def make_journal(tmp_path: Path, disk: Disk) -> Iterator[Callable[..., Journal]]:
    """Make journals in one home, on one disk; close them in the end."""
    journals: list[Journal] = []

    def make(**options: int) -> Journal:
        journal = Journal(
            tmp_path,
            clock=lambda: NOW_NS,
            _write=disk.write,
            _sync=disk.sync,
            **options,
        )
        journals.append(journal)
        return journal

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture
def journal(make_journal: Callable[..., Journal]) -> Journal:
    """A journal with the default bounds."""
    return make_journal()


@pytest.fixture
def files(tmp_path: Path) -> Callable[[], list[str]]:
    """List the segments there are, by name."""
    return lambda: sorted(p.name for p in tmp_path.glob("journal/*/*.log"))
