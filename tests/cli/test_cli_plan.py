"""A plan is written, explained, found faulty, and its prices are told."""

import re

import msgspec
import pytest

from metering.backends.sql import SqlLedger
from metering.cli.init import _STARTER
from metering.config import load_plan
from metering.config.schema import PlanFile

_WRONG = """\
[plan]
name = "shop"

[[tiers]]
level = 0
name = "All"
output_tokens_max = "4K"
requests = { paid = "100/fortnight" }
"""


def test_the_plan_that_init_writes_is_right(run, home, monkeypatch):
    """And `check` has nothing to say against it, nor anything to remark."""
    written = run("init")
    monkeypatch.setenv("METERING_CONFIG", "metering.toml")
    checked = run("check")

    assert (0, 0) == (written.code, checked.code)
    assert "metering check metering.toml" in written.out
    assert "Plan 'starter': nothing is wrong with it." in checked.out
    assert "Worth knowing" not in checked.out
    assert (home / "metering.toml").is_file()


def test_each_field_that_it_leaves_out_may_be_set():
    """All lines that begin with "#> ", with the mark taken away, are fields too."""
    text = _STARTER.read_text(encoding="utf-8")
    marked = re.findall(r"^#> ", text, re.MULTILINE)
    plan = load_plan(re.sub(r"^#> ", "", text, flags=re.MULTILINE), source="starter")

    assert len(marked) > 10
    assert ["tokens-per-minute", "running"] == [rule.name for rule in plan.limits]
    assert "sqlite:///limits.db" == plan.limits_store


def test_it_has_every_table_of_a_plan():
    """But for adaptive limits, which a tier must ask for: it is named."""
    text = _STARTER.read_text(encoding="utf-8")
    tables = {each.encode_name for each in msgspec.structs.fields(PlanFile)}

    assert tables == set(re.findall(r"^(?:#> )?\[+(\w+)\]+", text, re.MULTILINE)) | {
        "adaptive"
    }
    assert "[adaptive]" in text


