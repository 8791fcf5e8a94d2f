"""`metering verify`: what it says of a ledger, and how it ends."""

import sqlite3
from contextlib import closing


def alter(home, statement):
    """Change rows of the ledger behind its back."""
    path = home / ".metering" / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_all_agrees(run, acme):  # noqa: ARG001 - its ledger
    """An account with its sign-up credit: $5 given is $5 in the books."""
    ended = run("verify", "--json")
    told = run("verify")

    assert (0, [], "5", 0) == (
        ended.code,
        ended.document["findings"],
        ended.document["moved_usd"],
        ended.document["unposted"],
    )
    assert (0, True) == (told.code, "All 17 checks agree." in told.out)


def test_what_is_off_is_told(run, home, acme):  # noqa: ARG001 - its ledger
    """By how much, where, and what it should be; the exit code is 1."""
    alter(home, "UPDATE accounts SET lifetime_paid_p = 2500000000000")
    ended = run("verify", "--json")
    told = run("verify")

    assert [
        {
            "check": "lifetime_paid",
            "table": "accounts",
            "account": "acme",
            "place": "",
            "written_usd": "2.5",
            "summed_usd": "0",
            "off_usd": "2.5",
        }
    ] == ended.document["findings"]
    assert (1, 1) == (ended.code, told.code)
    assert "what an account has paid is its payments" in " ".join(told.out.split())


def test_a_ledger_that_is_not_there_is_no_finding(run):
    """It could not be done: 2."""
    ended = run("verify")

    assert 2 == ended.code
    assert "There is no ledger" in ended.aside
