"""Servers that are killed and started again, and copies of all they journal."""

import multiprocessing
import os
import resource
import socket
import time
from contextlib import suppress

from crash_worker import serve

from metering.journal.lines import CLOSED
from metering.journal.segments import SegmentReader

OLDEST = 0.7
"""How often the server is killed that runs for longest: others have just begun."""

PRELOADED = (
    "__main__",
    "crash_worker",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)
"""What a server would spend its short life on importing."""


class Servers:
    """Processes that live and die; their listeners outlive them."""

    def __init__(self, data, count):
        self.ledger = data / "ledger.db"
        self._data = data
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.urls = [
            "http://127.0.0.1:{1}".format(*o.getsockname()) for o in self._listeners
        ]
        self._processes = [None] * count
        self._born_s = [0.0] * count
        self.kills = self.starts = 0

    def tend(self):
        """Start those that are not running."""
        for at, process in enumerate(self._processes):
            if process is None or not process.is_alive():
                self._processes[at] = made = self._context.Process(
                    target=serve, args=(self._listeners[at], self._data)
                )
                made.start()
                self._born_s[at] = time.monotonic()
                self.starts += 1

    def kill_some(self, dice):
        """Kill any of them, but most often the one that has served for longest."""
        oldest = min(range(len(self._born_s)), key=self._born_s.__getitem__)
        at = oldest if dice.random() < OLDEST else dice.randrange(len(self._born_s))
        self.kill(at)

    def kill(self, at):
        """Kill one as `kill -9` does."""
        process = self._processes[at]
        if process is not None and process.is_alive():
            process.kill()
            process.join()
            self.kills += 1

    def let_files_grow(self, *, grow):
        """Let no file of theirs grow any more, as on a full disk; or again."""
        for process in self._processes:
            if process.is_alive():
                _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                soft = hard if grow else 1
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def stop(self):
        """Have all of them end by themselves; kill who does not in time."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(20)
            if process.is_alive():
                process.kill()
                process.join()
        for listener in self._listeners:
            listener.close()


class Copies:
    """Second names for journal files: what is in them stays when they are deleted."""

    def __init__(self, data):
        self._journals = data / "journal"
        self._kept = data / "kept"
        self._kept.mkdir()

    def take(self):
        """Name the files that are there now."""
        for path in self._journals.glob("*/*.log"):
            with suppress(FileExistsError, FileNotFoundError):
                os.link(path, self._kept / f"{path.parent.name}-{path.name}")

    def events(self):
        """Return the event that each call must have: of its last line."""
        last = {}
        for path in sorted(self._kept.iterdir()):
            reader = SegmentReader(path)
            while (lines := reader.read(reader.size)) is not None:
                for line in lines:
                    known = last.get(line.id())
                    if known is None or known.kind != CLOSED:
                        last[line.id()] = line
        return {call_id: line.event() for call_id, line in last.items()}
