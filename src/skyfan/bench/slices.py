"""Which runs can share a figure: those that differ in what the figure is about, and in nothing else."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from skyfan.bench.axes import AXES, levels, size_of, size_text
from skyfan.bench.groups import Group, Origin, groups
from skyfan.bench.measurement import Measurement
from skyfan.bench.table import MARKS, described
from skyfan.wording import counted

MOST_ORIGINS = 4
"""Drawn in one figure; more cannot be told apart."""
NAMED = 5
"""Configurations without a place that a caption names."""

FIXED = ("data", "partition", "batch", "threads", "crew", "share")
FIXES_DATA = ("batch", "workers")
"""Along these axes the data do not differ, so that their content must not either."""


Lines = dict[Any, dict[Any, Group]]
"""Value of the line -> value along the axis -> group."""


class Selection(Struct, frozen=True):
    """Groups of one origin that differ in two things only."""

    origin: Origin
    mark: int
    fixed: dict[str, Any]
    x: str
    line: str
    lines: Lines
    omitted: dict[Any, tuple[Group, ...]]
    """Value of the line -> groups that would be on it, and of which another has the place."""

    @property
    def groups(self) -> list[Group]:
        """Those on the lines."""
        return [group for places in self.lines.values() for group in places.values()]

    @property
    def counted_as_one(self) -> list[tuple[float, float]]:
        """Least and greatest of the data sizes in GB that the lines take for one."""
        found: defaultdict[Any, set[float]] = defaultdict(set)
        for value, places in _long(self.lines):
            found[value if self.line == "data" else None] |= {group.data_gb or 0.0 for group in places.values()}
        return [(min(sizes), max(sizes)) for sizes in found.values() if len(sizes) > 1 and self.x != "data"]

    @property
    def without_place(self) -> list[Group]:
        """Groups that the lines would have, were it not for others."""
        return [group for value, _ in _long(self.lines) for group in self.omitted.get(value, ())]


class Runs:
    """The configurations that figures are made of.

    Parameters
    ----------
    measurements : iterable of Measurement
        Those that are not complete are in no figure.
    """

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        shown = [group for group in groups(measurements) if group.used or group.configuration.partitions]
        self.groups = [group for group in shown if group.used]
        self.origins = sorted({group.configuration.origin for group in shown})
        self.levels = levels(map(size_of, self.groups))
        self.resumed = any(run.complete for group in shown for run in group.left_out)

    def values(self, axis: str) -> list[Any]:
        """Return every value that complete runs have along an axis."""
        return sorted({self._along(axis, group) for group in self.groups} - {None})

    def select(self, x: str, line: str, fields: Sequence[str]) -> list[Selection]:
        """Return of each origin the groups that differ in `x` and `line` only, the largest such set.

        A line must have two values along the axis, of runs that know one of the fields.
        """
        fixed = [axis for axis in FIXED if axis not in {x, line} and not (x == "workers" and axis == "crew")]
        found: defaultdict[Origin, dict[tuple[Any, ...], list[tuple[Any, Any, Group]]]] = defaultdict(dict)
        for group in self.groups:
            along, of = self._along(x, group), AXES[line].of(group, self.levels)
            if along is not None and any(group.median(name) is not None for name in fields):
                key = tuple(AXES[axis].of(group, self.levels) for axis in fixed)
                found[group.configuration.origin].setdefault(key, []).append((of, along, group))
        chosen = []
        for origin, slices in found.items():
            drawn = {key: _lines(x, members) for key, members in slices.items()}
            key = max(drawn, key=lambda key: _worth(drawn[key][0]))
            if _worth(drawn[key][0])[0]:
                held = dict(zip(fixed, key, strict=True))
                chosen.append(Selection(origin, self.origins.index(origin), held, x, line, *drawn[key]))
        return sorted(chosen, key=lambda item: (-len(item.groups), item.mark))

    def why_not(self, x: str, fields: Sequence[str]) -> str:
        """Say why there is no figure along an axis."""
        values, axis = self.values(x), AXES[x]
        if not self.groups:
            if self.resumed:
                return "no run was done in one drive, so none has a wall clock to compare"
            return "no run is complete"
        if len(values) < 2:
            return f"all complete runs have the same {axis.noun}" if values else f"no run says its {axis.noun}"
        if not any(group.median(name) is not None for group in self.groups for name in fields):
            return "no complete run knows what it shows"
        return f"no two complete runs differ in the {axis.noun} alone"

    def _along(self, x: str, group: Group) -> Any:
        """Return where a group is along an axis; a data size is drawn as it is, and counted as no other."""
        return group.data_gb if x == "data" else AXES[x].of(group, self.levels)


def _lines(x: str, members: Sequence[tuple[Any, Any, Group]]) -> tuple[Lines, dict[Any, tuple[Group, ...]]]:
    """Return value of the line -> place on the axis -> group, and value of the line -> groups that have no place.

    Of groups that share a place the one with most runs has it. Where the axis is not about data, those of a line have
    the same content, as far as it is known.
    """
    found: defaultdict[Any, list[tuple[Any, Group]]] = defaultdict(list)
    for line, along, group in members:
        found[line].append((along, group))
    lines: Lines = {}
    omitted: dict[Any, tuple[Group, ...]] = {}
    for line, placed in sorted(found.items(), key=lambda item: item[0] or 0.0):
        usual, places = _usual_content(placed), dict[Any, Group]()
        for along, group in sorted(placed, key=lambda item: -len(item[1].used)):
            if x not in FIXES_DATA or group.configuration.content in {usual, ""}:
                places.setdefault(along, group)
        lines[line] = dict(sorted(places.items()))
        omitted[line] = tuple(group for along, group in placed if places.get(along) is not group)
    return lines, omitted


def _usual_content(placed: Sequence[tuple[Any, Group]]) -> str:
    """Return the content that most places of a line have."""
    places: defaultdict[str, set[Any]] = defaultdict(set)
    for along, group in placed:
        places[group.configuration.content].add(along)
    return max(places, key=lambda content: (content != "", len(places[content]), content))


def _long(lines: Lines) -> list[tuple[Any, dict[Any, Group]]]:
    """Return the lines that have two places or more: one point is no line."""
    return [(value, places) for value, places in lines.items() if len(places) > 1]


def _worth(lines: Lines) -> tuple[int, int]:
    """Return the lines that there are, and the places of all of them."""
    return len(_long(lines)), sum(len(places) for _, places in _long(lines))


def settled(selections: Sequence[Selection], most: int = MOST_ORIGINS) -> str:
    """Return what is held fixed, by whose runs, and what is not drawn, as sentences; so many of them are drawn."""
    lines = []
    shown = selections[:most]
    for selection in sorted(shown, key=lambda item: item.mark):
        values = [
            AXES[name].said(value)
            for name, value in selection.fixed.items()
            if value is not None and not (name == "share" and value == 1)
        ]
        whose = f"{MARKS[selection.mark % len(MARKS)]}: " if len(selections) > 1 else ""
        lines.append(f"{whose}{', '.join(values)}; {described(selection.origin)}.")
    return " ".join([*(line[:1].upper() + line[1:] for line in lines), *_unsaid(shown, len(selections) - len(shown))])


def _unsaid(shown: Sequence[Selection], more: int) -> list[str]:
    """Return what lines do not show: sizes that are counted as one, groups without a place, sets that are one more."""
    spans = [(size_text(low, 4), size_text(high, 4)) for item in shown for low, high in item.counted_as_one]
    merged = [f"{low} to {high}" for low, high in dict.fromkeys(spans) if low != high]
    lost = [group.used[0].run for item in shown for group in item.without_place]
    others = f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else ""
    found = [f"Data sizes counted as one: {', '.join(merged)}."] if merged else []
    if lost:
        found.append(f"Not drawn, since another configuration has its place: {', '.join(lost[:NAMED])}{others}.")
    return [*found, *([f"Not drawn: {counted(more, 'more set')} of runs."] if more else [])]
