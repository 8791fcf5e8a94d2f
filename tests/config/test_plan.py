"""A plan file says what it says: every field arrives, exactly, or has its default."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.config import (
    JournalSettings,
    Plan,
    load_plan,
    plan_from_env,
    plan_from_file,
    plan_from_preset,
    with_environment,
)
from metering.config.notation import Count, Dollars, Instant, rate_quotas
from metering.errors import ConfigurationError
from metering.pricing import Rate
from metering.quota import RateQuota

SMALLEST = """
[plan]
name = "small"

[[tiers]]
level = 0
name = "all"
output_tokens_max = 4096
"""

FULL = """
[plan]
name = "full"
notes = ["Read me."]

[credit]
sign_up = 2.5

[calls]
anonymous = "guests"
unpriced = "pass"
unmetered = "pass"
body_bytes_max = "1M"
lease_s = 60
resolve_ttl_s = 5
log = true

[journal]
sync_ms = 20
durability = "power"

[storage]
data = "/var/lib/metering"
ledger = "postgresql+psycopg://me:secret@host/db"

[[routes]]
path = "/generate"
dialect = "openai.completions"

[[tiers]]
level = 0
name = "start"
funding = "credit"
output_tokens_max = "4K"

[tiers.requests]
paid = "100 per 2 minutes"
free = { rate = "100/minute", burst = 20 }

[[tiers]]
level = 3
name = "agreed"
by_agreement = true
output_tokens_max = 1
usage_limit = 0

[[models]]
name = "big"
aliases = ["large", "huge"]
context_tokens_max = "128K"
compute_ms_max = 60_000

[[models.prices]]
kind = "token"
input = 1.4
output = "4.4"
cached_input = 0.26
cache_write = 1.75
reasoning = 5
until = 2026-03-01T09:00:00+09:00

