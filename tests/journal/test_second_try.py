"""What was set aside is posted again once its reason is mended, beside a service."""

import fcntl
import threading
from types import SimpleNamespace

import pytest

from metering.errors import ConfigurationError, StorageError
from metering.journal import RefusedEvent, SetAside, post_set_aside, set_aside_events
from metering.journal.set_aside import held, set_aside_path


class Refusing:
    """A dict ledger that refuses some accounts, until they are mended."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.refused = {"poison"}

    def post(self, events):
        if any(event.account_id in self.refused for event in events):
            raise ConfigurationError("The amount is too large.")
        return self.ledger.post(events)


@pytest.fixture
def refusing(ledger):
    """The ledger, which refuses the events of account `poison`."""
    return Refusing(ledger)


@pytest.fixture
def set_aside(tmp_path, refusing, make_event):
    """Set events of `poison` aside, by their numbers."""
    aside = SetAside(tmp_path, refusing.post, on_refused=lambda *_: None)

    def numbers(*wanted):
        aside.post([make_event(n, account_id="poison") for n in wanted])

    return numbers


@pytest.fixture
def left(tmp_path):
    """Return the numbers of the events that are set aside."""
    return lambda: [r.event.usage.output_tokens for r in set_aside_events(tmp_path)]


def test_once_mended_all_of_it_is_posted(tmp_path, set_aside, refusing, ledger, left):
    """Once each, in batches, and nothing is left."""
    set_aside(*range(5))
    refusing.refused.clear()
    batches = []
    done = post_set_aside(tmp_path, refusing.post, batch_max=2, on_batch=batches.append)

    assert (5, 0, ()) == (done.posted, done.known, done.refused)
    assert [2, 2, 1] == batches
    assert [*range(5)] == [e.usage.output_tokens for e in ledger.events.values()]
    assert [] == left()


def test_what_is_still_refused_is_set_aside_again(
    tmp_path, set_aside, refusing, make_event, left
):
    """With its reason; the others are posted."""
    set_aside(1, 2)
    refusing.refused = {"other"}
    aside = SetAside(tmp_path, refusing.post, on_refused=lambda *_: None)
    aside.post([make_event(3, account_id="other")])
    done = post_set_aside(tmp_path, refusing.post)

    reason = "The amount is too large."
    event = make_event(3, account_id="other")
    assert (2, (RefusedEvent(reason, event),)) == (done.posted, done.refused)
    assert [3] == left()


def test_what_a_service_has_posted_since_is_known(
    tmp_path, set_aside, refusing, ledger, make_event
):
    set_aside(1, 2)
    refusing.refused.clear()
    ledger.post([make_event(1, account_id="poison")])
    done = post_set_aside(tmp_path, refusing.post)

    assert (1, 1) == (done.posted, done.known)


def test_a_ledger_that_is_away_loses_nothing(tmp_path, set_aside, refusing, left):
    """The next time goes on with what was taken, and with what came since."""

    def away(_events):
        raise StorageError("The ledger is locked.")

    set_aside(1, 2)
    with pytest.raises(StorageError, match="locked"):
        post_set_aside(tmp_path, away)
    set_aside(3)
    between = left()
    refusing.refused.clear()
    done = post_set_aside(tmp_path, refusing.post)

    assert [1, 2, 3] == between
    assert (3, []) == (done.posted, left())


def test_a_line_cut_short_spoils_no_other(tmp_path, set_aside, refusing, left):
    """A power cut left half a line; what is set aside after it can be read."""
    set_aside(1)
    path = set_aside_path(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    set_aside(2)
    before = left()
    refusing.refused.clear()
    done = post_set_aside(tmp_path, refusing.post)

    assert [1, 2] == before
    assert (2, 1) == (done.posted, done.damaged)


def test_only_one_process_does_it_at_a_time(tmp_path, set_aside, refusing):
    set_aside(1)
    told = []

    def post(events):
        with pytest.raises(StorageError, match="Another process") as refused:
            post_set_aside(tmp_path, refusing.post)
        told.append(refused.value)
        return refusing.post(events)

    refusing.refused.clear()
    done = post_set_aside(tmp_path, post)

    assert (1, 1) == (done.posted, len(told))


def test_who_waited_while_the_file_was_taken_writes_to_the_new_one(
    tmp_path, set_aside, refusing, left, monkeypatch
):
    """A service that opened the file just before it was taken loses no event."""
    set_aside(1)
    path = set_aside_path(tmp_path)
    opened = threading.Event()

    def wait_for_lock(*args):
        opened.set()
        fcntl.flock(*args)

    with held(path):
        monkeypatch.setattr(
            "metering.journal.set_aside.fcntl",
            SimpleNamespace(flock=wait_for_lock, LOCK_EX=fcntl.LOCK_EX),
        )
        writer = threading.Thread(target=set_aside, args=(2,))
        writer.start()
        assert opened.wait(10)
        path.rename(path.with_suffix(".taken.jsonl"))
        path.with_suffix(".taken.jsonl").rename(tmp_path / "read already")
    writer.join()
    both = left()
    refusing.refused.clear()
    done = post_set_aside(tmp_path, refusing.post)

    assert [2] == both
    assert (1, []) == (done.posted, left())


def test_where_nothing_was_set_aside_nothing_happens(tmp_path, refusing):
    assert (0, 0) == (
        (done := post_set_aside(tmp_path, refusing.post)).posted,
        done.damaged,
    )
