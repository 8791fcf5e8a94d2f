"""Closed calls reach the ledger once, and what is owed is known at every step."""

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.journal import adopt_orphans
from metering.shipper import Shipper

TIMEOUT_S = 10


@pytest.fixture
def make_shipper(journal, ledger):
    """Make shippers; stop them in the end."""
    shippers = []

    def make(of=journal, post=ledger.post, **options) -> Shipper:
        shipper = Shipper(of, post, **options)
        shippers.append(shipper)
        return shipper

    yield make
    for shipper in shippers:
        shipper.stop(0)


@pytest.fixture
def call(journal, make_event):
    """Open and close a call; return its charge."""

    def call(number: int, of=journal, **fields: object) -> int:
        event = make_event(number, **fields)
        of.open_call(event)
        of.close_call(event)
        return event.charge_p

    return call


def test_closed_calls_reach_the_ledger(make_shipper, journal, ledger, call):
    """Before and after the start; and then nothing is owed."""
    shipper = make_shipper()
    call(1)
    shipper.start()
    call(2)

    flushed = shipper.flush(TIMEOUT_S)

    assert (
        flushed,
        ledger.spent_p(),
        journal.owed.of_account("acme", "2026-01"),
    ) == (True, 5, 0)


def test_a_running_call_is_not_posted(make_shipper, journal, ledger, call, make_event):
    """Only its end is; a checkpoint is for who adopts."""
    journal.open_call(make_event(1))
    journal.checkpoint(make_event(1))
    call(2)
    shipper = make_shipper()
    shipper.start()
    shipper.flush(TIMEOUT_S)

    assert [e.usage.output_tokens for e in ledger.events.values()] == [2]


def test_stop_flushes(make_shipper, ledger, call):
    """What was closed before the stop is in the ledger after it."""
    shipper = make_shipper(wait_ms=60_000)
    shipper.start()
    shipper.flush(TIMEOUT_S)
    call(1)

    assert (shipper.stop(TIMEOUT_S), ledger.spent_p()) == (True, 2)


def test_a_stopped_shipper_goes_on_where_it_was(make_shipper, ledger, call):
    """No event is posted a second time after a new start."""
    shipper = make_shipper()
    for number in range(3):
        call(number)
        shipper.start()
        shipper.stop(TIMEOUT_S)

    assert ledger.batches == [1, 1, 1]


def test_a_journal_that_owes_nothing_is_deleted(
    make_shipper, journal, call, tmp_path: Path
):
    """A clean end leaves nothing to adopt."""
    shipper = make_shipper()
    shipper.start()
    call(1)
    shipper.stop(TIMEOUT_S)
    journal.close()

    assert list((tmp_path / "journal").iterdir()) == []


def test_a_journal_with_a_running_call_is_kept(
    make_shipper, journal, ledger, call, make_event, tmp_path
):
    """The call is recovered; the closed ones are known already."""
    shipper = make_shipper()
    shipper.start()
    call(1)
    journal.open_call(make_event(2))
    shipper.stop(TIMEOUT_S)
    journal.close()

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.posted, found.conflicts, found.recovered) == (1, 0, 1)


