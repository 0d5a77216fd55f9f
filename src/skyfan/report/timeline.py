"""When the workers of a run were at their tasks: pauses taken out, lanes, and what is too fine to be drawn merged."""

import heapq
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from skyfan.report.record import Span

LEAST_PAUSE_S = 30.0
PAUSE_SHARE = 0.25
"""Nobody works for longer than this share of the work before: a pause, as before a resume."""
GAP_SHARE = 0.03
"""Of the width, for a pause."""
MOST_LANES = 32
MOST_MARKS = 300
MOST_STEPS = 400

_CLOCK_S = (2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


class Axis:
    """Time along a line from 0 to 1; pauses are short, whatever they last.

    Parameters
    ----------
    stretches : sequence of (float, float)
        Between the pauses, seconds since 1970, in order.
    """

    def __init__(self, stretches: Sequence[tuple[float, float]]) -> None:
        self.stretches = list(stretches)
        gap = min(GAP_SHARE, 0.3 / max(1, len(self.stretches) - 1))
        total = sum(stop - start for start, stop in self.stretches) or 1.0
        self._scale = (1.0 - gap * (len(self.stretches) - 1)) / total
        self._places = []
        place = 0.0
        for start, stop in self.stretches:
            self._places.append(place)
            place += (stop - start) * self._scale + gap
        self._starts = [start for start, _ in self.stretches]

    def __call__(self, at: float) -> float:
        """Return where a time lies; one in a pause lies at the pause's beginning."""
        number = max(0, bisect_right(self._starts, at) - 1)
        start, stop = self.stretches[number]
        return self._places[number] + (min(max(at, start), stop) - start) * self._scale

    @property
    def worked_s(self) -> float:
        """Seconds without the pauses."""
        return sum(stop - start for start, stop in self.stretches)

    def worked_before(self, at: float) -> float:
        """Return the seconds up to a time, without the pauses."""
        return sum(max(0.0, min(at, stop) - start) for start, stop in self.stretches)

    def pauses(self) -> list[tuple[float, float, float]]:
        """Return where each pause begins and ends, and its seconds."""
        return [
            (self(before[1]), place, after[0] - before[1])
            for (before, after), place in zip(pairwise(self.stretches), self._places[1:], strict=True)
        ]


def axis_of(spans: Sequence[Span]) -> Axis:
    """Return the axis of spans that are sorted by their start."""
    stretches: list[tuple[float, float]] = []
    start, stop = spans[0].start, spans[0].stop
    worked = 0.0
    for span in spans:
        if span.start - stop > max(LEAST_PAUSE_S, PAUSE_SHARE * (worked + stop - start)):
            stretches.append((start, stop))
            worked += stop - start
            start, stop = span.start, span.stop
        stop = max(stop, span.stop)
    return Axis([*stretches, (start, stop)])


def progress(spans: Iterable[Span]) -> list[tuple[float, int]]:
    """Return the rows done by time, of scripts the tasks: at most `MOST_STEPS` steps, the last one exact."""
    ended = sorted((span.stop, 1 if span.rows is None else span.rows) for span in spans)
    every = math.ceil(len(ended) / MOST_STEPS)
    steps, done = [], 0
    for number, (at, count) in enumerate(ended, 1):
        done += count
        if number % every == 0 or number == len(ended):
            steps.append((at, done))
    return steps


class Mark(NamedTuple):
    """Tasks that a lane shows as one."""

    lane: int
    start: float
    stop: float
    tasks: int
    rows: int | None
    """None of scripts: nobody counts their rows."""
    rank: int
    """Of the first of them."""
    retried: bool
    """It is a task that was tried more than once; such a one is never merged with others."""


class Lanes(NamedTuple):
    """The marks of a Gantt chart."""

    names: list[str]
    """Of the lanes; empty if they are groups of workers."""
    marks: list[Mark]
    merged_within_s: float
    """Tasks of a lane with less than this between them are one mark; 0 if each has its own."""


def lanes_of(spans: Sequence[Span], most: int = MOST_MARKS) -> Lanes:
    """Return a lane per worker, and marks on them, few enough to be seen.

    Parameters
    ----------
    spans : sequence of Span
        By their start.
    most : int
        Marks, at most, tasks that were tried more than once aside.
    """
    lanes = _assigned(spans)
    within = 0.0
    if len(spans) > most:
        gaps = sorted(
            (after.start - before.stop for lane in lanes.values() for before, after in pairwise(lane)), reverse=True
        )
        allowed = max(0, most - len(lanes))
        within = max(gaps[min(allowed, len(gaps) - 1)], 1e-3) if gaps else 1e-3
    marks = [mark for number, lane in enumerate(lanes.values()) for mark in _merged(number, lane, within)]
    return Lanes(list(lanes), marks, within)


def _assigned(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """Return the spans by lane; workers of one name that are at work at once get a lane each."""
    by_worker: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_worker[span.worker or "unnamed"].append(span)
    lanes: dict[str, list[Span]] = {}
    for worker, found in by_worker.items():
        free: list[tuple[float, str]] = []
        for span in found:
            if free and free[0][0] <= span.start + 1e-3:  # clocks have milliseconds
                _, name = heapq.heappop(free)
            else:
                name = f"{worker} ({len(free) + 1})" if free else worker
                lanes[name] = []
            lanes[name].append(span)
            heapq.heappush(free, (span.stop, name))
    return lanes


def _merged(number: int, lane: Sequence[Span], within: float) -> list[Mark]:
    marks: list[Mark] = []
    for span in lane:
        last = marks[-1] if marks else None
        retried = span.attempt > 1
        if within and last and not retried and not last.retried and span.start - last.stop <= within:
            rows = None if last.rows is None or span.rows is None else last.rows + span.rows
            marks[-1] = last._replace(stop=span.stop, tasks=last.tasks + 1, rows=rows)
        else:
            marks.append(Mark(number, span.start, span.stop, 1, span.rows, span.rank, retried))
    return marks


class Cell(NamedTuple):
    """How busy a group of workers was for a while."""

    group: int
    start: float
    """Along the axis, 0 to 1."""
    stop: float
    level: int
    """1 to 4: up to a quarter of the time, up to a half, and so on."""


def heat(spans: Sequence[Span], axis: Axis, groups: int = 12, columns: int = 48) -> tuple[list[Cell], list[int]]:
    """Return how busy the workers were, for more workers than lanes can show.

    Parameters
    ----------
    spans : sequence of Span
        By their start.
    axis : Axis
    groups, columns : int
        Of the picture.

    Returns
    -------
    cells, workers
        Neighbours of one level in one cell, none where nobody works; and the number of workers of each group, in the
        order in which they began.
    """
    lanes = list(_assigned(spans).values())
    bounds = [group * len(lanes) // groups for group in range(groups + 1)]
    cells: list[Cell] = []
    for group, (first, end) in enumerate(pairwise(bounds)):
        busy = [0.0] * columns
        for span in (span for lane in lanes[first:end] for span in lane):
            _spread(busy, axis(span.start) * columns, axis(span.stop) * columns)
        cells += _levels(group, [share / max(1, end - first) for share in busy])
    return cells, [end - first for first, end in pairwise(bounds)]


def _spread(busy: list[float], start: float, stop: float) -> None:
    for column in range(int(start), min(math.ceil(stop), len(busy))):
        busy[column] += max(0.0, min(stop, column + 1) - max(start, column))


def _levels(group: int, shares: Sequence[float]) -> list[Cell]:
    cells: list[Cell] = []
    for column, share in enumerate(shares):
        level = min(4, math.ceil(4 * share - 1e-9))
        start, stop = column / len(shares), (column + 1) / len(shares)
        if level and cells and cells[-1].level == level and math.isclose(cells[-1].stop, start):
            cells[-1] = cells[-1]._replace(stop=stop)
        elif level:
            cells.append(Cell(group, start, stop, level))
    return cells


def ticks(most: float, count: int = 5) -> list[float]:
    """Return round numbers from 0, at most `count` above it."""
    if most <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(most / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= most * (1 - 1e-9))
    return _steps(step, most)


def time_ticks(seconds: float, count: int = 6) -> list[float]:
    """Return round numbers of seconds, minutes, hours or days from 0, at most `count` above it."""
    least = seconds / count
    if least <= 1:
        return ticks(seconds, count)
    return _steps(next((step for step in _CLOCK_S if step >= least), math.ceil(least / 86_400) * 86_400), seconds)


def _steps(step: float, most: float) -> list[float]:
    return [number * step for number in range(int(most / step + 1e-9) + 1)]
