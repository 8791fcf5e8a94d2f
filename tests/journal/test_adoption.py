"""What a dead process leaves is posted once, whatever state its files are in."""

import itertools
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.journal import Adoption, adopt_orphans
from metering.journal.lines import CHECKPOINT, CLOSED, OPEN, encode_line


@pytest.fixture
def leave(tmp_path: Path):
    """Leave an owner's folder behind, with segments as given."""
    count = itertools.count()

    def leave(*segments: bytes) -> Path:
        owner = tmp_path / "journal" / f"{next(count):032x}"
        owner.mkdir(parents=True)
        (owner / "lock").touch()
        for number, text in enumerate(segments, start=1):
            (owner / f"{number:08d}.log").write_bytes(text)
        return owner

    return leave


def test_nothing_is_adopted_where_there_is_nothing(tmp_path, ledger):
    """A home that was never used is no error."""
    assert Adoption() == adopt_orphans(tmp_path / "home", ledger.post)


def test_the_last_line_of_a_call_wins(tmp_path, ledger, leave, make_event):
    """Closed beats checkpoint beats open, across segments."""
    closed, noted, opened = (make_event(n) for n in (1, 2, 3))
    early = [make_event(n, charge_p=0) for n in (1, 2)]
    leave(
        b"".join(encode_line(OPEN, e) for e in (*early, opened)),
        encode_line(CHECKPOINT, make_event(1, charge_p=50))
        + encode_line(CHECKPOINT, make_event(2, charge_p=50)),
        encode_line(CLOSED, closed) + encode_line(CHECKPOINT, noted),
    )

    found = adopt_orphans(tmp_path, ledger.post)

    endings = {
        e.usage.output_tokens: (e.ending, e.charge_p) for e in ledger.events.values()
    }
    assert endings == {1: ("completed", 2), 2: ("recovered", 3), 3: ("recovered", 4)}
    assert Adoption(owners=1, closed=1, recovered=2, posted=3) == found


def test_a_tail_torn_at_any_byte_loses_only_the_line_it_tore(
    tmp_path, make_ledger, make_event, leave
):
    """Wherever the file was cut, whole lines count and no others."""
    lines = [
        encode_line(OPEN, make_event(1, charge_p=10)),
        encode_line(CHECKPOINT, make_event(1, charge_p=20)),
        encode_line(OPEN, make_event(2, charge_p=40)),
        encode_line(CLOSED, make_event(1, charge_p=80)),
    ]
    spent_p = [0, 10, 20, 60, 120]
    ends = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    text = b"".join(lines)
    wrong = []
    for cut in range(len(text) + 1):
        whole = sum(end <= cut for end in ends) - 1
        ledger = make_ledger()
        leave(text[:cut])

        found = adopt_orphans(tmp_path, ledger.post)

        torn = int(cut not in ends)
        if (spent_p[whole], torn) != (ledger.spent_p(), found.damaged):
            wrong.append(cut)

    assert wrong == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0), value=st.integers(0, 255))
def test_an_altered_byte_loses_one_line_and_is_counted(
    tmp_path, ledger, make_event, leave, place, value
):
    """The lines around it are read as if nothing had happened."""
    before, middle, after = (encode_line(CLOSED, make_event(n)) for n in (1, 2, 3))
    altered = bytearray(middle)
    place %= len(middle) - 1
    same = altered[place] == value
    altered[place] = value
    ledger.events.clear()
    leave(before + altered + after)

    found = adopt_orphans(tmp_path, ledger.post)

    kept = [1, 2, 3] if same else [1, 3]
    assert kept == [e.usage.output_tokens for e in ledger.events.values()]
    pieces = 0 if same else 2 if value == ord("\n") else 1
    assert pieces == found.damaged