class TestLedgerDown:
    """A ledger that is down costs disk, not memory, and no charge."""

    def test_it_is_tried_until_it_is_up(self, make_shipper, journal, ledger, call):
        """All are posted once, in order; the change is told once each way."""
        told, down, up = [], threading.Event(), threading.Event()

        def on_fault(kind, error):
            told.append((kind, str(error)))
            {"down": down, "up": up}[kind].set()

        shipper = make_shipper(batch_max=10, retry_max_ms=1, on_fault=on_fault)
        ledger.down = True
        shipper.start()
        charges_p = [call(number) for number in range(25)]
        down.wait(TIMEOUT_S)
        not_flushed = shipper.flush(0)
        while ledger.tries < 5:
            shipper.flush(0.001)
        owed_p = journal.owed.of_account("acme", "2026-01")
        ledger.down = False
        flushed = shipper.flush(TIMEOUT_S)

        assert (not_flushed, flushed) == (False, True)
        assert sum(charges_p) == owed_p == ledger.spent_p()
        assert sorted(ledger.events) == list(ledger.events)
        assert sum(ledger.batches) == 25
        assert told == [("down", "the ledger is down"), ("up", "None")]

    def test_memory_is_bounded_by_a_batch(self, make_shipper, ledger, call):
        """Thousands of calls wait in the files, one batch and a slice in memory."""
        shipper = make_shipper(batch_max=10)
        ledger.down = True
        for number in range(3000):
            call(number)
        shipper._try_pass()
        shipper._try_pass()

        assert len(shipper._batch) == 10
        assert len(shipper._tail._closed) < 150

    def test_pauses_grow_to_a_bound(self, make_shipper, ledger, call):
        """They double from 100 ms to the longest, and begin anew when it was up."""
        shipper = make_shipper(retry_max_ms=1000, wait_ms=200)
        ledger.down = True
        call(1)
        pauses_s = [shipper._try_pass() for _ in range(6)]
        ledger.down = False
        pauses_s.append(shipper._try_pass())
        ledger.down = True
        call(2)
        pauses_s.append(shipper._try_pass())

        assert pauses_s == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.2, 0.1]

    def test_stop_gives_up_in_time(self, make_shipper, journal, ledger, call, tmp_path):
        """What it could not post is adopted later, once."""
        shipper = make_shipper()
        ledger.down = True
        call(1)
        shipper.start()
        stopped = shipper.stop(0)
        journal.close()
        ledger.down = False

        assert (stopped, adopt_orphans(tmp_path, ledger.post).posted) == (False, 1)

    def test_calls_are_refused_only_until_the_ledger_is_up(
        self, make_shipper, make_journal, make_event
    ):
        """Lag ends with the post that ends it."""
        journal = make_journal(lag_max_s=60)
        shipper = make_shipper(journal)
        first = make_event(1)
        later_ns = first.ended_ns + 61_000_000_000
        journal.close_call(first)
        lagging = journal._lags(later_ns)
        shipper._try_pass()

        assert (lagging, journal._lags(later_ns)) == (True, False)


def test_conflicts_and_damage_are_told(
    make_shipper, journal, ledger, call, disk, make_event
):
    """An event posted before with another charge; a line the disk cut short."""
    told = []
    shipper = make_shipper(on_fault=lambda kind, error: told.append((kind, str(error))))
    ledger.post([make_event(1, charge_p=99)])
    call(1)
    disk.make_full(room=10)
    journal.checkpoint(make_event(1))
    disk.make_room()
    call(2)
    shipper._pass()

    assert [kind for kind, _ in told] == ["conflict", "damaged"]
    assert make_event(1).id in told[0][1]
    assert "1 lines in" in told[1][1]
    assert journal.owed.of_account("acme", "2026-01") == 0


class TestDisk:
    """What the journal's disk does is told as it changes, not line by line."""

    @pytest.fixture
    def told(self):
        """What was told so far."""
        return []

    @pytest.fixture
    def look(self, make_shipper, told):
        """Let the shipper look once."""
        shipper = make_shipper(
            on_fault=lambda kind, error: told.append((kind, str(error)))
        )
        return shipper._try_pass

    def test_a_full_disk_is_told_once_each_way(
        self, journal, disk, look, told, make_event
    ):
        """However many lines it refuses in between."""
        journal.open_call(make_event(1))
        look()
        disk.make_full()
        for _ in range(3):
            journal.checkpoint(make_event(1))
            look()
        disk.make_room()
        journal.close_call(make_event(1))
        look()

        assert ["disk_failing", "disk_up"] == [kind for kind, _ in told]
        assert "No space left" in told[0][1]

    def test_one_that_failed_between_two_looks_is_told_too(
        self, journal, disk, look, told, make_event
    ):
        """It works again, and nobody would know."""
        journal.open_call(make_event(1))
        disk.make_full()
        journal.checkpoint(make_event(1))
        disk.make_room()
        journal.close_call(make_event(1))
        for _ in range(2):
            look()

        assert ["disk_failing", "disk_up"] == [kind for kind, _ in told]

    def test_calls_that_found_no_room_to_wait_are_told(
        self, make_journal, make_shipper, disk, told, make_event
    ):
        """Their number so far, whenever it grows."""
        journal = make_journal(backlog_max=1)
        shipper = make_shipper(
            of=journal, on_fault=lambda kind, error: told.append((kind, str(error)))
        )
        for number in range(4):
            journal.open_call(make_event(number))
        disk.make_full()
        for number in range(3):
            journal.close_call(make_event(number))
        for _ in range(2):
            shipper._try_pass()

        assert ["disk_failing", "lost"] == [kind for kind, _ in told]
        assert told[1][1].startswith("2 calls")


