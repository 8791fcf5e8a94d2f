"""How the price book is put before people: by what is counted, in usual units."""

from metering.console.api.plan import ModelPrices, PriceShown, RateShown, StepShown
from metering.console.pages.prices import price_groups, rates_said


def rate(of, usd, per=1_000_000, units_min=0):
    return RateShown(of=of, usd=usd, per=per, units_min=units_min)


def price(*rates, kind="token", when="present", steps=()):
    return PriceShown(
        version="v",
        when=when,
        start=None,
        end=None,
        kind=kind,
        rates=list(rates),
        steps=list(steps),
    )


def model(name, *versions, agreed=None):
    now = [each.kind for each in versions if each.when == "present"]
    return ModelPrices(
        model=name,
        aliases=[],
        reasoning=False,
        context_tokens_max=None,
        kind=now[0] if now else None,
        agreed=agreed,
        versions=list(versions),
    )


INPUT, OUTPUT = rate("input_tokens", "0.6"), rate("output_tokens", "2.25")
CACHED = rate("cache_read_tokens", "0.06")


def test_columns_are_those_that_any_model_of_the_kind_has():
    (group,) = price_groups(
        [model("a", price(INPUT, OUTPUT)), model("b", price(INPUT, CACHED, OUTPUT))]
    )

    assert ["Input", "Cached input", "Output"] == [name for name, _ in group.columns]
    assert ("By token", "1M tokens", 2) == (group.title, group.unit, group.places)
    assert [(INPUT, None, OUTPUT), (INPUT, CACHED, OUTPUT)] == [
        line.cells for line in group.lines
    ]


def test_kinds_stand_apart_and_models_without_a_price_are_last():
    groups = price_groups(
        [
            model("gone", price(INPUT, OUTPUT, when="past")),
            model("free", price(kind="free")),
            model("call", price(rate("requests", "0.01", 1), kind="request")),
            model("token", price(INPUT, OUTPUT)),
        ]
    )

    assert [
        ("By token", ["token"]),
        ("By call", ["call"]),
        ("Free", ["free"]),
        ("No price right now", ["gone"]),
    ] == [(group.title, [line.model.model for line in group.lines]) for group in groups]
    assert "call" == groups[1].unit


def test_other_times_are_kept_beside_what_holds_now():
    later = price(INPUT, OUTPUT, when="future")
    (group,) = price_groups([model("a", price(INPUT, OUTPUT), later)])

    assert (later,) == group.lines[0].others


def test_large_prompts_and_least_amounts_are_said():
    step = StepShown(above_input_tokens=200_000, rates=[rate("input_tokens", "1.2")])
    timed = price(rate("compute_ms", "0.004", 1_000, units_min=1_500), kind="time")
    by_token, by_time = price_groups(
        [model("a", price(INPUT, OUTPUT, steps=[step])), model("b", timed)]
    )

    assert ("above 200,000 tokens of input: input $1.20 per 1M tokens",) == (
        by_token.lines[0].notes
    )
    assert ("compute counts for 1.5 s at least",) == by_time.lines[0].notes


def test_what_was_agreed_has_a_column_as_well():
    agreed = [rate("input_tokens", "0.5"), rate("output_tokens", "1.9")]
    (group,) = price_groups([model("a", price(kind="free"), agreed=agreed)])

    assert ((None, None), tuple(agreed)) == (
        group.lines[0].cells,
        group.lines[0].agreed,
    )


def test_rates_are_said_in_the_units_that_are_exact():
    assert "input $0.60 per 1M tokens, output $2.25 per 1M tokens" == rates_said(
        [INPUT, OUTPUT]
    )
    assert "compute $0.10 per hour" == rates_said(
        [rate("compute_ms", "0.1", 3_600_000)]
    )
    assert "images $0.04 per image" == rates_said([rate("images", "0.04", 1)])
    assert "calls $1 per 3 units" == rates_said([rate("requests", "1", 3)])
    assert "free" == rates_said([])
