"""Which runs can share a figure: those that differ in what the figure is about, and in nothing else."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from skyfan.bench.groups import Group, Origin, groups
from skyfan.bench.measurement import Measurement
from skyfan.bench.table import MARKS, described, figure
from skyfan.wording import counted

MB_PER_GB = 1024
SPAN = 0.1  # of all sizes that are counted as one: else they would chain
NEAR = 0.05
"""Sizes that follow each other this closely are one: 21 files of 50 MB are the same data as 41 of 25 MB."""
MOST_ORIGINS = 4
"""Drawn in one figure; more cannot be told apart."""

Levels = dict[float, float]
"""Data size of a group in GB -> the size that it is counted as."""


class Axis(Struct, frozen=True):
    """Something that configurations differ in."""

    noun: str
    of: Callable[[Group, "Levels"], Any]
    shown: Callable[[Any], str]
    """A value, as a label."""
    said: Callable[[Any], str]
    """A value, in a sentence."""


def size_text(gb: float | None) -> str:
    """Return a data size as `12.6 GB` or `250 MB`."""
    if gb is None:
        return "size not known"
    return f"{figure(gb)} GB" if gb >= 0.5 else f"{figure(gb * MB_PER_GB)} MB"


def _mb_text(mb: float) -> str:
    return f"{figure(mb)} MB"


AXES: dict[str, Axis] = {
    "data": Axis(
        "data size",
        lambda group, levels: levels.get(group.data_gb or 0.0),
        size_text,
        lambda gb: f"{size_text(gb)} of data",
    ),
    "partition": Axis(
        "partition size",
        lambda group, _: group.configuration.partition_mb or None,
        _mb_text,
        lambda mb: f"partitions of {_mb_text(mb)}",
    ),
    "batch": Axis(
        "batch size",
        lambda group, _: group.configuration.batch_size or None,
        str,
        lambda rows: f"batches of {rows} rows",
    ),
    "threads": Axis(
        "threads of a worker",
        lambda group, _: group.configuration.threads,
        str,
        lambda number: f"{counted(number, 'thread')} a worker",
    ),
    "crew": Axis("workers", lambda group, _: group.configuration.crew, str, lambda crew: f"workers: {crew}"),
    "workers": Axis(
        "number of workers",
        lambda group, _: group.configuration.workers or None,
        str,
        lambda number: counted(number, "worker"),
    ),
    "share": Axis(
        "partitions a task", lambda group, _: _share(group), figure, lambda share: f"{figure(share)} partitions a task"
    ),
}
FIXED = ("data", "partition", "batch", "threads", "crew", "share")


class Selection(Struct, frozen=True):
    """Groups of one origin that differ in two things only."""

    origin: Origin
    mark: int
    fixed: dict[str, Any]
    members: tuple[tuple[Any, Any, Group], ...]
    """Value of the line, value along the axis, group."""


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
        self.levels = levels(group.data_gb for group in self.groups)

    def values(self, axis: str) -> list[Any]:
        """Return every value that complete runs have along an axis."""
        found = {AXES[axis].of(group, self.levels) for group in self.groups} - {None}
        return sorted(found)

    def select(self, x: str, line: str, fields: Sequence[str]) -> list[Selection]:
        """Return of each origin the groups that differ in `x` and `line` only, the largest such set.

        A line must have two values along the axis, of runs that know one of the fields.
        """
        fixed = [axis for axis in FIXED if axis not in {x, line} and not (x == "workers" and axis == "crew")]
        found: defaultdict[Origin, dict[tuple[Any, ...], list[tuple[Any, Any, Group]]]] = defaultdict(dict)
        for group in self.groups:
            along, of = AXES[x].of(group, self.levels), AXES[line].of(group, self.levels)
            if along is not None and any(group.median(name) is not None for name in fields):
                key = tuple(AXES[axis].of(group, self.levels) for axis in fixed)
                found[group.configuration.origin].setdefault(key, []).append((of, along, group))
        chosen = []
        for origin, slices in found.items():
            key, members = max(slices.items(), key=lambda item: _worth(item[1]))
            if _worth(members)[0]:
                settled = dict(zip(fixed, key, strict=True))
                chosen.append(Selection(origin, self.origins.index(origin), settled, tuple(members)))
        return sorted(chosen, key=lambda item: (-len(item.members), item.mark))[:MOST_ORIGINS]

    def why_not(self, x: str, fields: Sequence[str]) -> str:
        """Say why there is no figure along an axis."""
        values, axis = self.values(x), AXES[x]
        if not self.groups:
            return "no run is complete"
        if len(values) < 2:
            return f"all complete runs have the same {axis.noun}" if values else f"no run says its {axis.noun}"
        if not any(group.median(name) is not None for group in self.groups for name in fields):
            return "no complete run knows what it shows"
        return f"no two complete runs differ in the {axis.noun} alone"


def levels(sizes: Iterable[float | None]) -> Levels:
    """Return for each data size the one that it is counted as: sizes that nearly follow each other are one."""
    ordered = sorted({size for size in sizes if size})
    clusters: list[list[float]] = []
    for size in ordered:
        if clusters and size <= min(clusters[-1][-1] * (1 + NEAR), clusters[-1][0] * (1 + SPAN)):
            clusters[-1].append(size)
        else:
            clusters.append([size])
    return {size: cluster[(len(cluster) - 1) // 2] for cluster in clusters for size in cluster}


def _worth(members: Sequence[tuple[Any, Any, Group]]) -> tuple[int, int]:
    """Return the lines that have two values or more, and the values of all lines."""
    along: defaultdict[Any, set[Any]] = defaultdict(set)
    for line, x, _ in members:
        along[line].add(x)
    lines = [values for values in along.values() if len(values) > 1]
    return len(lines), sum(map(len, lines))


def _share(group: Group) -> float | None:
    tasks = group.configuration.tasks
    return round(group.configuration.partitions / tasks, 1) if tasks else None


def settled(selections: Sequence[Selection]) -> str:
    """Return what is held fixed, by whose runs, as sentences."""
    lines = []
    for selection in sorted(selections, key=lambda item: item.mark):
        values = [
            AXES[name].said(value)
            for name, value in selection.fixed.items()
            if value is not None and not (name == "share" and value == 1)
        ]
        whose = f"{MARKS[selection.mark % len(MARKS)]}: " if len(selections) > 1 else ""
        lines.append(f"{whose}{', '.join(values)}; {described(selection.origin)}.")
    return " ".join(line[:1].upper() + line[1:] for line in lines)
