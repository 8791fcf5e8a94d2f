"""A full disk stops admissions; it loses no charge and makes none up."""

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import JournalFullError, StorageError
from metering.journal import adopt_orphans
from metering.journal.lines import OPEN, encode_line

anyone = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


def test_a_line_cut_anywhere_is_no_line(
    tmp_path, make_ledger, make_journal, disk, make_event
):
    """Refused is refused: not even a line that lacks its newline alone is charged."""
    length = len(encode_line(OPEN, make_event(2)))
    wrong = []
    for room in range(length):
        journal, ledger = make_journal(), make_ledger()
        journal.open_call(make_event(1))
        disk.make_full(room)
        with pytest.raises(JournalFullError, match="No space left"):
            journal.open_call(make_event(2))
        disk.make_room()
        journal.open_call(make_event(3))
        journal.close()
        found = adopt_orphans(tmp_path, ledger.post)
        numbers = [e.usage.output_tokens for e in ledger.events.values()]
        if (numbers, found.damaged) != ([1, 3], int(room > 0)):
            wrong.append(room)

    assert wrong == []


def test_a_short_write_is_completed(tmp_path, ledger, journal, disk, make_event):
    """A disk that takes a line in two pieces has the line."""
    journal.open_call(make_event(1))
    writes = iter([100, 50])

    def short(fd: int, text: bytes | memoryview) -> int:
        return disk.write(fd, text[: next(writes, None)])

    journal._writer._write = short
    journal.close_call(make_event(1))
    journal.close()

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.closed, found.damaged) == (1, 0)


def test_a_full_disk_refuses_calls_and_keeps_the_ends_of_running_ones(
    tmp_path, ledger, journal, disk, make_event
):
    """One event each, with its measured charge, once there is room."""
    for number in (1, 2, 3):
        journal.open_call(make_event(number, charge_p=100))
    disk.make_full(room=60)
    for number in (1, 2, 3):
        journal.checkpoint(make_event(number, charge_p=50))
        journal.close_call(make_event(number, charge_p=number))
    with pytest.raises(JournalFullError, match="free disk space"):
        journal.open_call(make_event(4))
    during = (
        journal.is_full,
        journal.faults.backlog,
        journal.owed.of_account("acme", "2026-01"),
    )
    disk.make_room()
    journal.open_call(make_event(5, charge_p=5))
    after = (
        journal.is_full,
        journal.faults.backlog,
        journal.owed.of_account("acme", "2026-01"),
    )
    journal.close()
    adopt_orphans(tmp_path, ledger.post)

    assert (during, after) == ((True, 3, 6), (False, 0, 6))
    assert {e.usage.output_tokens: e.charge_p for e in ledger.events.values()} == {
        1: 1,
        2: 2,
        3: 3,
        5: 5,
    }


def test_the_sync_thread_writes_what_waits(make_journal, disk, make_event):
    """Without any later line, the end of a call reaches the disk that has room."""
    journal = make_journal(sync_ms=1)
    journal.open_call(make_event(1))
    disk.make_full()
    journal.close_call(make_event(1))
    with pytest.raises(StorageError, match="1 closed calls wait in memory"):
        anyio.run(journal.durable)
    disk.make_room()
    disk.wrote.wait(10)

    assert (journal.faults.backlog, journal.is_full) == (0, False)


def test_what_waits_is_bounded(tmp_path, ledger, make_journal, disk, make_event):
    """The call for which there is no room even there is charged as it was opened."""
    journal = make_journal(backlog_max=2)
    for number in (1, 2, 3):
        journal.open_call(make_event(number, charge_p=100))
    disk.make_full()
    for number in (1, 2, 3):
        journal.close_call(make_event(number, charge_p=number))
    owed_p = journal.owed.of_account("acme", "2026-01")
    disk.make_room()
    journal.close()
    adopt_orphans(tmp_path, ledger.post)

    assert (journal.faults.backlog_lost, owed_p) == (1, 6)
    assert {e.usage.output_tokens: e.charge_p for e in ledger.events.values()} == {
        1: 1,
        2: 2,
        3: 100,
    }


def test_what_waits_for_the_disk_is_still_owed_after_a_close(
    make_journal, disk, make_event
):
    """It is in no file, so nobody can adopt it: the next journal here has it."""
    journal = make_journal()
    for number in (1, 2):
        journal.open_call(make_event(number))
    journal.close_call(make_event(1))
    disk.make_full()
    journal.close_call(make_event(2))

    journal.close()

    assert 3 == journal.owed.of_account("acme", "2026-01")


def test_a_home_that_cannot_be_made_refuses_calls(tmp_path, make_event, make_journal):
    """The first line says why; it is tried again with the next."""
    (tmp_path / "journal").write_text("in the way")
    journal = make_journal()

    with pytest.raises(JournalFullError, match="File exists"):
        journal.open_call(make_event(1))
    (tmp_path / "journal").unlink()
    journal.open_call(make_event(1))


@settings(max_examples=40, **anyone)
@given(rooms=st.lists(st.one_of(st.none(), st.integers(0, 900)), max_size=8))
def test_each_admitted_call_yields_one_event_whatever_the_disk_does(
    tmp_path, ledger, make_journal, disk, make_event, rooms
):
    """Admitted and closed: the closed charge. Refused: nothing. No conflict ever."""
    journal = make_journal(segment_bytes=1500)
    ledger.events.clear()
    admitted = []
    for number, room in enumerate([*rooms, None]):
        disk.room = room
        try:
            journal.open_call(make_event(number, charge_p=1000))
        except JournalFullError:
            continue
        admitted.append(number)
        journal.close_call(make_event(number, charge_p=number))
    journal.close()

    found = adopt_orphans(tmp_path, ledger.post)

    assert {n: n for n in admitted} == {
        e.usage.output_tokens: e.charge_p for e in ledger.events.values()
    }
    assert (len(admitted), 0, 0) == (found.posted, found.conflicts, found.recovered)