def test_a_log_that_fails_stops_no_charge(make_shipper, ledger, call):
    """Whatever `on_fault` raises, the next try is made."""

    def on_fault(kind, error):
        raise RuntimeError(kind) from error

    shipper = make_shipper(on_fault=on_fault)
    ledger.down = True
    call(1)
    shipper._try_pass()
    ledger.down = False
    shipper._try_pass()

    assert ledger.spent_p() == 2


class TestSegments:
    """A segment goes when no call's last line is in it or before it."""

    @pytest.fixture
    def journal(self, make_journal):
        """One line a segment."""
        return make_journal(segment_bytes=1, sync_lines=1)

    @pytest.fixture
    def write(self, journal):
        """Write one line, and wait until it may have a segment of its own."""

        def write(act, event):
            act(event)
            journal._group.wait()

        return write

    def test_posted_segments_are_deleted(
        self, make_shipper, journal, write, make_event, files
    ):
        """All but the one being written."""
        for number in range(3):
            write(journal.open_call, make_event(number))
            write(journal.close_call, make_event(number))
        before = files()
        make_shipper()._pass()

        assert (len(before), files()) == (6, ["00000006.log"])

    def test_a_running_call_keeps_its_segment_and_all_after_it(
        self, make_shipper, journal, write, make_event, files
    ):
        """In order: nothing behind it is deleted, posted or not."""
        shipper = make_shipper()
        write(journal.close_call, make_event(1))
        write(journal.open_call, make_event(2))
        write(journal.close_call, make_event(3))
        write(journal.open_call, make_event(4))
        write(journal.close_call, make_event(5))
        shipper._pass()
        both_run = files()
        write(journal.close_call, make_event(2))
        shipper._pass()
        one_runs = files()
        write(journal.close_call, make_event(4))
        shipper._pass()

        assert [f"0000000{n}.log" for n in (2, 3, 4, 5)] == both_run
        assert [f"0000000{n}.log" for n in (4, 5, 6)] == one_runs
        assert files() == ["00000007.log"]

    def test_a_checkpoint_frees_the_segment_of_the_line_before(
        self, make_shipper, journal, write, make_event, files, ledger, tmp_path
    ):
        """A long stream does not keep the whole journal; it is still recovered."""
        shipper = make_shipper()
        write(journal.open_call, make_event(1, charge_p=1))
        write(journal.checkpoint, make_event(1, charge_p=5))
        write(journal.checkpoint, make_event(1, charge_p=9))
        shipper._pass()
        left = files()
        journal.close()
        adopt_orphans(tmp_path, ledger.post)

        assert (left, ledger.spent_p()) == (["00000003.log"], 9)

    def test_a_checkpoint_after_the_end_keeps_nothing(
        self, make_shipper, journal, write, make_event, files
    ):
        """It tells of a call that is posted, and has no end to wait for."""
        shipper = make_shipper()
        write(journal.close_call, make_event(1))
        shipper._pass()
        write(journal.checkpoint, make_event(1))
        write(journal.close_call, make_event(2))
        shipper._pass()

        assert files() == ["00000003.log"]

    def test_a_ledger_that_is_down_keeps_them(
        self, make_shipper, journal, write, make_event, files, ledger
    ):
        """Not posted is not deleted."""
        shipper = make_shipper()
        ledger.down = True
        write(journal.close_call, make_event(1))
        write(journal.close_call, make_event(2))
        shipper._try_pass()
        while_down = files()
        ledger.down = False
        shipper._try_pass()

        assert while_down == ["00000001.log", "00000002.log"]
        assert files() == ["00000002.log"]

    def test_a_disk_that_fails_to_sync_keeps_them(
        self, make_shipper, journal, write, make_event, files, disk
    ):
        """What replaces a line must be on the disk before the line goes."""
        shipper = make_shipper()
        write(journal.open_call, make_event(1))
        disk.sync_error = OSError(5, "Input/output error")
        journal.checkpoint(make_event(1))
        shipper._pass()

        assert files() == ["00000001.log", "00000002.log"]


