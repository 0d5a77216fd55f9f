"""A sweep: what is asked for, every combination of it, and the order in which they are run."""

import random
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES
from skyfan.payload import DEFAULT_BATCH_SIZE
from skyfan.profiling.profile import Profile
from skyfan.survey import parse_size
from skyfan.wording import size

AWS = "aws"
HERE, SLURM = "local", "slurm"
"""Schedulers of Dask that start workers; any other is there, with its own."""
_LABEL = re.compile(r"[^A-Za-z0-9.]+", re.ASCII)

T = TypeVar("T")


class Sweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Every combination of the axes is a configuration."""

    name: str
    source: str
    """A survey, which is cut into partitions of each size; without sizes, `<bucket>/<prefix>` of partitions."""
    bucket: str
    """Of the runs, and of the model."""
    data_bucket: str
    result_path: str
    """Folder of the runs: `<result_path>/<configuration>/<repeat>`."""
    data_prefix: str
    """Folder of the partitions that are cut or repeated."""
    keys: dict[str, Any] = {}
    """Other keys of the payload, the same in all runs, as `model`."""
    engine: str = "local"
    place: dict[str, str] = {}
    """On AWS: `stack`, `region`, `profile`; with Dask: `scheduler`, `cluster_options`; as far as they are given."""
    ingest: dict[str, Any] = {}
    """What must be said of the survey, see `skyfan partition`."""

    partition_sizes: tuple[str, ...] = ()
    """As `25MB`."""
    data_sizes: tuple[str, ...] = ()
    """As `12.6GB`. Without sizes and files: the whole survey, once."""
    files: tuple[int, ...] = ()
    """Numbers of partitions, beside or instead of data sizes."""
    batch_sizes: tuple[int, ...] = (DEFAULT_BATCH_SIZE,)
    threads: tuple[int, ...] = (1,)
    workers: tuple[int, ...] = ()
    """On workers that are there already, as on AWS: tasks at a time. Without it: as many as fill this machine's cores;
    elsewhere as many as there are."""
    repeats: int = 3
    seed: int = 1
    """Of the order within a round."""

    @property
    def is_here(self) -> bool:
        """Whether the workers are processes of this machine."""
        return self.engine != AWS and self.place.get("scheduler", HERE) == HERE

    def tasks(self, files: int) -> int:
        """Return in how many tasks a run over so many partitions reads them."""
        return min(int(self.keys.get("world_size") or files), files)

    @property
    def starts_workers(self) -> bool:
        """Whether a run starts its workers, in the number that is asked for."""
        return self.is_here or self.place.get("scheduler") == SLURM


AXES = ("partition_sizes", "data_sizes", "files", "batch_sizes", "threads", "workers", "repeats", "seed")
"""What may be asked anew of a sweep that began: other combinations do not change what was measured of these."""


class Cut(Struct, frozen=True):
    """The partitions of one size, there or yet to be cut."""

    label: str
    """The size, or the folder's name, as it stands in the names of runs."""
    bytes: int
    """Of a partition: as asked for, or the median of those that are there."""
    rows: int | None
    """Of a whole partition; None if no index tells."""
    count: int
    """Of different content."""
    problem: str = ""
    """Why there can be none of that size."""


class Configuration(Struct, frozen=True):
    """One combination."""

    data: str
    """Label of its partitions."""
    files: int
    """Partitions; more than there are different ones are these repeated."""
    batch_size: int
    threads: int
    workers: int | None
    """None: as the engine has it."""

    @property
    def name(self) -> str:
        workers = "all" if self.workers is None else self.workers
        return f"{self.data}-{self.files}files-batch{self.batch_size}-threads{self.threads}-workers{workers}"


class Trial(Struct, frozen=True):
    """One run of one configuration."""

    configuration: Configuration
    repeat: int
    """From 1; also the round it belongs to."""

    @property
    def path(self) -> str:
        """Where it lies below the sweep's result path."""
        return f"{self.configuration.name}/{self.repeat}"


class Impossible(Struct, frozen=True):
    """A combination that cannot be run as what it says, and why."""

    configuration: str
    reason: str


class Plan(Struct, frozen=True):
    """What a sweep runs, in order."""

    cuts: tuple[Cut, ...]
    configurations: tuple[Configuration, ...]
    trials: tuple[Trial, ...]
    impossible: tuple[Impossible, ...]
    notes: tuple[str, ...]
    """What is worth knowing of configurations that are run."""

    def most_files(self, label: str) -> int:
        """Return the partitions of that size that its largest configuration reads; 0 if none does."""
        return max((item.files for item in self.configurations if item.data == label), default=0)


def label_of(text: str) -> str:
    """Return a size or a prefix as a name that can stand in any path: `25MB`, `surveys-25MB`."""
    return _LABEL.sub("-", text.strip()).strip("-.") or "data"


