"""Accounts, keys, payments, credit and usage, as an operator types them."""

import pytest

from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.ledger import period_at
from metering.usage import Usage, UsageEvent

NOW_NS = 1_768_435_200_000_000_000  # 2026-01-15


@pytest.fixture
def post(home):
    """Post one call as a service would."""

    def one(account_id, number, charge_p):
        event = UsageEvent(
            id=f"019bbf0a-0000-7000-8000-{number:012d}",
            account_id=account_id,
            tier=0,
            model="zai-org/GLM-4.7",
            dialect="openai.chat",
            price_version="v",
            period=period_at(NOW_NS).key,
            admitted_ns=NOW_NS,
            ended_ns=NOW_NS,
            ending="completed",
            usage=Usage(input_tokens=1000, output_tokens=20),
            usage_source="upstream",
            charge_p=charge_p,
        )
        tiers = plan_from_preset("friendli").tiers
        ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=tiers)
        ledger.post([event])
        ledger.close()

    return one


def test_an_account_begins_with_its_credit(read, acme):
    account = read("accounts", "show", acme)

    assert {"level": 0, "name": "Tier 0"} == account["tier"]
    assert "5" == account["may"]["credit"]["left_usd"]
    assert ["adaptive"] == account["may"]["requests"]["paid"]


def test_created_again_it_stays_as_it_is(run, read, acme):
    run("payments", "record", acme, "50", "--reference=a", "--kind=invoice")

    assert 2 == read("accounts", "create", acme)["tier"]["level"]


def test_a_payment_counts_once_and_raises_the_tier(run, read, acme):
    """Twice the same reference is one payment; the words tell of the rise."""
    pay = ("payments", "record", acme, "50", "--reference=pi_1")
    first = run(*pay, "--kind", "credit_purchase")
    run(*pay, "--kind", "credit_purchase")
    paid = read("payments", "list", acme)

    assert "acme has paid $50.00 so far, and is in Tier 2, up from Tier 0." in first.out
    assert "A running service sees this within a second." == first.aside
    assert [("pi_1", "50")] == [(each["reference"], each["usd"]) for each in paid]
    assert "55" == read("credits", "list", acme)["credit"]["left_usd"]


@pytest.mark.parametrize(
    ("limits", "told"), [("memory://", True), ("sqlite:///limits.db", False)]
)
def test_what_does_not_reach_a_running_service_is_said(
    run, acme, monkeypatch, limits, told
):
    """Room in a limit that a service keeps in its own memory, made and closed."""
    monkeypatch.setenv("METERING_LIMITS", limits)
    made = run(
        *("payments", "record", acme, "5", "--reference=a", "--kind=early_payment")
    )
    closed = run(
        *("payments", "record", acme, "5", "--reference=b", "--kind=refund"),
        "--refers-to=a",
    )

    for ended in (made, closed):
        assert 0 == ended.code
        assert told == ("learns of it when it is started again" in ended.aside)


def test_a_key_is_shown_once_listed_by_its_end_and_revoked(run, read, acme):
    secret = read("keys", "issue", acme)["key"]
    (listed,) = read("keys", "list", acme)
    ended = run("keys", "revoke", "-", stdin=f"{secret}\n")
    (revoked,) = read("keys", "list", acme)

    assert secret[-4:] == listed["hint"]
    assert secret not in str(listed)
    assert 0 == ended.code
    assert secret not in ended.out
    assert None is listed["revoked"] is not revoked["revoked"]


def test_a_key_may_have_a_limit_of_its_own(run, read, acme):
    run("keys", "issue", acme, "--usage-limit", "2.5")
    (listed,) = read("keys", "list", acme)

    assert "2.5" == listed["usage_limit_usd"]
    assert "up to $2.5" in " ".join(run("keys", "list", acme).out.split())


def test_an_account_s_months_may_begin_elsewhere_and_on_another_day(run, read):
    """Its periods are then named by their first day."""
    read("accounts", "create", "far", "--time-zone=Asia/Tokyo", "--anchor-day=15")
    ended = run("usage", "far", "--period", "2026-01")

    assert 0 == run("usage", "far", "--period", "2026-01-15").code
    assert (2, True) == (ended.code, "they begin on day 15" in ended.aside)


def test_without_json_a_key_stands_alone_on_its_line(run, acme):
    """So that KEY=$(metering keys issue acme) has the key and nothing else."""
    ended = run("keys", "issue", acme)

    assert ended.out.startswith("mk-")
    assert 1 == len(ended.out.splitlines())


