"""Reads along while a journal is written, and knows what of it is still needed."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from metering.journal.lines import CLOSED, OPEN, Line
from metering.journal.segments import Position, SegmentReader, breathe, segment_path
from metering.usage import UsageEvent

__all__ = ["Tail"]


class Tail:
    """Follows the lines of one owner. For one thread.

    A segment is needed while the last line of any call is in it: an admission until
    the call is checkpointed or closed, a checkpoint until the next, a closed line
    until its event is posted. Memory is one entry for each such call.

    Args:
        owner: The owner's folder, with its first segment.

    Attributes:
        owner: That folder.
    """

    def __init__(self, owner: Path) -> None:
        self.owner = owner
        self._segment = 1
        self._reader = SegmentReader(segment_path(owner, 1))
        self._damaged_before = 0
        self._closed: list[UsageEvent] = []
        self._last_line: dict[str, int] = {}
        self._needed: Counter[int] = Counter()

    @property
    def damaged(self) -> int:
        """Lines passed over so far because they were torn or altered."""
        return self._damaged_before + self._reader.damaged

    @property
    def needed_from(self) -> Position:
        """Before it lies nothing that is still needed."""
        if self._needed:
            return Position(self.owner, min(self._needed), 0)
        return Position(self.owner, self._segment, self._reader.offset)

    def read(self, written: Position, events_max: int) -> list[UsageEvent]:
        """Return the next closed events, in order, at most *events_max*.

        Args:
            written: How far the owner has written.
            events_max: At least 1; more than this and one slice is never read ahead.

        Returns:
            The events; none if no other call has been closed before *written*.
        """
        while len(self._closed) < events_max and self._read_on(written):
            breathe()
        events = self._closed[:events_max]
        del self._closed[:events_max]
        return events

    def _read_on(self, written: Position) -> bool:
        """Read a slice, or go to the next segment; say whether there was either."""
        finished = self._segment < written.segment
        reader = self._reader
        lines = reader.read(reader.size if finished else written.offset)
        if lines is not None:
            for line in lines:
                self._note(line)
        elif finished:
            reader.pass_tail()
            self._damaged_before += reader.damaged
            self._segment += 1
            self._reader = SegmentReader(segment_path(self.owner, self._segment))
        return lines is not None or finished

    def _note(self, line: Line) -> None:
        if line.kind == CLOSED:
            event = line.event()
            self._closed.append(event)
            self._move(event.id, self._segment)
        else:
            call_id = line.id()
            if line.kind == OPEN or call_id in self._last_line:
                self._move(call_id, self._segment)

    def posted(self, events: Iterable[UsageEvent]) -> None:
        """Note that the ledger has these, so that their lines are needless."""
        for event in events:
            self._move(event.id, None)

    def _move(self, call_id: str, segment: int | None) -> None:
        before = self._last_line.pop(call_id, None)
        if before is not None:
            self._needed[before] -= 1
            if not self._needed[before]:
                del self._needed[before]
        if segment is not None:
            self._last_line[call_id] = segment
            self._needed[segment] += 1
