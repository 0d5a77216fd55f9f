"""Time along a line, lanes, and what is merged so that it can be seen."""

from itertools import pairwise

import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

from skyfan.report.drawing import draw_gantt, draw_progress
from skyfan.report.record import Span
from skyfan.report.timeline import MOST_MARKS, axis_of, heat, lanes_of, progress, ticks, time_ticks
from skyfan.task import TaskError

NOW = 1_795_000_000.0
SVG = "{http://www.w3.org/2000/svg}"


def span(start: float, seconds: float = 1.0, worker: str = "a:1", rank: int = 0, attempt: int = 1) -> Span:
    return Span(rank, NOW + start, NOW + start + seconds, worker, 10, attempt)


def busy(workers: int, tasks: int, seconds: float = 1.0) -> list[Span]:
    found = [span(n * seconds, seconds * 0.99, f"w:{w}", n * workers + w) for n in range(tasks) for w in range(workers)]
    return sorted(found, key=lambda item: (item.start, item.rank))


spans = st.lists(
    st.builds(
        span,
        st.floats(0, 1e6, allow_subnormal=False),
        st.floats(0, 1e4, allow_subnormal=False),
        st.sampled_from(["a:1", "b:2", ""]),
        st.integers(0, 99),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=40,
).map(lambda found: sorted(found, key=lambda item: item.start))


@given(spans)
def test_an_axis_holds_all_spans_in_their_order(found: list[Span]) -> None:
    axis = axis_of(found)
    places = [axis(at) for at in sorted(at for item in found for at in (item.start, item.stop))]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(before <= after + 1e-9 for before, after in pairwise(places))


@given(spans)
def test_every_task_is_in_one_mark_of_a_lane_on_which_marks_do_not_overlap(found: list[Span]) -> None:
    lanes = lanes_of(found, most=5)
    assert sum(mark.tasks for mark in lanes.marks) == len(found)
    assert sum(mark.rows for mark in lanes.marks) == sum(item.rows for item in found)
    for lane in range(len(lanes.names)):
        marks = sorted((mark for mark in lanes.marks if mark.lane == lane), key=lambda mark: mark.start)
        assert all(before.stop <= after.start + 2e-3 for before, after in pairwise(marks))


def test_a_pause_is_short_on_the_axis_and_told_with_its_length() -> None:
    axis = axis_of([span(0, 10), span(10, 10), span(3620, 10)])
    assert axis.worked_s == 30
    ((start, stop, seconds),) = axis.pauses()
    assert seconds == 3600
    assert stop - start == pytest.approx(0.03)


def test_ten_thousand_tasks_are_merged_to_few_blocks_and_none_is_lost() -> None:
    found = busy(4, 2500)
    lanes = lanes_of(found)
    assert len(lanes.marks) <= MOST_MARKS
    assert sum(mark.tasks for mark in lanes.marks) == 10_000
    assert lanes.merged_within_s > 0


def test_a_task_that_was_tried_again_is_never_merged() -> None:
    found = busy(2, 500)
    found[77] = span(38, 0.9, "w:1", 77, attempt=2)
    retried = [mark for mark in lanes_of(found).marks if mark.retried]
    assert [(mark.rank, mark.tasks) for mark in retried] == [(77, 1)]


def test_workers_of_one_name_at_once_get_a_lane_each() -> None:
    lanes = lanes_of([span(0, 5), span(1, 5), span(6, 1)])
    assert lanes.names == ["a:1", "a:1 (2)"]


def test_progress_ends_with_all_rows_and_has_few_steps() -> None:
    steps = progress(busy(2, 5000))
    assert len(steps) <= 400
    assert steps[-1][1] == 100_000
    assert all(before[1] < after[1] for before, after in pairwise(steps))


def test_a_thousand_workers_are_shown_by_how_busy_their_groups_were() -> None:
    found = busy(1000, 2)
    cells, workers = heat(found, axis_of(found))
    assert sum(workers) == 1000
    assert {cell.level for cell in cells} == {4}
    assert len(cells) == len(workers)
    svg, said = draw_gantt(found, [])
    assert "1,000 workers in 12 groups" in said
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}rect"))) == 12


def test_half_busy_workers_are_half_as_dark() -> None:
    found = [*busy(50, 1), *(span(1, 1, f"w:{n}") for n in range(25))]
    cells, _ = heat(found, axis_of(found), groups=1, columns=2)
    assert [cell.level for cell in cells] == [4, 2]


@pytest.mark.parametrize(
    ("most", "expected"), [(10, [0, 2, 4, 6, 8, 10]), (0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]), (0, [0])]
)
def test_ticks_are_round(most: float, expected: list[float]) -> None:
    assert ticks(most) == pytest.approx(expected)


def test_ticks_of_time_are_minutes_and_hours() -> None:
    assert time_ticks(300) == [0, 60, 120, 180, 240, 300]
    assert time_ticks(4 * 3600) == [0, 3600, 7200, 10_800, 14_400]
    assert time_ticks(60 * 86_400)[:2] == [0, 10 * 86_400]


@given(spans, st.text(max_size=30))
def test_charts_are_xml_whatever_the_names_and_messages_are(found: list[Span], text: str) -> None:
    error = TaskError("X", f'<script>alert("{text}")</script>', may_pass=False)
    named = [Span(item.rank, item.start, item.stop, text, item.rows, item.attempt) for item in found]
    failed = [Span(item.rank, item.start, item.stop, "", 0, 3, error) for item in found[:2]]
    for svg in (draw_progress(named, 1000), draw_gantt(named, failed)[0]):
        root = ElementTree.fromstring(svg)
        assert not list(root.iter("script")), not list(root.iter(f"{SVG}script"))
    assert b"<script" not in draw_gantt(named, failed)[0]


def test_failed_attempts_are_shown_below_the_workers_with_their_message() -> None:
    error = TaskError("PartitionError", "it is cut short", may_pass=False)
    svg, said = draw_gantt([span(0)], [Span(7, NOW, NOW + 1, "", 0, 1, error)])
    assert b"task 7: it is cut short" in svg
    assert "1 task that failed" in said


def test_of_more_failed_tasks_than_are_drawn_the_caption_says_how_many_there_are() -> None:
    some = [Span(rank, NOW, NOW + 1, "", 0, 1) for rank in range(100)]
    assert "Of 500 tasks that failed, the last attempts of 100 are below" in draw_gantt([span(0)], some, 500)[1]
    assert "The last attempts of 100 tasks that failed are below" in draw_gantt([span(0)], some, 100)[1]


def test_many_tasks_at_once_on_one_name_are_drawn_in_groups() -> None:
    """As in containers, which all have one host's name and one number of a process, or with reports that name none."""
    found = [span(0, 5 + n / 1000, "host:1", n) for n in range(1000)]
    svg, said = draw_gantt(found, [])
    assert "1,000 workers in 12 groups" in said
    assert int(ElementTree.fromstring(svg).attrib["viewBox"].split()[3]) < 400


def test_one_task_of_no_length_is_drawn() -> None:
    alone = [span(0, 0)]
    assert draw_progress(alone, None)
    assert draw_gantt(alone, [])[0].count(b"<rect") == 1
