"""Measures how fast a model is, and how much memory it takes: real workers do real tasks, one way after the other.

Each way to run a model (batch size, threads, workers) is measured in fresh worker processes, so that the peak memory is
its own, and every round measures each way once: a machine that is slow for a while is slow for all. What a worker does
is what it does in a run, by the same functions.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from skyfan.errors import InputError, RunFailedError, WorkerError
from skyfan.estimating.bill import MB_BYTES
from skyfan.host import usable_cores
from skyfan.partitions import PartitionRef
from skyfan.profiling.profile import Point, Profile, profile_of_reports
from skyfan.profiling.rates import row_s, spread_of
from skyfan.profiling.samples import BUCKET, Sample, SourceLike, refuse_script, take_sample
from skyfan.profiling.trial import Ground, Seen, Way, check_number, pilot, plan_ways, run_trial
from skyfan.runs import Run
from skyfan.task import Task
from skyfan.wording import counted

BATCH_SIZES = (16, 32, 64, 128)
THREADS = (1,)
SECONDS = 5.0
ROUNDS = 3

MAX_SECONDS = 3600.0
MAX_ROUNDS = 100

TASKS_A_TRIAL = 2
"""That a worker should come to: the first is cold."""
MOST_WHOLE = 8
"""Partitions of a payload that are read in turn."""
CUT_BYTES = 32 * MB_BYTES
"""Of a partition that is made to measure with, unless one batch is more."""
PILOT_ROWS = (8, 8, 32, 128, 512, 2048)
PILOT_BATCH = 32
PILOT_S = 0.2
BUSY = 0.5
"""Load average by cores, from which on others disturb."""
APART = 1.2
"""Factor between the rounds of a point from which they do not agree."""
PATIENCE_S = 60.0
PATIENCE = 10.0

Watch = Callable[[str], None]
"""Is told in words what goes on."""


def measure_profile(
    source: SourceLike = None,
    *,
    store: str | Path | None = None,
    model: str | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: Sequence[int] = THREADS,
    workers: Sequence[int] | None = None,
    at_once: int | None = None,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    watch: Watch = lambda said: None,
) -> Profile:
    """Measure a model on this machine.

    Parameters
    ----------
    source : payload, mapping, str, Path or None
        A payload, whose partitions are predicted, or a model, which gets random rows: an ONNX file, `<bucket>/<key>` of
        the store, or the name of one that ships with skyfan; by default the model of every payload that names none.
    store : str or Path, optional
        Root of the buckets; default `SKYFAN_STORE`, then `./skyfan-data`.
    model : str, optional
        Takes the place of the payload's.
    batch_sizes, threads, workers : sequence of int
        Every combination is measured. `workers` are processes side by side; default 1, and as many as fill the cores.
    at_once : int, optional
        Workers that may be side by side, at most.
    seconds : float
        About how long each combination is measured, over all rounds, once its workers are up.
    rounds : int
        Of which each measures every combination once.
    watch : callable
        Is told in words what goes on.

    Raises
    ------
    InputError
        If a number cannot be, or the model and the rows do not fit each other.
    SkyfanError
        If nothing could be measured.
    """
    ways = plan_ways(batch_sizes, threads, workers, at_once)
    check_number("seconds", seconds, 0.05, MAX_SECONDS)
    check_number("rounds", rounds, 1, MAX_ROUNDS)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="skyfan-profile-") as folder:
        sample = take_sample(source, store, model, Path(folder))
        ways, left_out = _fitting(ways, sample)
        sample.check()
        watch(f"{sample.model.name}: {counted(len(ways), 'point')}, {counted(rounds, 'round')}, {sample.says}")
        plan = _plan(sample, ways, seconds / rounds)
        trials, failed = _try_all(plan, rounds, watch)
    return _profile(plan, trials, [*sample.notes, *left_out, *_busy(load), *_notes(plan, trials), *failed])


def profile_of_run(run: Run) -> Profile:
    """Return the profile that the reports of a run tell; nothing is measured anew.

    Raises
    ------
    InputError
        If its tasks ran a script, none of them is done, or its reports do not tell; see
        `skyfan.profiling.profile.profile_of_reports`.
    """
    payload, tasks, summary = run.payload, len(run.tasks), run.summary
    refuse_script(payload, run.id)
    reports = list(run.reports())
    notes = []
    if summary is None or not summary.complete or len(reports) < tasks:
        notes.append(f"the run is not complete: of the {counted(len(reports), 'task')} of {tasks} that are done")
    data = f"{payload.data_bucket}/{payload.data_prefix}"
    return profile_of_reports(reports, data=data, notes=notes)


@dataclass(frozen=True)
class _Plan:
    """What is going to be tried."""

    sample: Sample
    ground: Ground
    tasks: Mapping[Way, list[Task]]
    share_s: float
    """Of a way in a round."""
    timeouts_s: Mapping[Way, float]
    whole: bool
    """Whether partitions are read as they are, where they lie."""


def _plan(sample: Sample, ways: Sequence[Way], share_s: float) -> _Plan:
    """Find out about how fast the model is, and make tasks of such a length that workers come to several."""
    scratch = Ground(sample.scratch, sample.scratch)
    most = max(1, int(CUT_BYTES / sample.row_bytes))
    sizes = [min(rows, sample.rows or rows, most) for rows in PILOT_ROWS]
    batch_size = min(PILOT_BATCH, *(way.batch_size for way in ways))
    tasks = [_task(sample, batch_size, 1, sample.cut(rows), BUCKET) for rows in sizes]
    rate = pilot(scratch, tasks, PILOT_S, PATIENCE * PATIENCE_S)
    wanted = {way: max(1, int(min(rate * share_s / TASKS_A_TRIAL / way.crowding, most))) for way in ways}
    whole = sample.rows is not None and sample.rows <= min(wanted.values())
    rows = {way: _whole_batches(wanted[way], way.batch_size, sample.rows) for way in ways}
    return _Plan(
        sample=sample,
        ground=Ground(sample.data, sample.scratch) if whole else scratch,
        tasks={way: _tasks(sample, way, None if whole else rows[way]) for way in ways},
        share_s=share_s,
        timeouts_s={way: PATIENCE_S + PATIENCE * max(share_s, rows[way] / rate * way.crowding) for way in ways},
        whole=whole,
    )


def _whole_batches(rows: int, batch_size: int, most: int | None) -> int:
    """Return about so many rows, in whole batches, of at most `most` rows."""
    return min(max(1, round(rows / batch_size)) * batch_size, most or rows + batch_size)


def _tasks(sample: Sample, way: Way, rows: int | None) -> list[Task]:
    """Return a task for each partition of the payload, or one for a partition of so many rows."""
    if rows is not None:
        return [_task(sample, way.batch_size, way.threads, sample.cut(rows), BUCKET)]
    refs = sample.whole[:MOST_WHOLE]
    return [_task(sample, way.batch_size, way.threads, ref, sample.data_bucket) for ref in refs]


def _task(sample: Sample, batch_size: int, threads: int, ref: PartitionRef, data_bucket: str) -> Task:
    return Task(
        rank=0,
        bucket=BUCKET,
        result_path="out",
        data_bucket=data_bucket,
        partitions=(ref,),
        model=sample.model,
        batch_size=batch_size,
        threads=threads,
    )


def _try_all(plan: _Plan, rounds: int, watch: Watch) -> tuple[dict[Way, list[list[Seen]]], list[str]]:
    """Try every way once a round; one that fails is given up, and said."""
    trials: dict[Way, list[list[Seen]]] = {way: [] for way in plan.tasks}
    failed: list[str] = []
    for number in range(1, rounds + 1):
        for way in list(trials):
            try:
                seen = run_trial(plan.ground, way.workers, plan.tasks[way], plan.share_s, plan.timeouts_s[way])
            except WorkerError as error:
                del trials[way]
                failed.append(f"{way}: not measured: {error}")
                watch(failed[-1])
                continue
            trials[way].append(seen)
            watch(f"round {number} of {rounds}: {way}: {_rows_per_s(seen):,.0f} rows/s per worker")
    if not trials:
        raise RunFailedError(f"nothing could be measured; {failed[0]}")
    return trials, failed


def _profile(plan: _Plan, trials: Mapping[Way, list[list[Seen]]], notes: Sequence[str]) -> Profile:
    by_way = {way: [seen for trial in some for seen in trial] for way, some in trials.items()}
    everything = [seen for some in by_way.values() for seen in some]
    calm = [seen for way, some in by_way.items() for seen in some if way.crowding == 1.0] or everything
    around = [seen.around_s for seen in calm if seen.warm]
    profile = profile_of_reports((seen.report for seen in calm), data=plan.sample.says, notes=notes)
    fetch_s = 0.0 if plan.whole else plan.sample.fetch_s_per_mb
    return structs.replace(
        profile,
        origin="measured",
        cores=usable_cores(),
        s_per_mb=round(profile.s_per_mb + fetch_s, 9),
        s_per_task=round(profile.s_per_task + max(0.0, statistics.median(around) if around else 0.0), 9),
        spread=round(spread_of([seen.report for seen in some] for some in by_way.values()), 6),
        points=tuple(_point(way, some) for way, some in trials.items()),
    )


def _point(way: Way, trials: Sequence[Sequence[Seen]]) -> Point:
    return Point(
        batch_size=way.batch_size,
        threads=way.threads,
        workers=way.workers,
        rows_per_s=round(statistics.median(map(_rows_per_s, trials)), 3),
        peak_memory_mb=max(seen.report.peak_memory_mb for trial in trials for seen in trial),
        rows=sum(seen.report.rows_out for trial in trials for seen in _used(trial)),
    )


def _used(trial: Sequence[Seen]) -> Sequence[Seen]:
    """Return the tasks of workers that were up; all, if there is none."""
    return [seen for seen in trial if seen.warm] or trial


def _rows_per_s(trial: Sequence[Seen]) -> float:
    used = _used(trial)
    return sum(seen.report.rows_out for seen in used) / max(sum(row_s(seen.report) for seen in used), 1e-9)


def _fitting(ways: Sequence[Way], sample: Sample) -> tuple[list[Way], list[str]]:
    """Leave out batch sizes that the partitions never fill: the model is given one partition's rows at most."""
    for way in ways:
        sample.check_batch(way.batch_size)
    if sample.rows is None:
        return list(ways), []
    fitting = [way for way in ways if way.batch_size <= sample.rows]
    if not fitting:
        raise InputError(
            f"batch size {min(way.batch_size for way in ways)}: is more than the {counted(sample.rows, 'row')} of the "
            f"first partition of {sample.says}, which a batch cannot pass; expected at most so many"
        )
    large = sorted({way.batch_size for way in ways} - {way.batch_size for way in fitting})
    says = f"are more than the {counted(sample.rows, 'row')} of a partition, which a batch cannot pass: not measured"
    return fitting, [f"batch sizes {', '.join(map(str, large))} {says}"] if large else []


