"""An event that the ledger refuses for itself stops nobody else's."""

import json

import msgspec
import pytest

from metering.errors import ConfigurationError, LedgerError, StorageError
from metering.journal import RefusedEvent, SetAside, adopt_orphans
from metering.shipper import Shipper

TIMEOUT_S = 10


@pytest.fixture
def told():
    """What was told of refused events: the number of each, and whether it was kept."""
    return []


@pytest.fixture
def make_set_aside(tmp_path, ledger, told):
    """Post to the dict ledger, which refuses the events of account `poison`."""

    def post(events):
        if any(event.account_id == "poison" for event in events):
            raise ConfigurationError("The amount is too large.")
        return ledger.post(events)

    def make(post=post, **options):
        return SetAside(
            tmp_path,
            post,
            on_refused=lambda refused, kept: told.append(
                (refused.event.usage.output_tokens, kept)
            ),
            **options,
        )

    return make


@pytest.fixture
def read_file(tmp_path):
    """Return what was set aside, as the library reads it back."""

    def read():
        text = (tmp_path / "journal" / "set-aside.jsonl").read_bytes()
        lines = text.splitlines()
        return [msgspec.json.decode(line, type=RefusedEvent) for line in lines]

    return read


def test_the_others_of_a_batch_are_posted(
    make_set_aside, make_event, ledger, told, read_file
):
    """Wherever the bad ones lie, all others are posted, in order."""
    bad = {0, 3, 4, 99}
    events = [
        make_event(n, account_id="poison" if n in bad else "acme") for n in range(100)
    ]

    report = make_set_aside().post(events)

    assert [e.id for n, e in enumerate(events) if n not in bad] == list(report.posted)
    assert list(report.posted) == list(ledger.events)
    assert [(n, True) for n in sorted(bad)] == told
    assert [
        RefusedEvent("The amount is too large.", events[n]) for n in sorted(bad)
    ] == read_file()


def test_a_good_batch_is_posted_as_it_is(make_set_aside, make_event, ledger, tmp_path):
    """One transaction, and no file."""
    make_set_aside().post([make_event(n) for n in range(10)])

    assert [10] == ledger.batches
    assert not (tmp_path / "journal").exists()


def test_a_ledger_that_is_down_refuses_nothing(make_set_aside, make_event, told):
    """Also where it goes down between the halves of a batch: all is tried again."""
    tries = []

    def post(events):
        tries.append(len(events))
        if len(events) > 1:
            raise LedgerError("One of them cannot be posted.")
        if events[0].usage.output_tokens == 1:
            raise StorageError("The ledger is locked.")
        raise ConfigurationError("The amount is too large.")

    with pytest.raises(StorageError, match="locked"):
        make_set_aside(post).post([make_event(0), make_event(1)])

    assert [2, 1, 1] == tries
    assert [] == told


def test_the_file_is_bounded(make_set_aside, make_event, told, read_file):
    """What it has no room for is told of, and stops nobody either."""
    aside = make_set_aside(bytes_max=900)
    for number in range(4):
        aside.post([make_event(number, account_id="poison")])

    kept = len(read_file())
    assert 0 < kept < 4
    assert [(n, n < kept) for n in range(4)] == told


def test_a_file_that_cannot_be_written_loses_nothing(
    make_set_aside, make_event, told, tmp_path
):
    """The events stay in the journal, as if the ledger were down."""
    (tmp_path / "journal").write_text("in the way")

    with pytest.raises(StorageError, match=r"set-aside.*stay in the journal"):
        make_set_aside().post([make_event(1, account_id="poison")])

    assert [] == told


def test_the_file_tells_ids_and_figures_alone(make_set_aside, make_event, tmp_path):
    """It is readable by its owner alone, and each line by any program."""
    make_set_aside().post([make_event(1, account_id="poison")])

    path = tmp_path / "journal" / "set-aside.jsonl"
    line = json.loads(path.read_text())
    assert 0o600 == path.stat().st_mode & 0o777
    assert ["reason", "event"] == list(line)
    assert "poison" == line["event"]["account_id"]


def test_the_shipper_goes_on_past_it(make_set_aside, make_event, journal, ledger):
    """What is set aside is owed no more; the others are in the ledger."""
    faults = []
    shipper = Shipper(
        journal,
        make_set_aside().post,
        on_fault=lambda kind, error: faults.append((kind, error)),
    )
    for number, account in enumerate(("acme", "poison", "acme")):
        event = make_event(number, account_id=account)
        journal.open_call(event)
        journal.close_call(event)
    shipper.start()

    stopped = shipper.stop(TIMEOUT_S)

    assert stopped
    assert [] == faults
    assert 4 == ledger.spent_p()
    assert 0 == journal.owed.of_account("poison", "2026-01")


def test_adoption_goes_on_past_it(
    make_set_aside, make_event, journal, ledger, tmp_path, told
):
    """A restart finds the journal of a process that met it, and takes it over."""
    for number, account in enumerate(("acme", "poison", "acme")):
        event = make_event(number, account_id=account)
        journal.open_call(event)
        journal.close_call(event)
    journal.close()

    found = adopt_orphans(tmp_path, make_set_aside().post)
    again = adopt_orphans(tmp_path, make_set_aside().post)

    assert (3, 2, 0) == (found.closed, found.posted, again.closed)
    assert [(1, True)] == told
    assert 4 == ledger.spent_p()


def test_what_is_not_the_ledgers_fault_is_not_called_so(make_event, journal):
    """A ledger that raises what it should not is `failing`; one that is away `down`."""
    faults, errors = [], [KeyError("bug"), StorageError("away"), OSError("cut")]

    def post(_events):
        raise errors.pop(0)

    shipper = Shipper(journal, post, on_fault=lambda kind, _error: faults.append(kind))
    journal.open_call(make_event(1))
    journal.close_call(make_event(1))
    for _ in range(3):
        shipper._try_pass()

    assert ["failing", "down"] == faults
