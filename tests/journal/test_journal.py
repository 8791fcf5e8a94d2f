"""What the journal writes, when it writes it, and what it owes."""

import threading

import anyio
import anyio.to_thread
import pytest

from metering.errors import JournalFullError, StorageError
from metering.journal import Journal, adopt_orphans

NS_PER_S = 1_000_000_000


def test_nothing_is_opened_before_the_first_line(tmp_path):
    """A journal that is made before a fork has nothing to share with the child."""
    before = threading.active_count()
    home = tmp_path / "home"

    journal = Journal(home, clock=lambda: 1)
    journal.close()

    assert (False, before) == (home.exists(), threading.active_count())


def test_each_admitted_call_yields_one_event(tmp_path, ledger, journal, make_event):
    """Closed as closed; without an end as the last that was heard of it."""
    for number in (1, 2, 3):
        journal.open_call(make_event(number, charge_p=100))
    journal.checkpoint(make_event(2, charge_p=200))
    journal.checkpoint(make_event(2, charge_p=300))
    journal.close_call(make_event(1, charge_p=7))
    journal.close()

    adopt_orphans(tmp_path, ledger.post)

    found = {
        e.usage.output_tokens: (e.ending, e.charge_p) for e in ledger.events.values()
    }
    assert found == {
        1: ("completed", 7),
        2: ("recovered", 300),
        3: ("recovered", 100),
    }


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path, journal, make_event):
    """Not in a buffer of this process: another one reads it."""
    journal.open_call(make_event(1))
    journal.close_call(make_event(1))

    text = next(tmp_path.glob("journal/*/*.log")).read_bytes()

    assert [line[9:10] for line in text.splitlines()] == [b"o", b"c"]


def test_segments_follow_each_other(make_journal, files, make_event):
    """One that is long enough is followed by the next; none is cut in a line."""
    journal = make_journal(segment_bytes=1, sync_lines=1)
    for number in range(3):
        journal.open_call(make_event(number))
        anyio.run(journal.durable)

    assert files() == ["00000001.log", "00000002.log", "00000003.log"]


def test_two_files_are_open_at_most(make_journal, disk, files, make_event):
    """While a finished segment waits for its sync, the next one grows."""
    journal = make_journal(segment_bytes=1)
    disk.sync_may_end.clear()
    for number in range(10):
        journal.open_call(make_event(number))
    written = files()
    disk.sync_may_end.set()

    assert written == ["00000001.log", "00000002.log"]