def plan_sweep(sweep: Sweep, cuts: Sequence[Cut], cores: int) -> Plan:
    """Combine what is asked for, and put the runs in order.

    A round has each configuration once, in an order of its own, and all rounds follow one another: a machine that
    is slow for a while is slow for all configurations alike.

    Parameters
    ----------
    sweep : Sweep
    cuts : sequence of Cut
        One per partition size.
    cores : int
        Of this machine, for workers that are not asked for by number.

    Raises
    ------
    InputError
        If a number is below 1, a size is none, or no combination can be run.
    """
    _check(sweep)
    configurations: dict[Configuration, None] = {}
    impossible: list[Impossible] = []
    notes: list[str] = []
    impossible += [Impossible(cut.label, cut.problem) for cut in cuts if cut.problem]
    for cut in (cut for cut in cuts if not cut.problem):
        axes = (_counts(sweep, cut, impossible, notes), _unique(sweep.batch_sizes), _unique(sweep.threads))
        for files, batch_size, threads in product(*axes):
            tasks = sweep.tasks(files)
            for workers in _unique(sweep.workers) or (_default_workers(sweep, threads, tasks, cores),):
                wanted = Configuration(cut.label, files, batch_size, threads, workers)
                reason = _why_not(wanted, cut, tasks)
                if reason:
                    impossible.append(Impossible(wanted.name, reason))
                else:
                    configurations[wanted] = None
    if not configurations:
        reasons = "; ".join(f"{item.configuration}: {item.reason}" for item in impossible[:5])
        raise InputError(
            f"sweep {sweep.name}: no combination can be run ({reasons}); expected one: ask for other sizes"
        )
    found = tuple(configurations)
    return Plan(tuple(cuts), found, _rounds(found, sweep), tuple(impossible), (*notes, *_crowded(sweep, found, cores)))


def expected_s(
    configuration: Configuration,
    cut: Cut,
    measured: Mapping[str, Sequence[float]],
    profile: Profile | None,
    *,
    tasks: int | None = None,
) -> float | None:
    """Return how long a run of a configuration takes, in seconds; None if nothing tells.

    Parameters
    ----------
    configuration : Configuration
    cut : Cut
        Its partitions.
    measured : mapping
        Wall clocks of runs, in seconds, by the name of their configuration.
    profile : Profile or None
        Of the model on this machine. All workers are taken for busy to the end, which the last tasks are not.
    tasks : int, optional
        In which it reads its partitions; by default one each.
    """
    if own := measured.get(configuration.name):
        return statistics.median(own)
    if profile is None or cut.rows is None:
        return None
    files, tasks = configuration.files, tasks or configuration.files
    workers = min(configuration.workers or tasks, tasks)
    point = profile.point(configuration.batch_size, configuration.threads, workers)
    file_s = cut.rows / point.rows_per_s + cut.bytes / MB_BYTES * profile.s_per_mb
    return profile.s_per_cold_start + (files * file_s + tasks * profile.s_per_task) / workers


def _check(sweep: Sweep) -> None:
    axes = {name: getattr(sweep, name) for name in ("files", "batch_sizes", "threads", "workers")}
    for name, values in (axes | {"repeats": (sweep.repeats,)}).items():
        for value in values:
            if value < 1:
                raise InputError(f"sweep {sweep.name}: {name} has {value}; expected numbers of 1 or more")
    for name in ("batch_sizes", "threads"):
        if not axes[name]:
            raise InputError(f"sweep {sweep.name}: {name} is empty; expected one number or more")


def _counts(sweep: Sweep, cut: Cut, impossible: list[Impossible], notes: list[str]) -> list[int]:
    """Return the numbers of partitions that are asked for, each once."""
    counts: dict[int, str] = {}
    asked = [(f"{files} files", files) for files in sweep.files]
    asked += [(text, _files_of(text, cut)) for text in sweep.data_sizes]
    for text, files in asked or [("all", cut.count)]:
        if not files:
            impossible.append(Impossible(f"{cut.label}, {text}", f"less than half a partition of {size(cut.bytes)}"))
        elif files in counts:
            if text != counts[files]:
                notes.append(f"{cut.label}: {counts[files]} and {text} are both {files} partitions: they are run once")
        else:
            counts[files] = text
    return list(counts)


def _files_of(text: str, cut: Cut) -> int:
    """Return the number of partitions nearest to a size: 516 of 25MB for 12.6GB, as in the original's table."""
    return round(parse_size(text) / cut.bytes)


def _default_workers(sweep: Sweep, threads: int, tasks: int, cores: int) -> int | None:
    return min(max(1, cores // threads), tasks) if sweep.is_here else None


def _why_not(wanted: Configuration, cut: Cut, tasks: int) -> str:
    """Say why a combination would be run as another one than it says; nothing if it would not."""
    if wanted.workers is not None and wanted.workers > tasks:
        return f"{wanted.workers} workers for {tasks} tasks: the others would not be started"
    if cut.rows is not None and wanted.batch_size > cut.rows:
        return f"a batch of {wanted.batch_size} rows, and a partition has {cut.rows}: no batch would be as large"
    return ""


def _rounds(configurations: Sequence[Configuration], sweep: Sweep) -> tuple[Trial, ...]:
    trials: list[Trial] = []
    for repeat in range(1, sweep.repeats + 1):
        order = list(configurations)
        random.Random(f"{sweep.seed}/{repeat}").shuffle(order)  # noqa: S311  an order, not a secret
        trials += [Trial(configuration, repeat) for configuration in order]
    return tuple(trials)


def _crowded(sweep: Sweep, configurations: Iterable[Configuration], cores: int) -> list[str]:
    """Say where workers have to share cores; it can be measured, but is seldom what is meant."""
    if not sweep.is_here:
        return []
    wanted = {(item.workers or 1, item.threads) for item in configurations}
    return [
        f"{workers} x {threads} threads (workers x threads) are more than the {cores} cores here: they share them"
        for workers, threads in sorted(wanted)
        if workers * threads > cores
    ]


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