def test_batches_are_bounded(tmp_path, ledger, leave, make_event):
    """No batch is larger than asked for, and no event is left out."""
    leave(
        b"".join(
            encode_line(CLOSED if n % 2 else OPEN, make_event(n)) for n in range(25)
        )
    )

    adopt_orphans(tmp_path, ledger.post, batch_max=10)

    assert ledger.batches == [10, 10, 5]


def test_a_ledger_that_is_down_leaves_the_journal_as_it_was(
    tmp_path, ledger, leave, make_event
):
    """The error is passed on; the next adoption finds every byte."""
    owner = leave(
        encode_line(CLOSED, make_event(1)) + b"torn", encode_line(OPEN, make_event(2))
    )
    before = {p.name: p.read_bytes() for p in owner.iterdir()}
    ledger.down = True

    with pytest.raises(ConnectionError):
        adopt_orphans(tmp_path, ledger.post)

    assert before == {p.name: p.read_bytes() for p in owner.iterdir()}
    ledger.down = False
    assert adopt_orphans(tmp_path, ledger.post).posted == 2


def test_what_is_adopted_is_deleted(tmp_path, ledger, leave, make_event):
    """Of two orphans nothing stays, not even a folder."""
    leave(encode_line(CLOSED, make_event(1)))
    leave(b"")

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.owners, list((tmp_path / "journal").iterdir())) == (2, [])


def test_adopting_copies_again_changes_nothing(tmp_path, ledger, leave, make_event):
    """Three replays of one journal: the same totals as one."""
    text = b"".join(
        encode_line(CLOSED if n % 3 else OPEN, make_event(n)) for n in range(30)
    )
    totals = []
    for _ in range(3):
        leave(text)
        found = adopt_orphans(tmp_path, ledger.post)
        totals.append((found.posted, found.conflicts, ledger.spent_p()))

    assert totals == [(30, 0, 465), (0, 0, 465), (0, 0, 465)]


def test_two_who_adopt_at_once_do_it_once(tmp_path, ledger, leave, make_event):
    """The lock decides; the other finds nothing to do."""
    leave(encode_line(CLOSED, make_event(1)))
    entered, may_go = threading.Event(), threading.Event()
    found = []

    def slow_post(events):
        entered.set()
        may_go.wait(10)
        return ledger.post(events)

    first = threading.Thread(
        target=lambda: found.append(adopt_orphans(tmp_path, slow_post))
    )
    first.start()
    entered.wait(10)
    second = adopt_orphans(tmp_path, ledger.post)
    may_go.set()
    first.join(10)

    assert Adoption() == second
    assert [Adoption(owners=1, closed=1, posted=1)] == found


def test_a_folder_without_a_lock_is_nobodys(tmp_path, ledger):
    """Who died before it had a lock wrote nothing: the empty folder goes."""
    (tmp_path / "journal" / "0190").mkdir(parents=True)

    assert Adoption() == adopt_orphans(tmp_path, ledger.post)
    assert list((tmp_path / "journal").iterdir()) == []


def test_a_live_owner_is_left_alone(tmp_path, ledger, journal, make_event):
    """Its lines are its own to ship."""
    journal.open_call(make_event(1))

    assert Adoption() == adopt_orphans(tmp_path, ledger.post)
    journal.close()
    assert adopt_orphans(tmp_path, ledger.post).recovered == 1


def test_a_kill_in_the_middle_of_deleting_adopts_the_rest(
    tmp_path, ledger, leave, make_event
):
    """Segments go oldest first, so what is left never unmakes an end."""
    owner = leave(
        encode_line(OPEN, make_event(1, charge_p=1)),
        encode_line(CLOSED, make_event(1, charge_p=9)),
    )
    copy = tmp_path / "copy"
    shutil.copytree(owner, copy)
    adopt_orphans(tmp_path, ledger.post)
    shutil.copytree(copy, owner)
    (owner / "00000001.log").unlink()

    found = adopt_orphans(tmp_path, ledger.post)

    assert (found.posted, found.conflicts, ledger.spent_p()) == (0, 0, 9)
