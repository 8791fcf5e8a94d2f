"""Past calls under another plan: who would be refused, what would be billed."""

import json
from contextlib import closing

import pytest
from msgspec.structs import replace

from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import PICO
from metering.testing.contracts.samples import at, used

MINUTE_NS = 60 * 10**9
START_NS = 1_768_435_200 * 10**9  # 2026-01-15

_PLAN = """\
[plan]
name = "other"
[credit]
sign_up = "1"
[[tiers]]
level = 0
name = "Free"
funding = "credit"
output_tokens_max = 100
requests = { paid = "2/minute" }
[[tiers]]
level = 1
name = "Paid"
payment_method = true
output_tokens_max = 1000
usage_limit = "0.003"
[[limits]]
name = "running"
at_once = 1
tiers = [1]
[[models]]
name = "m"
prices = [{ kind = "token", input = "1", output = "2" }]
"""


@pytest.fixture
def simulate(home, read):
    """Write an export of calls, each by default of 100 tokens in and 50 out."""
    (home / "other.toml").write_text(_PLAN)

    def run(*calls, options=()):
        lines = []
        for number, call in enumerate(calls):
            fields = {
                "account_id": "acme",
                "model": "m",
                "admitted_ns": START_NS + number * MINUTE_NS,
                "usage": {"input_tokens": 100, "output_tokens": 50},
                "tier": 0,
                "charge_usd": "0.5",
            }
            lines.append(json.dumps(fields | call))
        (home / "export.jsonl").write_text("\n".join(lines))
        return read("simulate", "export.jsonl", "--against", "other.toml", *options)

    return run


def test_calls_are_priced_anew(simulate):
    """100 in at $1 a million and 50 out at $2: $0.0002, where $0.5 was charged."""
    whole = simulate({}, {})["all"]

    assert (2, 0) == (whole["calls"], whole["refused"])
    assert ("1", "0.0004", "-0.9996") == (
        whole["before_usd"],
        whole["after_usd"],
        whole["difference_usd"],
    )


def test_a_rate_refuses_what_comes_too_often(simulate):
    """Two a minute: of four at once, two."""
    whole = simulate(*[{"admitted_ns": START_NS}] * 4)["all"]

    assert {"requests": 2} == whole["refused_by"]
    assert "1" == whole["refused_before_usd"]


def test_output_above_the_cap_is_cut(simulate):
    """Of 500 tokens 100 are left, and only they are billed."""
    (account,) = simulate({"usage": {"input_tokens": 0, "output_tokens": 500}})[
        "accounts"
    ]

    assert (1, "0.0002") == (account["cut"], account["after_usd"])


def test_credit_ends(simulate):
    """$1 of it, at $0.4 a call with 400,000 tokens in; each a minute after another."""
    usage = {"input_tokens": 400_000}
    whole = simulate(*[{"usage": usage}] * 3)["all"]

    assert {"credit": 1} == whole["refused_by"]
    assert "0.8" == whole["after_usd"]


def test_a_monthly_limit_ends_and_begins_again(simulate):
    """$0.003 a month, a call at $0.002: one in January and one in February."""
    month_ns = 31 * 86_400 * 10**9
    usage = {"input_tokens": 2_000}
    calls = [
        {"tier": 1, "usage": usage, "output_tokens_max": 1, "admitted_ns": instant}
        for instant in (START_NS, START_NS + MINUTE_NS, START_NS + month_ns)
    ]
    whole = simulate(*calls)["all"]

    assert {"spend": 1} == whole["refused_by"]
    assert "0.004" == whole["after_usd"]


def test_calls_at_once_are_those_that_have_not_ended(simulate):
    """One at once: the second begins while the first runs, the third after it."""
    calls = [
        {"tier": 1, "admitted_ns": START_NS + at * 10**9, "ended_ns": ended}
        for at, ended in (
            (0, START_NS + 5 * 10**9),
            (1, START_NS + 9 * 10**9),
            (6, START_NS + 9 * 10**9),
        )
    ]
    whole = simulate(*(c | {"output_tokens_max": 1} for c in calls))["all"]

    assert {"running": 1} == whole["refused_by"]


def test_calls_are_judged_in_their_order_in_time(simulate):
    """However the export has them: two of three at once, and one later."""
    later = {"admitted_ns": START_NS + 5 * MINUTE_NS}
    whole = simulate(later, *[{"admitted_ns": START_NS}] * 3)["all"]

    assert {"requests": 1} == whole["refused_by"]