[[models.prices]]
kind = "time"
per_second = 0.0001
from = 2026-03-01T00:00:00Z
"""

MARCH_NS = 1_772_323_200 * NS_PER_S


def load(text: str) -> Plan:
    return load_plan(text, source="test.toml")


def test_what_is_not_written_has_its_default() -> None:
    plan = load(SMALLEST)

    assert (
        plan.sign_up_credit_p,
        plan.anonymous,
        plan.unpriced,
        plan.unmetered,
        plan.body_bytes_max,
    ) == (0, None, "refuse", "refuse", 8 * 1024 * 1024)
    assert (plan.lease_ns, plan.resolve_ttl_ns) == (30 * NS_PER_S, 30 * NS_PER_S)
    assert (
        plan.log_calls,
        plan.routes,
        plan.notes,
    ) == (False, {}, ())
    assert JournalSettings(sync_ms=100, durability="process") == plan.journal
    assert (plan.data, plan.ledger, plan.key_pepper) == (None, None, b"")
    tier = plan.tiers.by_level(0)
    assert (tier.requests, tier.usage_limit_p, tier.funding) == ({}, None, "postpaid")
    assert plan.prices.models == ()


def test_a_plan_made_in_code_has_the_defaults_of_a_plan_file() -> None:
    loaded = load(SMALLEST)

    assert loaded == Plan(name="small", tiers=loaded.tiers, prices=loaded.prices)


def test_what_is_written_of_calls_and_storage_arrives() -> None:
    plan = load(FULL)

    assert (plan.name, plan.notes) == ("full", ("Read me.",))
    assert plan.sign_up_credit_p == 2_500_000_000_000
    assert (
        plan.anonymous,
        plan.unpriced,
        plan.unmetered,
        plan.body_bytes_max,
    ) == ("guests", "pass", "pass", 1024 * 1024)
    assert (plan.lease_ns, plan.resolve_ttl_ns) == (60 * NS_PER_S, 5 * NS_PER_S)
    assert plan.log_calls
    assert JournalSettings(sync_ms=20, durability="power") == plan.journal
    assert plan.data == "/var/lib/metering"
    assert plan.routes == {"/generate": "openai.completions"}


def test_what_is_written_of_tiers_arrives() -> None:
    start, agreed = load(FULL).tiers.tiers

    assert {
        "paid": (RateQuota(100, 120 * NS_PER_S),),
        "free": (RateQuota(100, 60 * NS_PER_S, burst=20),),
    } == start.requests
    assert (start.output_tokens_max, start.funding) == (4096, "credit")
    assert (
        agreed.level,
        agreed.lifetime_paid_min_p,
        agreed.output_tokens_max,
        agreed.usage_limit_p,
    ) == (3, None, 1, 0)


def test_what_is_written_of_models_arrives() -> None:
    book = load(FULL).prices
    model = book.model("big")

    assert model is not None
    assert book.model("large") is model is book.model("huge")
    assert (model.context_tokens_max, model.compute_ms_max) == (131_072, 60_000)
    tokens, time = model.versions
    assert {
        "input_tokens": Rate(1_400_000),
        "output_tokens": Rate(4_400_000),
        "cache_read_tokens": Rate(260_000),
        "cache_write_tokens": Rate(1_750_000),
        "reasoning_tokens": Rate(5_000_000),
    } == tokens.rates
    assert (tokens.valid_from_ns, tokens.valid_to_ns) == (0, MARCH_NS)
    assert {"compute_ms": Rate(100_000)} == time.rates
    assert (time.valid_from_ns, time.valid_to_ns) == (MARCH_NS, None)


def test_neither_the_ledgers_password_nor_the_pepper_is_shown() -> None:
    plan = replace(load(FULL), key_pepper=b"pepper")

    assert "secret" not in repr(plan)
    assert "pepper" not in repr(plan)


@pytest.mark.parametrize(
    ("raw", "pico"),
    [
        ("0.6", 600_000_000_000),
        (Decimal("0.6"), 600_000_000_000),
        (50, 50_000_000_000_000),
        ("1e-12", 1),
        (0, 0),
    ],
)
def test_dollars_are_read_exactly(raw: str | int | Decimal, pico: int) -> None:
    assert pico == Dollars(raw).pico


@pytest.mark.parametrize(
    ("raw", "units"), [(1, 1), ("4096", 4096), ("4K", 4096), ("8M", 8_388_608)]
)
def test_counts_are_read_with_their_factor(raw: object, units: int) -> None:
    assert units == Count(raw).units


@pytest.mark.parametrize(
    ("rate", "amount", "seconds"),
    [
        ("1/second", 1, 1),
        ("100/minute", 100, 60),
        ("100/2 minutes", 100, 120),
        ("100 per hour", 100, 3600),
        ("7/day", 7, 86_400),
        ("1/month", 1, 30 * 86_400),
        ("1/year", 1, 360 * 86_400),
    ],
)
def test_rates_are_read_as_limits_reads_them(
    rate: str, amount: int, seconds: int
) -> None:
    assert (RateQuota(amount, seconds * NS_PER_S),) == rate_quotas(rate)


def test_an_instant_is_the_same_from_every_offset() -> None:
    price = "kind = 'free'\nuntil = {}\n"
    text = SMALLEST + "[[models]]\nname = 'm'\n[[models.prices]]\n" + price
    ends = set()
    for until in (
        "2026-03-01T00:00:00Z",
        "2026-03-01T09:00:00+09:00",
        "2026-02-28T19:00:00-05:00",
    ):
        (version,) = load(text.format(until)).prices.versions()
        ends.add(version.valid_to_ns)

    assert {MARCH_NS} == ends


def test_an_instant_is_shown_as_it_was_written() -> None:
    assert str(Instant(datetime(2026, 3, 1, tzinfo=UTC))) == "2026-03-01T00:00:00Z"


def test_a_file_is_read_as_its_text_is(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(SMALLEST, encoding="utf-8")

    assert "small" == plan_from_file(path).name == plan_from_file(str(path)).name


def test_the_environment_names_a_file_or_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(SMALLEST, encoding="utf-8")

    assert plan_from_env({"METERING_CONFIG": str(path)}).name == "small"
    assert plan_from_env({"METERING_CONFIG": "preset:friendli"}).name == "friendli"


def test_the_environment_replaces_what_differs_between_machines() -> None:
    plan = with_environment(
        load(FULL),
        {
            "METERING_DATA": "/data",
            "METERING_LEDGER": "sqlite:////data/l.db",
            "METERING_KEY_PEPPER": "\udcff secret",
        },
    )

    assert plan.data == "/data"
    assert plan.ledger == "sqlite:////data/l.db"
    assert plan.key_pepper == b"\xff secret"


def test_an_empty_variable_replaces_nothing() -> None:
    names = ("METERING_DATA", "METERING_LEDGER", "METERING_KEY_PEPPER")
    empty: dict[str, str] = dict.fromkeys(names, "")
    plan = load(FULL)

    assert plan == with_environment(plan, empty) == with_environment(plan, {})


def test_a_tier_by_agreement_is_reached_by_a_pin_alone() -> None:
    tiers = load(FULL).tiers
    rich = Account(id="a", created_ns=0, payment_method=True, lifetime_paid_p=10**18)
    pinned = Account(id="b", created_ns=0, pin=3)

    assert (tiers.tier_of(rich, 0).name, tiers.tier_of(pinned, 0).name) == (
        "start",
        "agreed",
    )


def test_a_tier_falls_as_the_plan_says() -> None:
    """Unless it says otherwise, with the period in which a payment is taken back."""
    said = load(SMALLEST + '[payments]\non_refund = "never"\n')

    assert ("period_end", "never") == (load(SMALLEST).tiers.falls, said.tiers.falls)
    with pytest.raises(ConfigurationError, match=r"payments\.on_refund"):
        load(SMALLEST + '[payments]\non_refund = "soon"\n')


def test_a_preset_can_be_loaded_twice_and_is_the_same_prices() -> None:
    first, second = plan_from_preset("friendli"), plan_from_preset("friendli")

    assert [v.id for v in first.prices.versions()] == [
        v.id for v in second.prices.versions()
    ]