class TestOwed:
    """Ledger plus unposted is the exact sum of all closed calls, whenever read."""

    @settings(
        max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(st.sampled_from("ab"), st.integers(0, 10**15)),
                st.sampled_from(["ship", "down", "up"]),
            ),
            max_size=40,
        )
    )
    def test_at_every_step(self, make_journal, make_ledger, make_event, steps):
        """Whatever order calls end, batches are posted and the ledger fails in."""
        journal, ledger = make_journal(segment_bytes=2000), make_ledger()
        shipper = Shipper(journal, ledger.post, batch_max=3)
        total_p = {"a": 0, "b": 0}
        for number, step in enumerate(steps):
            if isinstance(step, tuple):
                account, charge_p = step
                journal.close_call(
                    make_event(number, account_id=account, charge_p=charge_p)
                )
                total_p[account] += charge_p
            elif step == "ship":
                shipper._try_pass()
            else:
                ledger.down = step == "down"
            with journal.posting:
                read_p = {
                    account: ledger.spent_p(account)
                    + journal.owed.of_account(account, "2026-01")
                    for account in total_p
                }
            assert total_p == read_p
        journal.close()

    def test_nobody_reads_between_the_post_and_its_count(
        self, journal, ledger, make_event
    ):
        """While the ledger has a charge that is still owed here, `posting` is held."""
        free = []

        def post(events):
            report = ledger.post(events)
            free.append(journal.posting.acquire(blocking=False))
            return report

        journal.close_call(make_event(1))
        Shipper(journal, post)._pass()

        assert free == [False]

    def test_while_threads_race(self, make_journal, ledger, make_event):
        """A seeder beside the shipper's thread never reads too little or too much."""
        journal = make_journal(segment_bytes=20_000)
        shipper = Shipper(journal, ledger.post, batch_max=7, wait_ms=1)
        shipper.start()
        wrong, closed_p, done = [], [0], threading.Event()

        def seed() -> None:
            while not done.is_set():
                least_p = closed_p[0]
                with journal.posting:
                    read_p = ledger.spent_p() + journal.owed.of_account(
                        "acme", "2026-01"
                    )
                # One call may be between its line and its count here.
                if not least_p <= read_p <= closed_p[0] + 1:
                    wrong.append((least_p, read_p))

        seeder = threading.Thread(target=seed)
        seeder.start()
        for number in range(1500):
            event = make_event(number, charge_p=1)
            journal.open_call(event)
            journal.close_call(event)
            closed_p[0] += 1
        shipper.stop(TIMEOUT_S)
        done.set()
        seeder.join(TIMEOUT_S)

        assert (wrong, ledger.spent_p()) == ([], 1500)


def test_a_hundred_thousand_calls_sum_exactly(
    make_journal, make_shipper, ledger, make_event, files
):
    """Journal to shipper to ledger: no charge lost, none twice, few files left."""
    journal = make_journal(segment_bytes=1024 * 1024)
    shipper = make_shipper(journal)
    shipper.start()
    for number in range(100_000):
        event = make_event(number)
        journal.open_call(event)
        journal.close_call(event)
    flushed = shipper.stop(TIMEOUT_S)

    assert (
        flushed,
        len(ledger.events),
        ledger.spent_p(),
    ) == (True, 100_000, 5_000_050_000)
    assert max(ledger.batches) <= 1000
    assert len(files()) == 1