def test_calls_of_the_ledger_are_replayed_too(read, run, acme, simulate, home):
    """Those of a month, of every account, in the tiers in which they were made."""
    simulate({})
    tiers = plan_from_preset("friendli").tiers
    with closing(SqlLedger(home / ".metering" / "ledger.db", tiers=tiers)) as ledger:
        ledger.post([used(f"e{n}", PICO // 2, acme, tier=1) for n in range(3)])
    of_month = ("--against", "preset:friendli", "--period")
    january = read("simulate", *of_month, "2026-01")
    february = read("simulate", *of_month, "2026-02")
    both = run("simulate", "export.jsonl", *of_month, "2026-01")

    (account,) = january["accounts"]
    assert (acme, "Tier 1", 3, "1.5", "0.000051") == (
        account["account"],
        account["tier"],
        account["calls"],
        account["before_usd"],
        account["after_usd"],
    )
    assert [] == february["accounts"]
    assert 2 == both.code
    assert "Name what to replay: an EXPORT, or the --period" in both.aside


def test_months_that_begin_on_another_day_are_replayed_too(
    read, run, acme, simulate, home
):
    """Of each account the one that begins in that month, whatever its calendar."""
    simulate({})
    run("accounts", "create", "late", "--anchor-day=31", "--time-zone=Asia/Seoul")
    tiers = plan_from_preset("friendli").tiers
    periods = {"2026-02": at("2026-02-05T00:00"), "2026-02-28": at("2026-03-05T00:00")}
    with closing(SqlLedger(home / ".metering" / "ledger.db", tiers=tiers)) as ledger:
        ledger.post(
            [
                replace(used(f"e-{key}", 1, who, admitted_ns=instant_ns), period=key)
                for who, (key, instant_ns) in zip(
                    (acme, "late"), periods.items(), strict=True
                )
            ]
        )
    found = read("simulate", "--against=preset:friendli", "--period=2026-02")

    assert {acme, "late"} == {each["account"] for each in found["accounts"]}


def test_what_is_not_replayed_is_said(read, run, simulate, home):
    """Adaptive requests are let through; windows, and what only an app knows."""
    nothing = simulate({})["not_replayed"]
    text = _PLAN.replace('paid = "2/minute"', 'paid = "adaptive"')
    window = '[[limits]]\nname = "w"\nrate = "1/minute"\nwindow = "fixed"\n'
    per_ip = '[[limits]]\nname = "ip"\nrate = "1/minute"\nper = ["ip"]\n'
    (home / "other.toml").write_text(text + window + per_ip)
    found = read("simulate", "export.jsonl", "--against", "other.toml")
    shown = run("simulate", "export.jsonl", "--against", "other.toml").out

    assert [] == nothing
    assert [
        "Requests of Free that",
        "Limit w: its window",
        "Limit ip: only the",
    ] == [" ".join(each.split()[:4]) for each in found["not_replayed"]]
    assert "What is not replayed" in shown


def test_a_model_that_the_plan_lacks_is_refused(simulate):
    assert {"unpriced": 1} == simulate({"model": "x"})["all"]["refused_by"]


def test_accounts_are_placed_in_one_tier_on_demand(simulate):
    (account,) = simulate({"tier": None}, options=("--tier", "1"))["accounts"]

    assert "Paid" == account["tier"]


def test_accounts_are_placed_by_what_they_paid(simulate, run, acme):
    """The ledger's account, in the other plan's tiers."""
    run("accounts", "payment-method", acme, "--on-file")
    (account,) = simulate({}, options=("--from-ledger",))["accounts"]

    assert "Paid" == account["tier"]


def test_csv_is_read_as_json_is(home, read, simulate):
    simulate({})
    (home / "export.CSV").write_text(
        "account,model,at,input_tokens,output_tokens,tier,charge_usd\n"
        "acme,m,2026-01-15T00:00:00Z,100,50,0,0.5\n"
    )
    found = read("simulate", "export.CSV", "--against", "other.toml")

    assert ("0.5", "0.0002") == (found["all"]["before_usd"], found["all"]["after_usd"])


def test_what_was_not_charged_is_priced_by_the_present_plan(home, read, simulate):
    simulate({})
    line = {"account": "acme", "model": "zai-org/GLM-4.7", "at": "2026-01-15"}
    (home / "export.jsonl").write_text(json.dumps(line | {"input_tokens": 1_000_000}))
    found = read("simulate", "export.jsonl", "--against=other.toml", "--tier=0")

    assert "0.6" == found["all"]["before_usd"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "export.jsonl, line 2 is not a JSON object"),
        ('{"model": "m", "at": "2026-01-15"}', "line 2: account_id is missing."),
        ('{"account": "a", "at": "2026-01-15"}', "line 2: model is missing."),
        ('{"account": "a", "model": "m"}', "line 2: admitted_ns is missing."),
        ('{"account": "a", "model": "m", "at": "May"}', "line 2: 'May' is not an inst"),
        (
            '{"account": "a", "model": "m", "at": 1, "input_tokens": -5}',
            "line 2: input_tokens = -5 cannot be used.",
        ),
        (
            '{"account": "a", "model": "m", "at": 1, "charge_usd": 0.1}',
            "line 2: charge_usd: 0.1 is a float",
        ),
        (
            '{"account": "a", "model": "m", "at": 1, "charge_usd": "1", "tier": 7}',
            "The first call of 'a' is of tier 7, and 'other' has the levels 0, 1.",
        ),
    ],
)
def test_a_bad_line_is_named(home, run, simulate, line, said):
    simulate({})
    with (home / "export.jsonl").open("a") as file:
        file.write("\n" + line)
    ended = run("simulate", "export.jsonl", "--against", "other.toml")

    assert (2, "") == (ended.code, ended.out)
    assert said in ended.aside


def test_in_a_table_of_80_columns(run, simulate):
    simulate({}, {"account_id": "an-account-with-a-rather-long-name"})
    text = run("simulate", "export.jsonl", "--against", "other.toml").out

    assert "Refused: none." in text
    assert [] == [line for line in text.splitlines() if len(line) > 80]
