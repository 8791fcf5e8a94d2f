"""Invoices and corrections, as an operator types them."""

import csv
import dataclasses
import json

import pytest
from msgspec.structs import replace

from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import PICO, parse_usd
from metering.pricing import PriceVersion

JANUARY_NS = 1_768_435_200_000_000_000  # 2026-01-15
PLAN = plan_from_preset("friendli")
MODEL = "zai-org/GLM-4.7"
PRICE = PLAN.prices.model(MODEL).at(JANUARY_NS)


def test_a_month_is_closed_paid_and_listed(run, read, acme, post):
    """Paid in whole, by a payment that names it."""
    post(2, tokens=1_000_000)
    closed = read("invoice", "close", acme, "--period=2026-01")
    open_ones = run("invoice", "list")
    run(
        *("payments", "record", acme, "5.6", "--reference=pi_1", "--kind=invoice"),
        "--refers-to=acme-2026-01",
    )
    shown = run("invoice", "show", "acme-2026-01")

    assert ("acme-2026-01", "5.60") == (closed["id"], closed["total_usd"])
    assert ["usage"] == [line["kind"] for line in closed["lines"]]
    assert "Not paid of these: $5.60." in open_ones.out
    assert "paid by pi_1" in shown.out
    assert closed["lines"] == read("invoice", "show", "acme-2026-01")["lines"]


def test_all_that_is_due_is_closed_once(run, read, post):
    post()
    made = read("invoice", "close", "--all")

    assert ["acme-2026-01"] == [one["id"] for one in made]
    assert "Closed now: 0. Due of these: $0.00." in run("invoice", "close", "--all").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("close",), "Close the month of one account, or --all"),
        (("close", "acme", "--all"), "Close the month of one account, or --all"),
        (("close", "acme", "--period=2099-01"), "Close it then"),
        (("show", "acme-2020-01"), "There is no invoice 'acme-2020-01'"),
        (("list", "nobody"), "There is no account 'nobody'"),
        (("usage", "acme", "a.txt", "--period=2026-01"), "none of .csv, .jsonl"),
    ],
)
def test_what_cannot_be_done_is_said(run, acme, arguments, told):  # noqa: ARG001 - it is there
    ended = run("invoice", *arguments)

    assert 2 == ended.code
    assert told in ended.aside


def test_an_invoice_is_written_out(run, read, acme, post, home):
    """The same lines in each form; the page names who asks for the money."""
    post(3, tokens=1_000_000)
    read("invoice", "close", acme, "--period=2026-01")
    for name in ("i.json", "i.csv", "i.html"):
        ended = run("invoice", "export", "acme-2026-01", name, "--seller=A & Sons")
        assert 0 == ended.code, ended.aside
    document = json.loads((home / "i.json").read_text())
    *lines, total = csv.DictReader((home / "i.csv").read_text().splitlines())
    page = (home / "i.html").read_text()

    assert [line["usd"] for line in lines] == [
        line["usd"] for line in document["lines"]
    ]
    assert document["total_usd"] == total["usd"] == "8.40"
    assert "A &amp; Sons" in page
    assert "3 calls, 3,000,000 tokens in, 3,000,000 out" in page


def test_usage_of_a_month_is_written_out(run, acme, post, home):
    """Calls, then corrections of what the month's invoice tells."""
    first, _ = post(2)
    run("reverse", first, "--reason=it was empty")
    run("invoice", "usage", acme, "u.csv", "--period=2026-01")
    run("invoice", "usage", acme, "u.jsonl", "--period=2026-01")
    rows = list(csv.DictReader((home / "u.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (home / "u.jsonl").read_text().splitlines()]

    assert ["usage", "usage", "correction"] == [row["class"] for row in rows]
    assert ["0.0028", "0.0028", "-0.0028"] == [row["charge_usd"] for row in rows]
    assert "it was empty" == rows[2]["reason"] == lines[2]["reason"]
    assert [row["id"] for row in rows] == [line["id"] for line in lines]


@pytest.mark.parametrize("name", ["u.csv", "u.jsonl"])
def test_what_is_written_out_can_be_simulated(run, read, acme, post, name):
    """Calls alone: what corrections change is no call."""
    first, _ = post(2)
    run("reverse", first, "--reason=it was empty")
    run("invoice", "usage", acme, name, "--period=2026-01")
    replayed = json.dumps(read("simulate", name, "--against=preset:friendli"))

    assert '"calls": 2' in replayed
    assert '"0.0056"' in replayed


def test_a_charge_is_taken_back(run, read, post):
    """Twice is once; the reason is asked for."""
    (event,) = post()
    first = read("reverse", event, "--reason=ours")
    again = read("reverse", event, "--reason=ours")

    assert ("0.0028", "0") == (first["charged_usd"], first["usd"])
    assert first == again
    assert "0" == read("usage", "acme", "--period=2026-01")[0]["spent_usd"]
    assert "The reason ' ' tells nothing" in run("reverse", event, "--reason= ").aside
    assert "There is no event 'x'" in run("reverse", "x", "--reason=y").aside


@pytest.fixture
def publish_dearer(home):
    """Return what publishes a price a hundred times as high, and returns its id."""

    def publish():
        change_ns = JANUARY_NS + 10**15
        rates = {
            leaf: replace(rate, num_p=rate.num_p * 100)
            for leaf, rate in PRICE.rates.items()
        }
        dearer = PriceVersion(
            model=MODEL, kind="token", valid_from_ns=change_ns, rates=rates
        )
        before = dataclasses.replace(PRICE, valid_to_ns=change_ns)
        ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=PLAN.tiers)
        ledger.publish([before, dearer], now_ns=JANUARY_NS)
        ledger.close()
        return dearer.id

    return publish


def test_calls_are_priced_anew(run, read, post, publish_dearer):
    """Shown first, then applied with a reason; what is large must be confirmed."""
    post(3, tokens=1_000_000)
    dearer = publish_dearer()
    asked = ("rerate", MODEL, "--from=2026-01-01", f"--price-version={dearer}")
    shown = read(*asked)
    unconfirmed = run(*asked, "--apply", "--reason=the page was old")
    applied = read(
        *asked,
        "--apply",
        "--reason=the page was old",
        f"--confirm={shown['delta_usd']}",
    )
    again = read(*asked)

    assert (3, 3, False) == (shown["calls"], shown["changed"], shown["applied"])
    assert {"acme": "831.6"} == shown["accounts"]
    assert 2 == unconfirmed.code
    assert "--confirm=831.6" in unconfirmed.aside
    assert shown | {"applied": True} == applied
    assert (0, "0") == (again["changed"], again["delta_usd"])
    spent = read("usage", "acme", "--period=2026-01")[0]["spent_usd"]
    assert 840 * PICO == parse_usd(spent)
