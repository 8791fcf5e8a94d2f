"""Messages that have not arrived are listed with their reason, and sent again."""

from contextlib import closing

import pytest

from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S, system_clock
from metering.config import load_plan, plan_from_preset
from metering.money import PICO
from metering.testing.contracts.samples import used

HOST = "billing.example.com"
_WEBHOOK = """
[[webhooks]]
url = "https://billing.example.com/hook?token=hunter2"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
"""


@pytest.fixture
def shop(home, run, monkeypatch):
    """A plan with a webhook, an account, and the outbox; one payment is told."""
    run("init", "shop.toml")
    path = home / "shop.toml"
    path.write_text(path.read_text() + _WEBHOOK)
    monkeypatch.setenv("METERING_CONFIG", "shop.toml")
    run("accounts", "create", "acme")
    of_money = ("--reference", "p1", "--kind", "credit_purchase")
    run("payments", "record", "acme", "5", *of_money)
    plan = load_plan(path.read_text(), source="shop.toml")
    ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=plan.tiers)
    with closing(ledger):
        yield ledger.outbox


@pytest.fixture
def wide(run, monkeypatch):
    """Run a command where no cell of its tables is folded."""

    def invoke(*arguments):
        with monkeypatch.context() as patched:
            patched.setenv("COLUMNS", "200")
            return run(*arguments)

    return invoke


def try_once(outbox, destination, error, due_ns=None):
    """Have a try of all that is due fail."""
    taken = outbox.take(destination, limit=10, lease_ns=NS_PER_S, now_ns=system_clock())
    outbox.failed(taken, error=error, due_ns=due_ns)
    return taken


def test_what_waits_is_listed_and_is_no_fault(run, shop):
    ended = run("notices", "list", "--json")
    (message,) = ended.document

    assert 0 == ended.code
    assert ("payment.recorded", "acme", 0, False, True, "") == (
        message["kind"],
        message["account"],
        message["tries"],
        message["given_up"],
        message["in_plan"],
        message["error"],
    )
    assert message["destination"] in shop.waiting()
    assert "waits" in run("notices", "list").out


def test_what_was_given_up_is_told_with_its_reason_and_sent_again(run, wide, shop):
    """The same message, under its id; once it waits again nothing is amiss."""
    (name,) = shop.waiting()
    (taken,) = try_once(shop, name, "HTTP 500")
    listed = wide("notices", "list", "--given-up")
    resent = run("notices", "resend", taken.id)
    (again,) = run("notices", "list", "--json").document

    assert (1, 0) == (listed.code, resent.code)
    assert "given up after 1 try: HTTP 500" in listed.out
    assert "metering notices resend --all" in listed.aside
    assert "To be tried again: 1." in resent.out
    assert (taken.id, False, 0) == (again["id"], again["given_up"], again["tries"])


def test_what_is_tried_again_later_says_when(run, wide, shop):
    (name,) = shop.waiting()
    try_once(shop, name, "HTTP 503", due_ns=4_102_444_800 * NS_PER_S)
    text = wide("notices", "list").out

    assert "waits after 1 try until 2100-01-01 00:00:00Z: HTTP 503" in text
    assert "To be tried again: 0." in run("notices", "resend", "--all").out


def test_a_destination_that_left_the_plan_is_told(run, wide, shop, home):
    assert shop.waiting()
    path = home / "shop.toml"
    path.write_text(path.read_text().replace(_WEBHOOK, ""))
    (message,) = run("notices", "list", "--json").document

    assert not message["in_plan"]
    assert "no such destination" in wide("notices", "list").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "Name the ID of one message, a --destination, or --all"),
        ("some --all", "Name the ID of one message, a --destination, or --all"),
        ("some", "No message 'some' was given up."),
    ],
)
def test_what_to_send_again_must_be_named(run, shop, arguments, said):
    assert shop.waiting()
    ended = run("notices", "resend", *arguments.split())

    assert (2, "") == (ended.code, ended.out)
    assert said in ended.aside


def test_alerts_are_listed_latest_first(run, read, acme, home):
    """Half of $5 of credit, then all of it; another account has none."""
    tiers = plan_from_preset("friendli").tiers
    with closing(SqlLedger(home / ".metering" / "ledger.db", tiers=tiers)) as ledger:
        for number in (1, 2):
            event = used(
                f"e{number}", 3 * PICO, acme, admitted_ns=system_clock(), took_ns=number
            )
            ledger.post([event])
    found = read("alerts", acme)
    other = run("alerts", "nobody")

    assert [("credit", 100, "5"), ("credit", 50, "3")] == [
        (each["subject"], each["threshold"], each["used_usd"]) for each in found
    ]
    assert found == read("alerts")
    assert "100 %" in run("alerts").out
    assert (2, "") == (other.code, other.out)


def test_a_list_shows_no_secret_and_fits_80_columns(run, shop):
    (name,) = shop.waiting()
    try_once(shop, name, "HTTP 500")
    ended = run("notices", "list")

    assert f"webhook:{HOST}:" in ended.out
    assert "hunter2" not in ended.out + ended.aside
    assert [] == [line for line in ended.out.splitlines() if len(line) > 80]
