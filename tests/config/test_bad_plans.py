"""A plan that cannot be used is refused with the place, the value and the way out."""

from typing import NamedTuple

import pytest

from metering.config import load_plan
from metering.errors import ConfigurationError

GOOD = """
[plan]
name = "small"

[credit]
sign_up = "5"

[calls]
lease_s = 30

[journal]
sync_ms = 100

[storage]
ledger = "sqlite:///ledger.db"

[[routes]]
path = "/generate"
dialect = "openai.completions"

[[tiers]]
level = 0
name = "start"
output_tokens_max = "4K"
requests = { paid = "10/minute" }

[[tiers]]
level = 1
name = "next"
lifetime_spend = "50"
output_tokens_max = "16K"
usage_limit = "500"

[[limits]]
name = "tokens-per-minute"
rate = "1000/minute; 9000/day"
unit = "tokens"
tiers = [0]

[[limits]]
name = "running"
at_once = 8
models = ["big"]

[[models]]
name = "big"
aliases = ["large"]
compute_ms_max = 60_000

[[models.prices]]
kind = "token"
input = "0.6"
output = "2.2"
until = 2026-03-01T00:00:00Z

[[models.prices]]
kind = "time"
per_second = "0.004"
from = 2026-03-01T00:00:00Z
"""


class Bad(NamedTuple):
    """One edit that spoils the good plan, and what its error must contain."""

    old: str
    new: str
    says: tuple[str, ...]


