"""The reference of metrics is the table of the code, and pages name what there is."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from metering.adaptive import PlatformState
from metering.exports.metrics import METRICS
from metering.usage import Ending

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
SERIES = {row.name + suffix for row in METRICS for suffix in SUFFIXES[row.kind]}


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_each_metric_has_its_row_and_nothing_else_has():
    written = [
        cells(line) for line in PAGE.splitlines() if line.startswith("| `metering_")
    ]

    assert [
        [
            f"`{row.name}{'_total' if row.kind == 'counter' else ''}`",
            row.kind,
            ", ".join(f"`{label}`" for label in row.labels),
            row.tells,
        ]
        for row in METRICS
    ] == written


def test_each_label_is_explained_with_its_values():
    rows = [cells(line) for line in PAGE.splitlines() if line.startswith("| `")]
    told = {
        name: row[1]
        for row in rows
        if len(row) == 2
        for name in re.findall(r"`(\w+)`", row[0])
    }

    assert {label for row in METRICS for label in row.labels} == set(told)
    assert all(f"`{ending}`" in told["ending"] for ending in get_args(Ending))
    assert all(f"`{state}`" in told["state"] for state in get_args(PlatformState))


@pytest.mark.parametrize("page", ["how-to/observe.md", "reference/metrics.md"])
def test_expressions_on_pages_name_metrics_that_exist(page):
    text = (DOCS / page).read_text(encoding="utf-8")

    assert set(re.findall(r"\bmetering_\w+", text)) - SERIES <= {
        row.name for row in METRICS
    }


EXPRESSIONS = [
    target["expr"]
    for panel in json.loads(
        (DOCS / "examples" / "grafana-dashboard.json").read_text(encoding="utf-8")
    )["panels"]
    for target in panel.get("targets", ())
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_dashboard_asks_for_series_and_labels_that_exist(expression):
    labels = {row.name: {*row.labels, "le"} for row in METRICS}
    asked = re.findall(r"\bmetering_\w+", expression)
    by = re.findall(r"\bby \(([^)]*)\)", expression)

    assert asked
    for series in asked:
        assert series in SERIES
        name = re.sub(r"_(total|bucket)$", "", series)
        assert {label for some in by for label in some.split(", ")} <= labels[name]
    for counter in re.findall(r"(\S*)(metering_\w+_(?:total|bucket))", expression):
        assert re.search(r"(rate|increase)\($", counter[0])


def test_the_dashboard_shows_every_metric():
    shown = set(re.findall(r"\bmetering_\w+", " ".join(EXPRESSIONS)))
    left_out = {"metering_audio_seconds", "metering_images"}

    assert {row.name for row in METRICS} - left_out == {
        re.sub(r"_(total|bucket)$", "", series) for series in shown
    }


def test_names_are_as_prometheus_wants_them():
    """What `promtool check metrics` complains of: units that are not spelt out."""
    ends = {row.name.rpartition("_")[2] for row in METRICS}

    assert not ends & {"ms", "ns", "us", "s", "sec", "min", "total", "count", "sum"}


ALERTS = (DOCS / "examples" / "prometheus-alerts.yaml").read_text(encoding="utf-8")
RULES = re.findall(r"^ +- alert: (\w+)\n +expr: (.+)$", ALERTS, re.MULTILINE)


@pytest.mark.parametrize(("name", "expression"), RULES)
def test_each_alert_asks_for_series_and_labels_that_exist(name, expression):
    labels = {row.name: set(row.labels) for row in METRICS}
    asked = re.findall(r"\bmetering_\w+", expression)
    named = {
        label
        for some in re.findall(r"\bby \(([^)]*)\)|\{(\w+)=", expression)
        for label in ", ".join(filter(None, some)).split(", ")
    }
    rule = ALERTS.partition(f"alert: {name}\n")[2].partition("- alert:")[0]
    shown = set(re.findall(r"\$labels\.(\w+)", rule)) - {"instance"}

    assert asked
    assert set(asked) <= SERIES
    for series in asked:
        assert named | shown <= labels[re.sub(r"_total$", "", series)]


def test_the_page_shows_the_alerts_as_they_are():
    """Each is named there; no other is."""
    page = (DOCS / "how-to" / "observe.md").read_text(encoding="utf-8")

    assert len(RULES) > 5
    assert {name for name, _ in RULES} == set(
        re.findall(r"^   \| `(\w+)` \|", page, re.MULTILINE)
    )
