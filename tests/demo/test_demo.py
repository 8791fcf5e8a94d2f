"""The demo, as `make demo` runs it: the whole pipe in a process of its own."""

import os
import re
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset

DEMO = (sys.executable, "-m", "metering.demo")
USUAL = os.environ | {"COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return the demo's exit code, what it printed, and its data home."""
    data = tmp_path_factory.mktemp("demo") / "data"
    done = subprocess.run(
        (*DEMO, "--data", str(data)),
        env=USUAL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "" == done.stderr
    return done.returncode, done.stdout, data


def rows(text):
    """Return the lines, with one space between words."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_ends_well_and_tells_exact_charges(demo):
    """'newcomer': 4 times 287.341 s at $0.004; 2 calls of 7 tokens in and 64 out."""
    code, said, _ = demo

    assert 0 == code
    assert "newcomer K-EXAONE-236B-A23B free 1 7 64 $0" in rows(said)
    assert "GLM-4.6 time 4 28 256 1149.364 $4.597456" in rows(said)
    assert "GLM-4.7 token 2 14 128 $0.00029" in rows(said)
    assert "company K-EXAONE-236B-A23B free 1 7 64 $0" in rows(said)
    assert 2 == rows(said).count("GLM-4.6 time 1 7 64 287.341 $1.149364")
    assert "all $6.897489" in rows(said)


def test_nothing_is_cut_at_80_columns(demo):
    """No ellipsis, and no line but those of paths is longer."""
    _, said, data = demo

    assert "\u2026" not in said
    assert [] == [
        line for line in said.splitlines() if len(line) > 80 and str(data) not in line
    ]


def test_tells_who_was_refused_and_why(demo):
    """A wrong key, too many requests, no credit; each with the words of the answer."""
    _, said, _ = demo

    assert re.search(r"a stranger +401 +invalid_api_key +The API key is not", said)
    assert re.search(r"startup +429 +rate_limit_exceeded +The limit of 60 req", said)
    assert re.search(r"newcomer +402 +insufficient_quota +This call may cost", said)


def test_tells_of_the_cap_and_of_the_risen_tier(demo):
    """100,000 tokens become 16,384; $50 take 'startup' from tier 1 to tier 2."""
    _, said, _ = demo

    assert "x-output-tokens-limit: 16384" in said
    assert re.search(r"startup +Tier 1 +Tier 2 +1,000 +16,384 +\$50 ", said)
    assert re.search(r"newcomer +Tier 0 +Tier 0 +adaptive +4,096 +\$0 +\$0.40", said)
    assert "100 before, 1000 after" in " ".join(said.split())


def test_its_records_are_where_it_says(demo):
    """The ledger in the data home sums up to what was printed."""
    _, said, data = demo

    assert f"  {data / 'ledger.db'}\n" in said
    plan = plan_from_preset("friendli")
    with closing(SqlLedger(data / "ledger.db", tiers=plan.tiers)) as ledger:
        accounts = [account.id for account in ledger.accounts()]
        totals = [t for name in accounts for t in ledger.totals(name, "2026-01")]
    assert ["company", "newcomer", "startup"] == accounts
    assert 6_897_489_000_000 == sum(total.charge_p for total in totals)
    assert "invalid_api_key" in (data / "demo.log").read_text()


def test_records_of_before_are_left_alone(tmp_path):
    """A data home that is not empty is refused, with what to do instead."""
    (tmp_path / "ledger.db").write_bytes(b"mine")
    done = subprocess.run(
        (*DEMO, "--data", str(tmp_path)), capture_output=True, text=True, check=False
    )

    assert 2 == done.returncode
    assert "is not an empty directory. Name another, or none." in done.stderr
    assert b"mine" == (tmp_path / "ledger.db").read_bytes()


def test_says_how_to_stay(demo):
    """The last lines name the way to the console."""
    _, said, _ = demo

    assert said.rstrip().endswith(
        "make demo ARGS=--stay        or: metering demo --stay"
    )


def test_a_port_that_is_taken_is_refused_before_anything_is_written(tmp_path):
    """The code is 2, the port is named, and there is no data home."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            (*DEMO, "--port", port, "--data", str(tmp_path / "data")),
            capture_output=True,
            text=True,
            check=False,
        )

    assert (2, False) == (done.returncode, (tmp_path / "data").exists())
    assert f"--port {port}: " in done.stderr
