"""How fast a model is, and how much memory it takes: measured on a machine, or read from a run's reports."""

import itertools
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from skyfan.blob import is_file, write_whole
from skyfan.errors import InputError
from skyfan.estimating.bill import Speed
from skyfan.host import describe_host, usable_cores
from skyfan.profiling.rates import cold_start_s, only_model, rates_of, row_s, side_by_side, spread_of, versions_of
from skyfan.task import ModelRef, Report
from skyfan.wording import counted

SCHEMA = 1
MAX_POINTS, MAX_TEXT = 10_000, 500
MOST = 1e15
LEAST_ROWS_PER_S = 0.001  # to which rates are rounded
_AGAIN = "make it anew with 'skyfan profile --out'"


class Point(Struct, frozen=True, kw_only=True):
    """One way to run a model, measured."""

    batch_size: int
    threads: int
    """Of one worker."""
    workers: int
    """At work side by side while it was measured: they share the machine's memory bandwidth."""
    rows_per_s: float
    """Of one worker: rows by seconds of reading, predicting and writing, start-up left out; median of the rounds."""
    peak_memory_mb: float
    """Largest resident set of a worker process."""
    rows: int
    """Predicted in all, over which this was measured."""

    def __str__(self) -> str:
        sizes = f"{counted(self.threads, 'thread')}, {counted(self.workers, 'worker')}"
        return f"batch size {self.batch_size}, {sizes}"

    @property
    def rows_per_s_workers_sum(self) -> float:
        """Of all its workers: the sum of their rates, not a wall clock."""
        return self.rows_per_s * self.workers

    def unlike(self, batch_size: int, threads: int = 1, workers: int = 1) -> str:
        """Say how this point differs from what was asked for; nothing if it was measured so."""
        pairs = [
            ("batch size", self.batch_size, batch_size),
            ("threads", self.threads, threads),
            ("workers", self.workers, workers),
        ]
        said = [f"{name} {had}, not {asked}" for name, had, asked in pairs if had != asked]
        return f"measured with {', '.join(said)}" if said else ""


class Profile(Struct, frozen=True, kw_only=True):
    """What was measured of one model on one machine."""

    schema: int = SCHEMA
    model: ModelRef
    machine: str
    """As `skyfan.host.describe_host` says it; several joined by ' + '."""
    cores: int
    """That a process may use there; 0 if not known."""
    origin: Literal["measured", "reports"]
    """`measured` by `skyfan profile`, or taken from the reports of a run."""
    measured_at: str
    """UTC, ISO 8601."""
    data: str = ""
    """What rows it was measured on."""
    row_bytes: float
    """Bytes of a row in the partitions it was measured on."""
    s_per_mb: float
    """Opening (with a remote store: fetching) and hashing, by MiB of partitions."""
    s_per_task: float
    """Whatever else a task takes: reports, requests, handing out. From reports: without what follows the report."""
    s_per_cold_start: float
    """A new worker: starting the process, importing, loading the model, and what its first batch takes longer."""
    spread: float
    """Standard deviation of the natural logarithm of a task's seconds for equal work: 0.05 is about 5 %. 0 if fewer
    than two tasks were seen: then it is not known."""
    points: tuple[Point, ...]
    """In order of threads, workers and batch size."""
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    """What to know before these numbers are used."""

    def encode(self) -> bytes:
        """Return it as JSON, which `decode_profile` reads."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def point(self, batch_size: int, threads: int = 1, workers: int = 1) -> Point:
        """Return the point that was measured so, else the nearest; `Point.unlike` tells which of both it is.

        Nearest is first by threads, then by workers, then by batch size, each by its ratio; of two that are as near,
        the larger, which never promises too little memory.
        """

        def distance(point: Point) -> tuple[float, ...]:
            pairs = ((point.threads, threads), (point.workers, workers), (point.batch_size, batch_size))
            return (*(round(abs(math.log(had / asked)), 9) for had, asked in pairs), -point.batch_size)

        for name, value in (("batch_size", batch_size), ("threads", threads), ("workers", workers)):
            if value < 1:
                raise InputError(f"{name}: got {value}; expected 1 or more")
        return min(self.points, key=distance)

    @property
    def fastest(self) -> Point:
        """Return the point with the largest sum of its workers' rates."""
        return max(self.points, key=lambda point: (point.rows_per_s_workers_sum, -point.peak_memory_mb))

    @property
    def smallest(self) -> Point:
        """Return the point whose worker takes the least memory."""
        return min(self.points, key=lambda point: (point.peak_memory_mb, -point.rows_per_s_workers_sum))

    def thrifty(self, within: float = 0.05) -> Point:
        """Return the point of the least memory among those that are as fast as the fastest, give or take `within`."""
        fast = (1 - within) * self.fastest.rows_per_s_workers_sum
        enough = [point for point in self.points if point.rows_per_s_workers_sum >= fast]
        return min(enough, key=lambda point: (point.peak_memory_mb * point.workers, -point.rows_per_s_workers_sum))

    def speed(self, point: Point) -> Speed:
        """Return the seconds of one worker at a point, as `skyfan.estimating.bill` reckons with them."""
        return Speed(
            s_per_row=1 / point.rows_per_s,
            s_per_mb=self.s_per_mb,
            s_per_task=self.s_per_task,
            s_per_cold_start=self.s_per_cold_start,
        )


