"""The charts of a run's execution as SVG: rows or tasks done by time, and who was at work when.

They take the page's colours, and have their own where there is no page.
"""

from collections.abc import Iterable, Sequence
from html import escape

from skyfan.report.record import Span
from skyfan.report.timeline import MOST_LANES, Axis, Lanes, axis_of, heat, lanes_of, progress, ticks, time_ticks
from skyfan.wording import counted, duration

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 118, 16, 10, 40
PLOT = WIDTH - LEFT - RIGHT
LANE, LANE_GAP = 18, 4
STYLE = (
    ".sf-t{fill:var(--muted,#5b6672);font:12px system-ui,sans-serif}"
    ".sf-g{stroke:var(--rule,#d9dee4);stroke-width:1}"
    ".sf-a{fill:var(--busy-soft,#dbe7f5)}.sf-l{fill:none;stroke:var(--busy,#2e6fb5);stroke-width:2}"
    ".sf-b{fill:var(--busy,#2e6fb5);stroke:var(--paper,#fff);stroke-width:.5}"
    ".sf-r{fill:var(--warm,#d9822b);stroke:var(--paper,#fff);stroke-width:.5}"
    ".sf-f{fill:var(--bad,#b3261e);stroke:var(--paper,#fff);stroke-width:.5}"
    ".sf-p{fill:var(--paper,#fff)}.sf-d{stroke:var(--muted,#5b6672);stroke-dasharray:2 3}"
)


def draw_progress(spans: Sequence[Span], expected: int | None, what: str = "Rows") -> bytes:
    """Draw the rows done by time, or of scripts the tasks.

    Parameters
    ----------
    spans : sequence of Span
        By their start, at least one.
    expected : int, optional
        Rows that the run must return, or its tasks.
    what : str
        `Rows`, or `Tasks`.
    """
    axis, height = axis_of(spans), 190
    steps = progress(spans)
    most = max(expected or 0, steps[-1][1], 1)
    bottom = TOP + height

    def up(rows: float) -> float:
        return bottom - rows / most * (height - 8)

    points = [(_x(axis, axis.stretches[0][0]), up(0))]
    for at, rows in steps:
        points += [(_x(axis, at), points[-1][1]), (_x(axis, at), up(rows))]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    body = [_time(axis, bottom)]
    body += [
        f'<line class="sf-g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(rows):.1f}" y2="{up(rows):.1f}"/>'
        + _text(LEFT - 8, up(rows) + 4, f"{rows:,.0f}", "end")
        for rows in ticks(most, 4)
        if rows == int(rows)  # there are no halves of rows
    ]
    body.append(f'<polygon class="sf-a" points="{line} {points[-1][0]:.1f},{bottom}"/>')
    body.append(f'<polyline class="sf-l" points="{line}"/>')
    if expected is not None and steps[-1][1] != expected:
        body.append(f'<line class="sf-d" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(expected):.1f}"')
        body.append(f' y2="{up(expected):.1f}"/>{_text(WIDTH - RIGHT, up(expected) + 14, "expected", "end")}')
    return _svg(bottom + BOTTOM, f"{what} done by time", body)


def draw_gantt(spans: Sequence[Span], failed: Sequence[Span], failures: int | None = None) -> tuple[bytes, str]:
    """Draw who was at work when; return the picture, and what it shows in words.

    Parameters
    ----------
    spans : sequence of Span
        Of the tasks that are done, by their start.
    failed : sequence of Span
        Of the last attempts of tasks that failed. Together at least one.
    failures : int, optional
        How many tasks failed, if more than are to be drawn.
    """
    axis = axis_of(sorted([*spans, *failed], key=lambda span: span.start))
    found = lanes_of(spans)
    body, said, lanes = _lanes(spans, axis, found) if len(found.names) <= MOST_LANES else _groups(spans, axis)
    if failed:
        body += _failed(failed, axis, lanes)
        said += f" {_of_failed(len(failed), failures or len(failed))}"
        lanes += 1
    bottom = TOP + lanes * (LANE + LANE_GAP) + 4
    return _svg(bottom + BOTTOM, "Who was at work when", [_time(axis, bottom), *body]), said


def _of_failed(drawn: int, failures: int) -> str:
    if failures <= drawn:
        return f"The last attempts of {counted(drawn, 'task')} that failed are below, in red."
    return f"Of {failures:,} tasks that failed, the last attempts of {drawn:,} are below, in red."