def test_init_replaces_nothing_unasked(run, home):
    (home / "metering.toml").write_text("mine")
    refused = run("init")
    kept = (home / "metering.toml").read_text()
    forced = run("init", "--preset", "friendli", "--force")

    assert (2, "mine", 0) == (refused.code, kept, forced.code)
    assert "metering.toml is there already, and nothing was written." in refused.aside
    assert 'name = "friendli"' in (home / "metering.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("init --preset friendly", "Did you mean 'friendli'?"),
        ("init no/such/folder.toml", "no/such/folder.toml cannot be written"),
        ("check gone.toml", "There is no plan 'gone.toml'."),
        ("check --at yesterday", "'yesterday' is not an instant."),
        ("price quote nothing", "There is no model 'nothing'; there are: MiniMaxAI"),
        ("price list --config gone.toml", "The plan 'gone.toml' cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_way_out(run, arguments, said):
    ended = run(*arguments.split())

    assert (2, "") == (ended.code, ended.out)
    assert said in ended.aside


def test_a_fault_is_found_with_the_path_of_its_field(run, home):
    """Code 1, for it did its work: with the field, its value and what is allowed."""
    (home / "shop.toml").write_text(_WRONG)
    ended = run("check", "shop.toml")
    as_json = run("check", "shop.toml", "--json")

    assert (1, 1) == (ended.code, as_json.code)
    text = " ".join(ended.out.split())
    assert 'shop.toml: tiers[0].requests.paid = "100/fortnight"' in text
    assert 'Allowed: a rate, such as "100/minute"' in text
    assert not as_json.document["ok"]
    assert "100/fortnight" in as_json.document["problem"]


def test_a_store_that_no_url_names_is_a_fault(run, monkeypatch):
    monkeypatch.setenv("METERING_LIMITS", "mysql://host")
    ended = run("check")

    assert 1 == ended.code
    assert "Limits cannot be kept in 'mysql'" in " ".join(ended.out.split())


def test_a_price_that_the_ledger_has_otherwise_is_a_fault(run, home):
    """A service would refuse to start; `check` says so before."""
    run("init")
    assert 0 == run("check", "metering.toml").code
    text = (home / "metering.toml").read_text()
    plan = load_plan(text, source="metering.toml")
    ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=plan.tiers)
    ledger.publish(plan.prices.versions(), now_ns=1_700_000_000 * 10**9)
    ledger.close()
    (home / "metering.toml").write_text(text.replace('input = "0.5"', 'input = "9"'))
    ended = run("check", "metering.toml")

    assert 1 == ended.code
    assert "The price of 'my/chat-model'" in ended.out


def test_check_tells_each_tier_and_model(run, read):
    """In a table and in words, at 80 columns, and nothing is cut."""
    text = run("check", "--at", "2026-01-15").out
    document = read("check", "--at", "2026-01-15")

    assert "Tier 1 (level 1): payment method. It makes 100/minute to paid" in text
    assert 6 == len(document["tiers"])
    assert "$0.6 in, $2.2 out" == document["models"][1]["price"]
    assert "until 2026-02-12T00:00:00Z" == document["models"][-1]["validity"]
    assert "\u2026" not in text
    assert [] == [line for line in text.splitlines() if len(line) > 80]


def test_a_cap_of_models_that_reason_is_told(run, home):
    """Where a tier has one."""
    run("init")
    text = (home / "metering.toml").read_text()
    more = 'output_tokens_max = "32K"\nreasoning_output_tokens_max = "64K"'
    changed = text.replace('output_tokens_max = "32K"', more)
    (home / "metering.toml").write_text(changed)
    told = " ".join(run("check", "metering.toml").out.split())

    assert "32,768 tokens of output from each (65,536 where the model reasons)" in told


def test_what_ends_soon_is_worth_knowing(run, read):
    """A price that ends within a month; `--strict` makes a finding of it."""
    (notice,) = read("check", "--at", "2026-01-15")["notices"]
    far = read("check", "--at", "2026-01-01")["notices"]
    strict = run("check", "--at", "2026-01-15", "--strict")

    assert notice.endswith("ends at 2026-02-12T00:00:00Z; then: it has none.")
    assert [] == far
    assert 1 == strict.code


def test_check_shows_no_password(run, monkeypatch):
    monkeypatch.setenv("METERING_LIMITS", "redis://user:hunter2@host/0")
    ended = run("check")

    assert 0 == ended.code
    assert "Limits are shared, in redis." in ended.out
    assert "hunter2" not in ended.out + ended.aside


_MORE = """\
[[webhooks]]
url = "https://shop.example.com/hook?token=hunter2"
secret_env = "SHOP_SECRET"
events = ["credit.low"]
[[routes]]
path = "/ask"
dialect = "openai.chat"
[adaptive]
floor_rpm = 2
ceiling_rpm = 30
first_byte_target_ms = 800
[[adaptive.pools]]
name = "big"
models = ["my/chat-model", "my/reasoning-model"]
gauges = "http://user:hunter2@10.0.0.5:8000/metrics"
"""


_TOLD = [
    "Requests are adaptive in Free (free models).",
    "Each such account may make 30 requests a minute to each pool",
    "and never below 2;",
    "bring the time to the first byte to 800 ms.",
    "wait up to 3 s, unbilled, before they are refused as platform_busy.",
    "at rest: Free at 1.0 s, Basic at 2.0 s, Pro at 4.0 s, By agreement at 8.0 s.",
    "Pool big is of my/chat-model, my/reasoning-model. Its queue is read at http",
    "Each other model is a pool of its own.",
    "is sent credit.low, signed, by the secret of SHOP_SECRET.",
    "Accounts are alerted at 50 %, 80 %, 90 %, 100 % of a usage limit",
    "/ask speaks openai.chat.",
    "Calls that take requests, tokens or slots are granted out of this node's",
    "That share is one part in 4, for so many nodes there are.",
    "A request for more output than its tier has is lowered to the cap.",
    "may be closed 24 hours after their end.",
]


def test_check_tells_all_else_that_a_plan_says(run, home, monkeypatch):
    """Adaptive limits, who is told, outages, paths; in 80 columns, without secrets."""
    run("init")
    path = home / "metering.toml"
    text = path.read_text().replace('free = "10/minute" }', 'free = "adaptive" }')
    path.write_text(text.replace("#> nodes = 1", "nodes = 4") + _MORE)
    monkeypatch.setenv("METERING_LIMITS", "redis://host/0")
    ended = run("check", "metering.toml")
    as_json = run("check", "metering.toml", "--json")

    assert (0, 0) == (ended.code, as_json.code)
    told = " ".join(ended.out.split())
    assert [] == [sentence for sentence in _TOLD if sentence not in told]
    assert [] == [line for line in ended.out.splitlines() if len(line) > 80]
    assert "hunter2" not in ended.out + as_json.out
    pool = as_json.document["adaptive"]["pools"][0]
    assert ("big", True) == (pool["name"], pool["gauges"])


def test_prices_at_an_instant_and_over_time(read):
    before = {p["model"]: p for p in read("price", "list", "--at", "2026-02-11")}
    after = {p["model"]: p for p in read("price", "list", "--at", "2026-02-12")}
    name = "LGAI-EXAONE/K-EXAONE-236B-A23B"

    assert ("free", None) == (before[name]["kind"], after[name]["kind"])
    assert "2026-02-12T00:00:00Z" == before[name]["until"]


def test_a_quote_is_exact(read):
    """The README's figure: $0.9365666."""
    quoted = read(
        *("price", "quote", "zai-org/GLM-4.7", "--input-tokens", "1234567"),
        *("--output-tokens", "89012"),
    )
    timed = read("price", "quote", "zai-org/GLM-4.6", "--compute-ms", "287341")

    assert "0.9365666" == quoted["charge_usd"]
    assert "1.149364" == timed["charge_usd"]


def test_a_model_without_a_price_is_not_free(run):
    ended = run("price", "quote", "LGAI-EXAONE/K-EXAONE-236B-A23B", "--at=2026-03-01")

    assert 2 == ended.code
    assert "has no price at 2026-03-01T00:00:00Z: calls are refused." in ended.aside
