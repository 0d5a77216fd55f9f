"""What configurations differ in, how its values are shown, and which data sizes are counted as one."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from msgspec import Struct

from skyfan.bench.groups import Group
from skyfan.bench.table import figure
from skyfan.wording import counted

MB_PER_GB = 1024
SPAN = 0.1  # of all sizes that are counted as one: else they would chain
NEAR = 0.05
"""Sizes that follow each other this closely are one: 21 files of 50 MB are the same data as 41 of 25 MB."""


class Size(NamedTuple):
    """Data of a whole run."""

    gb: float
    cut: Hashable
    """Whose runs, and the size of their partitions."""
    partitions: int


Levels = dict[Size, float]
"""Data of a group -> the size in GB that it is counted as, to be held against data in other partitions."""


class Axis(Struct, frozen=True):
    """Something that configurations differ in."""

    noun: str
    of: Callable[[Group, "Levels"], Any]
    shown: Callable[[Any], str]
    """A value, as a label."""
    said: Callable[[Any], str]
    """A value, in a sentence."""

    def labels(self, values: Iterable[Any]) -> dict[Any, str]:
        """Return a label for each value, each another one."""
        found = {value: f"{self.noun} not known" if value is None else self.shown(value) for value in values}
        digits = 3
        while self.shown is size_text and len(set(found.values())) < len(found):
            digits += 1
            found = {value: size_text(value, digits) for value in found}
        return found


def size_text(gb: float | None, digits: int = 3) -> str:
    """Return a data size as `12.6 GB` or `250 MB`."""
    if gb is None:
        return "size not known"
    return f"{figure(gb, digits)} GB" if gb >= 0.5 else f"{figure(gb * MB_PER_GB, digits)} MB"


def _mb_text(mb: float) -> str:
    return f"{figure(mb)} MB"


AXES: dict[str, Axis] = {
    "data": Axis(
        "data size",
        lambda group, levels: levels.get(size_of(group)),
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
        "threads per worker",
        lambda group, _: group.configuration.threads,
        str,
        lambda number: f"{counted(number, 'thread')} per worker",
    ),
    "crew": Axis("workers", lambda group, _: group.configuration.crew, str, lambda crew: f"workers: {crew}"),
    "workers": Axis(
        "number of workers",
        lambda group, _: group.configuration.workers or None,
        str,
        lambda number: counted(number, "worker"),
    ),
    "share": Axis(
        "partitions per task",
        lambda group, _: _share(group),
        figure,
        lambda share: f"{figure(share)} partitions per task",
    ),
}


def levels(sizes: Iterable[Size]) -> Levels:
    """Return for each data size the one that it is counted as: sizes that nearly follow each other are one.

    Other numbers of the same partitions never are: they were asked for as different ones.
    """
    clusters: list[list[Size]] = []
    for size in sorted({size for size in sizes if size.gb}, key=lambda size: size.gb):
        near = clusters and size.gb <= min(clusters[-1][-1].gb * (1 + NEAR), clusters[-1][0].gb * (1 + SPAN))
        if near and not any(size.cut == other.cut and size.partitions != other.partitions for other in clusters[-1]):
            clusters[-1].append(size)
        else:
            clusters.append([size])
    return {size: cluster[(len(cluster) - 1) // 2].gb for cluster in clusters for size in cluster}


def size_of(group: Group) -> Size:
    """Return the data of a group's runs."""
    wanted = group.configuration
    return Size(group.data_gb or 0.0, (wanted.origin, wanted.partition_mb), wanted.partitions)


def _share(group: Group) -> float | None:
    tasks = group.configuration.tasks
    return round(group.configuration.partitions / tasks, 1) if tasks else None