def _lanes(spans: Sequence[Span], axis: Axis, lanes: Lanes) -> tuple[list[str], str, int]:
    body = [_text(LEFT - 8, _y(number) + 13, _short(name), "end", name) for number, name in enumerate(lanes.names)]
    for mark in lanes.marks:
        took = f"{mark.stop - mark.start:.2f} s"
        what = f"task {mark.rank}" if mark.tasks == 1 else f"{counted(mark.tasks, 'task')} from {mark.rank} on"
        tried = ", tried more than once" if mark.retried else ""
        rows = f"{counted(mark.rows, 'row')}, " if mark.rows is not None else ""
        title = f"{what}: {rows}{took}{tried}"
        body.append(_rect(axis, (mark.start, mark.stop), mark.lane, "sf-r" if mark.retried else "sf-b", title))
    said = f"A lane per worker ({counted(len(lanes.names), 'lane')}), from start to end of each task."
    if lanes.merged_within_s:
        said += (
            f" {len(spans):,} tasks are too many to be seen one by one: those with {_small(lanes.merged_within_s)} "
            f"or less between them are one of {counted(len(lanes.marks), 'block')}."
        )
    retried = sum(mark.retried for mark in lanes.marks)
    if retried:
        said += f" In orange: {counted(retried, 'task')} that needed more than one attempt; the last is drawn."
    return body, said, len(lanes.names)


def _groups(spans: Sequence[Span], axis: Axis) -> tuple[list[str], str, int]:
    cells, workers = heat(spans, axis)
    body, first = [], 1
    for group, count in enumerate(workers):
        body.append(_text(LEFT - 8, _y(group) + 13, f"{first:,} to {first + count - 1:,}", "end"))
        first += count
    for cell in cells:
        x, width = LEFT + cell.start * PLOT, (cell.stop - cell.start) * PLOT
        said = f"<title>workers busy for up to {25 * cell.level} % of this time</title>"
        opacity = f'style="opacity:{0.25 * cell.level}"'
        place = f'x="{x:.1f}" y="{_y(cell.group)}" width="{width:.1f}" height="{LANE}"'
        body.append(f'<rect class="sf-b" {opacity} {place}>{said}</rect>')
    said = (
        f"{sum(workers):,} workers in {len(workers)} groups, in the order in which they began; the darker, the larger "
        "the share of the time that they were at a task."
    )
    return body, said, len(workers)


def _failed(failed: Sequence[Span], axis: Axis, lane: int) -> list[str]:
    body = [_text(LEFT - 8, _y(lane) + 13, "failed", "end")]
    for span in failed:
        said = span.error.message if span.error else "failed"
        body.append(_rect(axis, (span.start, span.stop), lane, "sf-f", f"task {span.rank}: {said[:200]}"))
    return body


def _time(axis: Axis, bottom: float) -> str:
    """Draw the axis of time below a chart, and the pauses across it."""
    body = []
    first = axis.stretches[0]
    for seconds in time_ticks(axis.worked_s if len(axis.stretches) == 1 else first[1] - first[0]):
        x = _x(axis, first[0] + seconds)
        body.append(f'<line class="sf-g" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        body.append(_text(x, bottom + 16, _clock(seconds), "middle"))
    for start, stop, seconds in axis.pauses():
        left, right = LEFT + start * PLOT, LEFT + stop * PLOT
        body.append(f'<rect class="sf-p" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{bottom - TOP}"/>')
        body += [f'<line class="sf-d" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>' for x in (left, right)]
        body.append(_text((left + right) / 2, bottom + 30, f"pause of {duration(seconds)}", "middle"))
    if len(axis.stretches) == 1:
        body.append(_text(WIDTH - RIGHT, bottom + 34, "time since the first task's start", "end"))
    return "".join(body)


def _svg(height: float, title: str, body: Iterable[str]) -> bytes:
    text = "".join(body)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
    return f"{head}><title>{_safe(title)}</title><style>{STYLE}</style>{text}</svg>".encode()


def _rect(axis: Axis, between: tuple[float, float], lane: int, kind: str, title: str) -> str:
    x, stop = (_x(axis, at) for at in between)
    width = max(3.0 if kind == "sf-f" else 1.0, stop - x)
    place = f'x="{x:.1f}" y="{_y(lane)}" width="{width:.1f}" height="{LANE}" rx="1.5"'
    return f'<rect class="{kind}" {place}><title>{_safe(title)}</title></rect>'


def _text(x: float, y: float, text: str, anchor: str, title: str = "") -> str:
    more = f"<title>{_safe(title)}</title>" if title and title != text else ""
    return f'<text class="sf-t" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}{more}</text>'


def _x(axis: Axis, at: float) -> float:
    return LEFT + axis(at) * PLOT


def _y(lane: int) -> int:
    return TOP + lane * (LANE + LANE_GAP) + 2


def _safe(text: str) -> str:
    """Escape text; control characters, which XML cannot hold, become question marks in a diamond."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text))


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _clock(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else f"{seconds:g} s"


def _small(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