BAD = {
    "unknown table": Bad(
        "[calls]",
        "[call]",
        ("call is not a field", "Did you mean calls?", "plan, credit"),
    ),
    "unknown field": Bad(
        'usage_limit = "500"',
        'usage_limt = "500"',
        (
            "tiers[1].usage_limt is not a field",
            "Did you mean usage_limit?",
            "Allowed here: level, name",
        ),
    ),
    "unknown field that resembles none": Bad(
        "lease_s = 30", "qqq = 30", ("calls.qqq is not a field.", "Allowed here: anon")
    ),
    "unknown field of a rate": Bad(
        'paid = "10/minute"',
        'paid = { rate = "10/minute", brust = 3 }',
        ("tiers[0].requests.paid.brust is not a field", "Did you mean burst?"),
    ),
    "missing field": Bad(
        'output_tokens_max = "16K"\n',
        "",
        ("tiers[1].output_tokens_max is missing", '"4K" (4,096)'),
    ),
    "missing table": Bad('[plan]\nname = "small"', "", ("plan is missing",)),
    "missing name": Bad(
        'name = "small"', "", ("plan.name is missing", "string that is not empty")
    ),
    "table for a list": Bad(
        '[[routes]]\npath = "/generate"',
        '[routes]\npath = "/generate"',
        ("routes cannot be used", "It is a table, not an array"),
    ),
    "string for an integer": Bad(
        "level = 1",
        'level = "1"',
        ('tiers[1].level = "1"', "a string, not an integer", "rank from 0 to 1,000"),
    ),
    "number with a point for an integer": Bad(
        "lease_s = 30",
        "lease_s = 30.5",
        ("calls.lease_s = 30.5", "a number with a point", "seconds, 3 to 600"),
    ),
    "boolean for an integer": Bad(
        "sync_ms = 100", "sync_ms = true", ("journal.sync_ms = true", "milliseconds, 1")
    ),
    "integer for a boolean": Bad(
        "level = 1",
        "level = 1\npayment_method = 1",
        ("tiers[1].payment_method = 1", "an integer, not a boolean", "true or false"),
    ),
    "out of range": Bad(
        "lease_s = 30", "lease_s = 601", ("calls.lease_s = 601", "seconds, 3 to 600")
    ),
    "empty string": Bad(
        'name = "next"', 'name = ""', ('tiers[1].name = ""', "not empty")
    ),
    "no such choice": Bad(
        "lease_s = 30",
        'unpriced = "charge"',
        ('calls.unpriced = "charge"', '"refuse" or "pass"'),
    ),
    "no such kind of price": Bad(
        'kind = "time"',
        'kind = "second"',
        ('models[0].prices[1].kind = "second"', '"image", "request" or "free"'),
    ),
    "relative path": Bad(
        'path = "/generate"', 'path = "generate"', ('routes[0].path = "generate"',)
    ),
    "path twice": Bad(
        "[[tiers]]\nlevel = 0",
        '[[routes]]\npath = "/generate"\ndialect = "x"\n[[tiers]]\nlevel = 0',
        ('routes[1].path = "/generate"', "already", "/v1/chat/completions"),
    ),
    "path twice, once with a slash": Bad(
        "[[tiers]]\nlevel = 0",
        '[[routes]]\npath = "/generate/"\ndialect = "none"\n[[tiers]]\nlevel = 0',
        ('routes[1].path = "/generate/"', "already"),
    ),
    "words for money": Bad(
        'sign_up = "5"',
        'sign_up = "five"',
        ('credit.sign_up = "five"', "dollars from 0 to 9,000,000"),
    ),
    "money below a pico-dollar": Bad(
        'input = "0.6"',
        "input = 0.0000000000006",
        (
            "models[0].prices[0].input = 6E-13",
            "finer than a pico-dollar",
            "dollars from 0",
        ),
    ),
    "money that is no number": Bad(
        'input = "0.6"',
        "input = nan",
        ("models[0].prices[0].input = NaN", "not a finite", "dollars from 0"),
    ),
    "money below zero": Bad(
        'usage_limit = "500"',
        "usage_limit = -500",
        ("tiers[1].usage_limit = -500", "less than $0", "dollars from 0"),
    ),
    "money above the range": Bad(
        'usage_limit = "500"',
        "usage_limit = 9_000_001",
        ("tiers[1].usage_limit = 9000001", "$9,000,000", "dollars from 0"),
    ),
    "a truth for money": Bad(
        'sign_up = "5"', "sign_up = true", ("credit.sign_up = true", "dollars from 0")
    ),
    "count in words": Bad(
        'output_tokens_max = "16K"',
        'output_tokens_max = "16 K"',
        ('tiers[1].output_tokens_max = "16 K"', "not a count", "1 to 1,000,000,000"),
    ),
    "count of nothing": Bad(
        'output_tokens_max = "16K"',
        "output_tokens_max = 0",
        ("tiers[1].output_tokens_max = 0", "out of range", "1 to 1,000,000,000"),
    ),
    "count with a point": Bad(
        'output_tokens_max = "16K"',
        "output_tokens_max = 1.5",
        ("tiers[1].output_tokens_max = 1.5", "not a count", "1 to 1,000,000,000"),
    ),
    "count without end": Bad(
        'output_tokens_max = "16K"',
        f'output_tokens_max = "{"9" * 5000}"',
        ('tiers[1].output_tokens_max = "999', "9...", "1 to 1,000,000,000"),
    ),
    "unit of no rate": Bad(
        'paid = "10/minute"',
        'paid = "10/fortnight"',
        ('tiers[0].requests.paid = "10/fortnight"', "not a rate", '"100/minute"'),
    ),
    "two rates of one period": Bad(
        'paid = "10/minute"',
        'paid = "10/minute; 20/minute"',
        ("tiers[0].requests.paid", "two rates of the same period", "several, such as"),
    ),
    "burst of two rates": Bad(
        'paid = "10/minute"',
        'paid = { rate = "10/minute; 1/second", burst = 3 }',
        ("tiers[0].requests.paid.rate", "names 2 rates, and burst is for one"),
    ),
    "rate that admits nothing": Bad(
        'paid = "10/minute"',
        'paid = "0/minute"',
        ('tiers[0].requests.paid = "0/minute"', "suspended account", "a rate"),
    ),
    "rate in a table": Bad(
        'paid = "10/minute"',
        'paid = { rate = "10 a minute", burst = 3 }',
        ('tiers[0].requests.paid.rate = "10 a minute"', "not a rate", '"100/minute"'),
    ),
    "burst of nothing": Bad(
        'paid = "10/minute"',
        'paid = { rate = "10/minute", burst = 0 }',
        ("tiers[0].requests.paid.burst = 0", "1 to 1,000,000,000"),
    ),
    "number for a rate": Bad(
        'paid = "10/minute"',
        "paid = 10",
        ("tiers[0].requests.paid = 10", "an integer, not a string or a table"),
    ),
    "limit without an allowance": Bad(
        "at_once = 8\n",
        "",
        ("limits[1] cannot be used", "either a rate or at_once"),
    ),
    "limit of two kinds": Bad(
        "at_once = 8",
        'at_once = 8\nrate = "10/minute"',
        ("limits[1] cannot be used", "either a rate or at_once"),
    ),
    "tokens at once": Bad(
        "at_once = 8",
        'at_once = 8\nunit = "tokens"',
        ('limits[1].unit = "tokens"', "at_once counts requests"),
    ),
    "name of a tier's quota": Bad(
        'name = "running"',
        'name = "requests"',
        ('limits[1].name = "requests"', "has this name", "letters, digits"),
    ),
    "limit of a tier that is not there": Bad(
        "tiers = [0]",
        "tiers = [7]",
        ("limits[0].tiers[0] = 7", "no tier 7", "the level of a tier"),
    ),
    "limit of a model that is not there": Bad(
        'models = ["big"]',
        'models = ["bug"]',
        ('limits[1].models[0] = "bug"', "no such model"),
    ),
    "limit of an alias": Bad(
        'models = ["big"]',
        'models = ["large"]',
        ('limits[1].models[0] = "large"', "write 'big'"),
    ),
    "window of no kind": Bad(
        "at_once = 8",
        'rate = "10/minute"\nwindow = "calendar"',
        ('limits[1].window = "calendar"', '"fixed", "moving" or "sliding"'),
    ),
    "window of tokens": Bad(
        'unit = "tokens"',
        'unit = "tokens"\nwindow = "fixed"',
        ('limits[0].unit = "tokens"', "counts requests", "cannot be corrected"),
    ),
    "window of calls at once": Bad(
        "at_once = 8",
        'at_once = 8\nwindow = "moving"',
        ("limits[1].at_once = 8", "gives nothing back"),
    ),
    "window with a burst": Bad(
        "at_once = 8",
        'rate = { rate = "10/minute", burst = 3 }\nwindow = "sliding"',
        ("limits[1].rate.burst = 3", "has no burst"),
    ),
    "instant without offset": Bad(
        "from = 2026-03-01T00:00:00Z",
        "from = 2026-03-01T00:00:00",
        ("models[0].prices[1].from = 2026-03-01T00:00:00", "no offset", "with offset"),
    ),
    "instant in quotes": Bad(
        "from = 2026-03-01T00:00:00Z",
        'from = "2026-03-01T00:00:00Z"',
        ('models[0].prices[1].from = "2026-', "without quotes", "with offset"),
    ),
    "instant too far off for a store": Bad(
        "from = 2026-03-01T00:00:00Z",
        "from = 2300-03-01T00:00:00Z",
        ("models[0].prices[1].from = 2300-", "1970 to 2261", "with offset"),
    ),
    "prices that overlap": Bad(
        "from = 2026-03-01T00:00:00Z",
        "from = 2026-02-01T00:00:00Z",
        (
            "models[0].prices[1].from = 2026-02-01T00:00:00Z",
            "The price before it ends at 2026-03-01T00:00:00Z",
        ),
    ),
    "prices with a gap between": Bad(
        "from = 2026-03-01T00:00:00Z",
        "from = 2026-03-01T00:00:00-01:00",
        (
            "models[0].prices[1].from = 2026-03-01T00:00:00-01:00",
            "The price before it ends at 2026-03-01T00:00:00Z",
        ),
    ),
    "price that follows an open one": Bad(
        "until = 2026-03-01T00:00:00Z",
        "",
        ("models[0].prices[1].from = 2026-03-01", "has no until", "with offset"),
    ),
    "later price without a start": Bad(
        "from = 2026-03-01T00:00:00Z",
        "",
        ("models[0].prices[1].from is missing", "with offset"),
    ),
    "price that ends before it starts": Bad(
        "from = 2026-03-01T00:00:00Z",
        "from = 2026-03-01T00:00:00Z\nuntil = 2026-01-01T00:00:00Z",
        ("models[0].prices[1].until = 2026-01-01", "end it later", "with offset"),
    ),
    "price without one of its parts": Bad(
        'output = "2.2"\n',
        "",
        ("models[0].prices[0].output is missing", "dollars from 0"),
    ),
    "price of another kind": Bad(
        'per_second = "0.004"',
        'per_second = "0.004"\ninput = "0.1"',
        (
            'models[0].prices[1].input = "0.1"',
            'kind "time" takes per_second, per_hour, per_request.',
        ),
    ),
    "one price by two units": Bad(
        'per_second = "0.004"',
        'per_second = "0.004"\nper_hour = 2',
        ("models[0].prices[1].per_hour = 2", "priced above, by another unit"),
    ),
    "minimum without a time": Bad(
        'output = "2.2"\n',
        'output = "2.2"\nbilled_ms_min = 100\n',
        ("models[0].prices[0].billed_ms_min = 100", "no price of time or audio"),
    ),
    "audio without a longest one": Bad(
        'output = "2.2"\n',
        'output = "2.2"\naudio_per_minute = "0.006"\n',
        ("models[0].audio_ms_max is missing", "milliseconds, 1 to 86,400,000"),
    ),
    "image price without one": Bad(
        'kind = "time"\nper_second = "0.004"',
        'kind = "image"',
        ("models[0].prices[1].per_image is missing", "dollars from 0"),
    ),
    "step of what has none": Bad(
        'per_second = "0.004"',
        'per_second = "0.004"\nsteps = [{ above_input_tokens = 1, input = 1 }]',
        ("models[0].prices[1].steps[0] cannot", 'Only a price of kind "token"'),
    ),
    "steps that fall": Bad(
        'output = "2.2"\n',
        'output = "2.2"\nsteps = [{ above_input_tokens = 2, input = 1 },'
        " { above_input_tokens = 2, input = 3 }]\n",
        ("models[0].prices[0].steps[1].above_input_tokens = 2", "by rising input"),
    ),
    "step without a price": Bad(
        'output = "2.2"\n',
        'output = "2.2"\nsteps = [{ above_input_tokens = 2 }]\n',
        ("models[0].prices[0].steps[0].input is missing", "dollars from 0"),
    ),
    "free at a price": Bad(
        'kind = "time"',
        'kind = "free"',
        ('models[0].prices[1].per_second = "0.004"', "takes no price at all"),
    ),
    "time price without a longest call": Bad(
        "compute_ms_max = 60_000",
        "",
        ("models[0].compute_ms_max is missing", "milliseconds, 1 to 86,400,000"),
    ),
    "alias that is a name": Bad(
        'aliases = ["large"]',
        'aliases = ["large", "big"]',
        ('models[0].aliases[1] = "big"', "taken by models[0].name", "not empty"),
    ),
    "model twice": Bad(
        '[[models]]\nname = "big"',
        '[[models]]\nname = "large"\n[[models]]\nname = "big"',
        ('models[1].aliases[0] = "large"', "taken by models[0].name"),
    ),
    "alias that is no string": Bad(
        'aliases = ["large"]',
        'aliases = ["large", 4]',
        ("models[0].aliases[1] = 4", "an integer, not a string", "not empty"),
    ),
    "level twice": Bad("level = 1", "level = 0", ("tiers[1]", "List tiers lowest")),
    "first tier for payers alone": Bad(
        "level = 0",
        "level = 0\npayment_method = true",
        ("tiers[0]", "everyone must qualify"),
    ),
    "tier that empties the one below": Bad(
        'lifetime_spend = "50"',
        "",
        ("tiers[1]", "nobody would be in the lower one", "payment_method = true"),
    ),
    "agreement that can be qualified for": Bad(
        'lifetime_spend = "50"',
        'lifetime_spend = "50"\nby_agreement = true',
        ("tiers[1].by_agreement = true", "takes neither", "true or false"),
    ),
    "thresholds that fall": Bad(
        'usage_limit = "500"',
        'usage_limit = "500"\n[[tiers]]\nlevel = 2\nname = "top"\n'
        'lifetime_spend = "40"\noutput_tokens_max = 1',
        ("tiers[2]", "less than a lower tier's $50"),
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_names_the_file_the_field_the_value_and_what_is_allowed(bad: Bad) -> None:
    assert GOOD.count(bad.old) == 1

    with pytest.raises(ConfigurationError) as caught:
        load_plan(GOOD.replace(bad.old, bad.new), source="shop.toml")

    text = str(caught.value)
    assert text.startswith("shop.toml: ")
    for part in bad.says:
        assert part in text


def test_the_plan_that_is_spoilt_above_is_good_itself() -> None:
    assert load_plan(GOOD, source="shop.toml").name == "small"


def test_a_password_in_a_url_is_not_shown() -> None:
    spoilt = GOOD.replace(
        'path = "/generate"', 'path = "postgresql://me:sec/ret@host/db"'
    )

    with pytest.raises(ConfigurationError) as caught:
        load_plan(spoilt, source="shop.toml")

    assert "ret" not in str(caught.value)
    assert "postgresql://***@host/db" in str(caught.value)
