"""Lines over time lie where their values are, and stop where nothing was told."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from metering.console.pages.timelines import Span, TimeSeries, spans_of, timeline

NOON = datetime(2026, 1, 15, 12, 3, tzinfo=UTC)
VALUES = st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=40)


def drawn(values, *, step=timedelta(minutes=1), bands=()):
    return timeline(
        NOON,
        step,
        [TimeSeries("a", values)],
        show=str,
        told=["x"] * len(values),
        bands=bands,
        height=100,
    )


def points(line):
    return [tuple(map(float, point.split(","))) for point in line.points.split()]


@settings(max_examples=100)
@given(VALUES)
def test_a_line_is_within_its_box_and_runs_to_the_right(values):
    for line in drawn(values).lines:
        where = points(line)

        assert all(0 <= x <= 1000 and -0.01 <= y <= 100 for x, y in where)
        assert all(before < after for (before, _), (after, _) in pairwise(where))


@settings(max_examples=100)
@given(VALUES)
def test_each_stretch_without_a_gap_is_a_line(values):
    stretches = [
        span for span in spans_of([value is None for value in values]) if not span.state
    ]

    assert len(stretches) == len(drawn(values).lines)


@settings(max_examples=100)
@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_stretches_of_states_follow_each_other_and_leave_nothing_out(states):
    spans = spans_of(states)

    assert states == [s.state for s in spans for _ in range(s.after - s.first)]
    assert all(one.after == two.first for one, two in pairwise(spans))
    assert all(one.state != two.state for one, two in pairwise(spans))


def test_the_highest_value_is_beneath_the_highest_mark():
    chart = drawn([0, 42, 21])

    assert [0, 60] == [int(float(chart.up[at].label)) for at in (0, -1)]
    assert [100, 0] == [chart.up[at].at for at in (0, -1)]
    ((_, zero), (_, most), (_, half)) = points(chart.lines[0])
    assert (100, 30, 65) == (zero, most, half)


def test_a_step_alone_is_seen():
    (line,) = drawn([None, 5, None, None]).lines

    assert [250, 500] == [x for x, _ in points(line)]


def test_marks_stand_at_round_times():
    hour = drawn([1] * 60)
    day = drawn([1] * 288, step=timedelta(minutes=5))
    week = drawn([1] * 336, step=timedelta(minutes=30))

    assert ["12:10", "12:20", "12:30", "12:40", "12:50", "13:00"] == [
        mark.label for mark in hour.across
    ]
    assert 100 * 7 / 60 == hour.across[0].at
    assert ["16:00", "20:00", "00:00", "04:00", "08:00", "12:00"] == [
        mark.label for mark in day.across
    ]
    assert ["16 Jan", "22 Jan"] == [week.across[at].label for at in (0, -1)]


def test_states_are_marked_where_they_were():
    (band,) = drawn([1] * 4, bands=[Span("busy", 1, 3)]).bands

    assert ("busy", 25, 50) == (band.state, band.left, band.width)