def _busy(load: float) -> list[str]:
    """Say if the machine was kept busy before."""
    if load < BUSY * usable_cores():
        return []
    return [f"the machine was not idle before (load average {load:.1f} in the last minute): measure again when it is"]


def _notes(plan: _Plan, trials: Mapping[Way, list[list[Seen]]]) -> Iterator[str]:
    """Say what a reader of the numbers has to know."""
    crowded = sorted({way.threads * way.workers for way in trials if way.crowding > 1})
    if crowded:
        yield (
            f"points with {', '.join(map(str, crowded))} threads in all (threads x workers) on {usable_cores()} cores "
            "measure threads that wait for each other"
        )
    sample = plan.sample
    if sample.rows is not None and not plan.whole:
        fetched = ", fetching from one partition" if sample.data.is_server else ""
        yield f"measured on the first rows of the first partition, to keep to the seconds{fetched}"
    apart = [way for way, some in trials.items() if max(map(_rows_per_s, some)) > APART * min(map(_rows_per_s, some))]
    if apart:
        yield (
            f"the rounds of {len(apart)} of {counted(len(trials), 'point')} differ by a factor of more than {APART}: "
            "the machine did other work, or --seconds are too few; measure again before points are told apart"
        )
    cold = [str(way) for way, some in trials.items() if not any(seen.warm for trial in some for seen in trial)]
    if cold:
        yield f"too short for a second task of a worker, so that first batches are in it: {'; '.join(cold)}"[:480]
