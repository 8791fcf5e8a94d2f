"""The page on configuration names every field, with its true default and an example."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from metering.config import load_plan, schema
from metering.config.notation import Count, Dollars

PAGE = Path(__file__).parents[2].joinpath("docs/reference/configuration.md").read_text()
EXAMPLE = "\n".join(re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "`[plan]`": schema.PlanTable,
    "`[credit]`": schema.CreditTable,
    "`[calls]`": schema.CallTable,
    "`[journal]`": schema.JournalTable,
    "`[storage]`": schema.StorageTable,
    "`[outage]`": schema.OutageTable,
    "`[alerts]`": schema.AlertTable,
    "`[[webhooks]]`": schema.WebhookTable,
    "`[events]`": schema.StreamTable,
    "`[[routes]]`": schema.RouteTable,
    "`[[tiers]]`": schema.TierTable,
    "`[tiers.requests]`": schema.TierRequestTable,
    "`{ rate, burst }`": schema.RateTable,
    "`[adaptive]`": schema.AdaptiveTable,
    "`[[adaptive.pools]]`": schema.PoolTable,
    "`[[limits]]`": schema.LimitTable,
    "`[[models]]`": schema.ModelTable,
    "`[[models.prices]]`": schema.PriceTable,
    "`[[models.prices.steps]]`": schema.StepTable,
}


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: the other cells by field."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if "|" in line]
    return {
        first.strip(" `"): [cell.strip() for cell in rest]
        for first, *rest in cells
        if first.startswith(" `")
    }


def shown(field: msgspec.structs.FieldInfo) -> object:
    """A field's default, in terms that a cell of the table can be compared with."""
    if field.required:
        return "required"
    default = field.default
    if isinstance(default, Count | Dollars):
        return default.units if isinstance(default, Count) else default.pico
    if isinstance(default, Decimal):
        return float(default)
    return "none" if default in (None, (), schema.TierRequestTable()) else default


def written(cell: str, field: msgspec.structs.FieldInfo) -> object:
    """The default that a cell of the table tells."""
    if cell in {"required", "none"}:
        return cell
    value = tomllib.loads(f"value = {cell.strip('`')}")["value"]
    if isinstance(field.default, Count):
        return Count(value).units
    if isinstance(value, list):
        return tuple(value)
    return Dollars(value).pico if isinstance(field.default, Dollars) else value


def test_every_table_of_a_plan_has_a_section() -> None:
    tables = {getattr(schema, name) for name in schema.__all__} - {schema.PlanFile}

    assert tables == set(SECTIONS.values())


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_section_names_exactly_the_fields_of_its_table(heading: str) -> None:
    assert list(SECTIONS[heading].__struct_encode_fields__) == list(rows(heading))


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_field_has_a_type_its_true_default_and_a_meaning(heading: str) -> None:
    told = rows(heading)

    for field in msgspec.structs.fields(SECTIONS[heading]):
        kind, default, meaning = told[field.encode_name]
        assert shown(field) == written(default, field), field.encode_name
        assert kind
        assert meaning


def test_the_examples_together_are_a_plan_that_loads() -> None:
    assert load_plan(EXAMPLE, source="configuration.md").name == "shop"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_in_an_example(heading: str) -> None:
    for name in SECTIONS[heading].__struct_encode_fields__:
        assert re.search(rf"(^|[{{ .\[]){name}( =|\])", EXAMPLE, re.MULTILINE), name


@pytest.mark.parametrize("name", schema.__all__)
def test_no_table_takes_a_field_it_does_not_know(name: str) -> None:
    assert getattr(schema, name).__struct_config__.forbid_unknown_fields


def test_every_variable_of_the_environment_is_named() -> None:
    source = Path(schema.__file__).with_name("loading.py").read_text()
    variables = set(re.findall(r'"(METERING_\w+)"', source))

    assert len(variables) == 6
    for variable in variables:
        assert f"| `{variable}` |" in PAGE