def test_what_was_agreed_replaces_what_the_tier_has(read, acme):
    changed = read(
        *("accounts", "override", acme, "--usage-limit", "123.5"),
        *("--output-tokens-max", "32K", "--reasoning-output-tokens-max", "64K"),
        *("--requests", "paid=2000/minute"),
        *("--price", "zai-org/GLM-4.7=0.5,2"),
    )
    quoted = read(
        *("price", "quote", "zai-org/GLM-4.7", "--input-tokens", "1000000"),
        *("--account", acme),
    )
    ended = read("accounts", "override", acme, "--none")

    assert "123.5" == changed["may"]["usage_limit_usd"]
    assert 32_768 == changed["may"]["output_tokens_max"]
    assert 65_536 == changed["may"]["reasoning_output_tokens_max"]
    assert ["2,000/minute"] == changed["may"]["requests"]["paid"]
    assert "0.5" == quoted["charge_usd"]
    assert {} == ended["agreed"]


def test_a_pin_and_its_end(read, acme):
    assert 5 == read("accounts", "pin", acme, "5")["tier"]["level"]
    assert 0 == read("accounts", "pin", acme, "--none")["tier"]["level"]


def test_suspended_and_resumed(run, read, acme):
    assert read("accounts", "suspend", acme)["suspended"]
    assert "suspended" in run("accounts", "list").out
    assert not read("accounts", "resume", acme)["suspended"]


def test_a_payment_method_is_tier_1(read, acme):
    assert 1 == read("accounts", "payment-method", acme, "--on-file")["tier"]["level"]
    assert 0 == read("accounts", "payment-method", acme, "--none")["tier"]["level"]


def test_credit_is_granted_once_until_an_instant(run, read, acme):
    grant = ("credits", "grant", acme, "7", "--reference", "t-1")
    run(*grant, "--expires", "2099-01-01")
    run(*grant, "--expires", "2099-01-01T01:00:00+01:00")
    credit = read("credits", "list", acme)

    assert "12" == credit["credit"]["left_usd"]
    assert "2099-01-01T00:00:00Z" == credit["grants"][1]["expires"]


def test_usage_of_all_accounts_and_of_one(run, read, acme, post):
    """By model; an account that used nothing is left out of the whole."""
    run("accounts", "create", "quiet")
    post(acme, 1, 644_000_000)
    post(acme, 2, 1)
    whole = read("usage", "--period", "2026-01")
    (alone,) = read("usage", "quiet", "--period", "2026-01")
    text = run("usage", acme, "--period", "2026-01").out

    assert [acme] == [each["account"] for each in whole]
    assert "0.000644000001" == whole[0]["spent_usd"]
    assert 2 == whole[0]["models"][0]["calls"]
    assert [] == alone["models"]
    assert "$0.000644000001" in text


def test_accounts_come_in_pages(run, read):
    for name in "cab":
        run("accounts", "create", name)
    first = run("accounts", "list", "--limit", "2")

    assert "There may be more: --after b" == first.aside
    assert ["c"] == [a["id"] for a in read("accounts", "list", "--after", "b")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("accounts show nobody", "There is no account 'nobody'."),
        ("accounts create a:b", "'a:b'"),
        ("accounts pin acme 9", "There is no tier 9; the levels are 0, 1"),
        ("accounts pin acme", "A pin needs the level of a tier"),
        ("accounts override acme", "Name what was agreed"),
        ("accounts override acme --requests gold=1/minute", "--requests 'gold=1"),
        ("accounts override acme --price zai-org/GLM-4.7=1", "--price 'zai-org/"),
        ("accounts override acme --usage-limit lots", 'usage_limit = "lots"'),
        ("keys revoke mk-unknown", "no"),
        ("payments record acme 0.1x --reference a --kind invoice", "'0.1x' is not"),
        ("payments record acme 1 --reference a --kind gift", "Payment kind 'gift'"),
        ("credits grant acme 5 --reference sign-up", "Give this credit another."),
        ("credits grant acme 5 --reference a --expires soon", "'soon' is not an inst"),
        ("usage acme --period May", "Period 'May' is not a month."),
        ("usage nobody", "There is no account 'nobody'."),
    ],
)
def test_a_mistake_is_named_with_its_way_out(run, acme, arguments, said):  # noqa: ARG001 - it is there
    """Code 2, on standard error, and nothing on standard output."""
    ended = run(*arguments.split())

    assert (2, "") == (ended.code, ended.out)
    assert ended.aside.startswith("Error: ")
    assert said in ended.aside


def test_looking_up_makes_no_ledger(run, home):
    """A mistyped data home is told, not filled."""
    ended = run("accounts", "list", "--data", "elsewhere")

    assert 2 == ended.code
    assert f"There is no ledger at {home / 'elsewhere' / 'ledger.db'}." in ended.aside
    assert [] == list(home.iterdir())


def test_without_a_plan_it_is_told_how_to_name_one(run, monkeypatch):
    monkeypatch.delenv("METERING_CONFIG")
    ended = run("accounts", "list")

    assert 2 == ended.code
    assert "No plan is named. Name one by --config or METERING_CONFIG" in ended.aside