def test_threads_share_a_journal(tmp_path, ledger, make_journal, make_event):
    """Lines of several threads lie whole beside each other, over many segments."""
    journal = make_journal(segment_bytes=2_000)

    def write(first: int) -> None:
        for number in range(first, first + 200):
            journal.open_call(make_event(number))
            journal.close_call(make_event(number))

    threads = [threading.Thread(target=write, args=(n * 200,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    owed_p = journal.owed.of_account("acme", "2026-01")
    journal.close()

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.closed, found.recovered, found.damaged) == (800, 0, 0)
    assert 800 * 801 // 2 == ledger.spent_p() == owed_p


def test_what_is_owed_is_kept_by_account_and_period(journal, make_event):
    """Zero where nothing is owed; free calls owe nothing."""
    journal.close_call(make_event(1, charge_p=5))
    journal.close_call(make_event(2, charge_p=6))
    journal.close_call(make_event(3, charge_p=7, period="2026-02"))
    journal.close_call(make_event(4, charge_p=0, account_id="free"))

    owed = [("acme", "2026-01"), ("acme", "2026-02"), ("free", "2026-01"), ("x", "y")]
    assert [journal.owed.of_account(*key) for key in owed] == [11, 7, 0, 0]


def test_a_closed_journal_is_left_to_who_adopts_it(
    tmp_path, ledger, make_journal, make_event
):
    """Its lock is given up; a line that comes late begins another."""
    journal = make_journal()
    journal.open_call(make_event(1))
    journal.close()
    journal.close_call(make_event(1))
    journal.close()

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.owners, found.closed, found.recovered) == (2, 1, 1)


def test_charges_that_lag_refuse_new_calls(make_journal, make_event):
    """Sixty seconds are borne, one nanosecond more is not."""
    journal = make_journal(lag_max_s=60)
    closed = make_event(1)
    journal.close_call(closed)
    late_ns = closed.ended_ns + 60 * NS_PER_S
    journal.open_call(make_event(2, admitted_ns=late_ns))

    with pytest.raises(JournalFullError, match="more than 60 s"):
        journal.open_call(make_event(3, admitted_ns=late_ns + 1))


class TestDurable:
    """`durable` returns when the disk has what was written, not before."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    async def test_waits_for_the_sync(self, journal, disk, tmp_path, make_event):
        """Until the sync has ended it waits; after it, the whole file is synced."""
        disk.sync_may_end.clear()
        journal.close_call(make_event(1))
        returned = False

        async def wait() -> None:
            nonlocal returned
            await journal.durable()
            returned = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.to_thread.run_sync(disk.sync_began.wait, 10)
            returned_early = returned
            disk.sync_may_end.set()

        path = next(tmp_path.glob("journal/*/*.log"))
        at = path.stat()
        assert (returned_early, returned) == (False, True)
        assert at.st_size == disk.synced_bytes[at.st_ino]

    @pytest.mark.parametrize("segment_bytes", [1, 400, 10**6])
    async def test_a_line_written_during_a_sync_waits_for_the_next(
        self, make_journal, disk, tmp_path, make_event, segment_bytes
    ):
        """In the same segment, in the next, or on both sides of the change."""
        journal = make_journal(segment_bytes=segment_bytes, sync_lines=1)
        disk.sync_may_end.clear()
        journal.open_call(make_event(1))
        await anyio.to_thread.run_sync(disk.sync_began.wait, 10)
        for number in (2, 3, 4):
            journal.open_call(make_event(number))
        disk.sync_may_end.set()
        await journal.durable()

        written = {
            p.stat().st_ino: p.stat().st_size for p in tmp_path.glob("journal/*/*.log")
        }
        assert written == disk.synced_bytes

    async def test_many_wait_for_few_syncs(self, journal, disk, make_event):
        """Who comes during a sync waits for the next one, with all the others."""
        syncs = 0
        sync = disk.sync

        def count(fd: int) -> None:
            nonlocal syncs
            syncs += 1
            sync(fd)

        journal._group._sync_file = count

        async def close(number: int) -> None:
            journal.close_call(make_event(number))
            await journal.durable()

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(close, number)

        assert syncs <= 10

    async def test_one_who_gives_up_does_not_hold_up_the_others(
        self, journal, disk, make_event
    ):
        """The wait that all share goes on when the first of them is cancelled."""
        disk.sync_may_end.clear()
        journal.close_call(make_event(1))
        async with anyio.create_task_group() as others:
            async with anyio.create_task_group() as first:
                first.start_soon(journal.durable)
                await anyio.to_thread.run_sync(disk.sync_began.wait, 10)
                others.start_soon(journal.durable)
                await anyio.lowlevel.checkpoint()
                first.cancel_scope.cancel()
            disk.sync_may_end.set()

        assert disk.synced_bytes

    async def test_says_so_if_the_disk_fails(self, journal, disk, make_event):
        """It raises, new calls are refused, and a disk that is mended is used again."""
        journal.open_call(make_event(1))
        disk.sync_error = OSError(5, "Input/output error")
        with pytest.raises(StorageError, match="Input/output error"):
            await journal.durable()
        with pytest.raises(JournalFullError, match="Input/output error"):
            journal.open_call(make_event(2))
        was_full = journal.is_full
        disk.sync_error = None
        journal.close_call(make_event(1))
        await journal.durable()

        assert (was_full, journal.is_full) == (True, False)
        assert journal.faults.sync_errors >= 1
        journal.open_call(make_event(3))

    async def test_no_sync_runs_on_a_thread_that_writes(
        self, make_journal, disk, make_event
    ):
        """However many lines are due, the caller only writes."""
        journal = make_journal(sync_lines=1, segment_bytes=1)
        for number in range(20):
            journal.open_call(make_event(number))
        await journal.durable()

        assert disk.sync_threads.isdisjoint({threading.get_ident()})

    async def test_nothing_written_is_durable_already(self, journal):
        """There is nothing to wait for, and nothing to open."""
        await journal.durable()


def test_who_adopts_owes_what_was_left(tmp_path, ledger, journal, make_event):
    """Closed and adopted in one process, a charge is counted by the ledger alone."""
    journal.open_call(make_event(1))
    journal.close_call(make_event(1))
    journal.close()

    adopt_orphans(tmp_path, ledger.post)

    assert (2, 0) == (ledger.spent_p(), journal.owed.of_account("acme", "2026-01"))