def profile_of_reports(reports: Iterable[Report], *, data: str = "", notes: Iterable[str] = ()) -> Profile:
    """Return the profile that a run's reports tell: a point for each (batch size, threads) of its tasks.

    Parameters
    ----------
    reports : iterable of Report
        Of tasks that are done, of one model; threads, batch size and machine are read from them.
    data : str
        What rows they are of, in words.
    notes : iterable of str
        Kept in the profile, before its own.

    Raises
    ------
    InputError
        If there is none with rows, they are of several models, or no worker's start can be seen.
    """
    given = list(reports)
    done = [report for report in given if _usable(report)]
    rates = rates_of(done)
    groups: defaultdict[tuple[int, int], list[Report]] = defaultdict(list)
    for report in done:
        groups[report.batch_size, report.threads].append(report)
    machines = sorted({report.machine for report in done if report.machine})
    machine = " + ".join(machines)
    notes = list(notes)
    if len(done) < len(given):
        notes.append(
            f"{len(given) - len(done)} of {len(given)} reports are left out: not done, or without rows or times"
        )
    if len(machines) > 1:
        notes.append(f"of several machines, whose speeds are mixed: {machine}")
    return Profile(
        model=only_model(done),
        machine=machine,
        cores=usable_cores() if machine == describe_host() else 0,
        origin="reports",
        measured_at=max(report.ended_at for report in done),
        data=data,
        row_bytes=round(rates.row_bytes, 3),
        s_per_mb=round(rates.s_per_mb, 9),
        s_per_task=round(rates.s_per_task, 9),
        s_per_cold_start=round(cold_start_s(done), 6),
        spread=round(spread_of(groups.values()), 6),
        points=tuple(_point(groups[key]) for key in sorted(groups, key=lambda key: (key[1], key[0]))),
        versions=versions_of(done),
        notes=tuple(notes),
    )


def decode_profile(data: bytes, name: str) -> Profile:
    """Decode what `Profile.encode` wrote.

    Raises
    ------
    InputError
        If it is no profile, one of another version, or has values that cannot be measured.
    """
    try:
        schema = msgspec.json.decode(data, type=_Version).schema
        if schema != SCHEMA:
            raise InputError(f"{name}: is a profile of schema {schema}; expected {SCHEMA}: {_AGAIN}")
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{name}: is not a profile ({error}); expected the JSON of one: {_AGAIN}") from error
    if fault := next(_faults(profile), None):
        raise InputError(f"{name}: {fault}; it was changed or damaged: {_AGAIN}")
    return profile


def load_profile(path: Path) -> Profile:
    """Read a profile's file.

    Raises
    ------
    InputError
        If it cannot be read, or is no profile.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"profile {path}: cannot be read ({error.strerror}); expected a file of 'skyfan profile --out'"
        ) from error
    return decode_profile(data, f"profile {path}")


def check_target(path: Path) -> None:
    """Check that a profile can be written there: over nothing, or over another profile.

    Raises
    ------
    InputError
        If it cannot.
    """
    if not path.parent.is_dir():
        raise InputError(f"profile {path}: there is no folder {path.parent}; make it, or name a file elsewhere")
    if os.path.lexists(path) and not is_file(path):
        raise InputError(f"profile {path}: is no file; expected a file, or nothing, there: name another")
    if is_file(path):
        try:
            load_profile(path)
        except InputError as error:
            raise InputError(f"{error}. It is not written over: name another file, or delete it") from error


def save_profile(profile: Profile, path: Path) -> None:
    """Write a profile's file whole or not at all.

    Raises
    ------
    InputError
        As `check_target`, or if it cannot be written.
    """
    check_target(path)
    try:
        write_whole(path, profile.encode())
    except OSError as error:
        raise InputError(f"profile {path}: cannot be written ({error.strerror}); name a file elsewhere") from error


class _Version(Struct):
    schema: int


def _faults(profile: Profile) -> Iterator[str]:
    """Yield what a profile that was measured cannot have."""
    if not 1 <= len(profile.points) <= MAX_POINTS:
        yield f"has {counted(len(profile.points), 'point')}; expected 1 to {MAX_POINTS:,}"
    for what in (profile, *profile.points):
        for field, value in structs.asdict(what).items():
            if isinstance(value, int | float) and not (0 <= value < MOST):
                yield f"{field} is {max(-MOST, min(value, MOST)):g}; expected 0 or more, and less than {MOST:g}"
    if profile.row_bytes < 1:
        yield f"row_bytes is {profile.row_bytes:g}; expected 1 or more"
    for point in profile.points:
        if min(point.batch_size, point.threads, point.workers, point.rows) < 1 or point.rows_per_s < LEAST_ROWS_PER_S:
            yield f"a point has a batch size, threads, workers or rows of 0, or rows_per_s below {LEAST_ROWS_PER_S}"
    texts = [profile.machine, profile.data, profile.model.name, profile.model.sha256, profile.measured_at]
    for text in itertools.chain(texts, profile.notes, *profile.versions.items()):
        if len(text) > MAX_TEXT or not text.isprintable():
            yield f"a text is longer than {MAX_TEXT} characters, or cannot be printed"


def _usable(report: Report) -> bool:
    ways = min(report.batch_size, report.threads, report.rows_out)
    return report.status == "ok" and ways > 0 and len(report.partitions) > 0 and row_s(report) > 0


def _point(group: Sequence[Report]) -> Point:
    warm = [report for report in group if report.first_prediction_s is None] or group
    return Point(
        batch_size=group[0].batch_size,
        threads=group[0].threads,
        workers=side_by_side(group),
        rows_per_s=round(sum(report.rows_out for report in warm) / sum(map(row_s, warm)), 3),
        peak_memory_mb=max(report.peak_memory_mb for report in group),
        rows=sum(report.rows_out for report in warm),
    )
