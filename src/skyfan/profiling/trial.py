"""One way to run a model, tried for a while: fresh workers, kept busy with real tasks."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import structs

from skyfan.engines.base import Outcome, Work
from skyfan.engines.local import LocalEngine, default_workers
from skyfan.errors import InputError, RunFailedError, WorkerError
from skyfan.host import usable_cores
from skyfan.inference import predict_task
from skyfan.keys import RunKeys
from skyfan.measure import Meter
from skyfan.profiling.rates import row_s
from skyfan.storage import Store
from skyfan.task import Report, Task, decode_report, decode_task
from skyfan.wording import counted

MAX_BATCH = 1_000_000
MAX_THREADS = 256
MAX_PER_CORE = 16
"""Workers that are tried, for each core."""
MAX_WAYS = 200
RANKS_A_WORKER = 8
"""Parts that a worker of a trial writes before it writes over the first."""


@dataclass(frozen=True, order=True)
class Way:
    """One way to run a model."""

    threads: int
    """Of one worker."""
    workers: int
    """Side by side."""
    batch_size: int

    def __str__(self) -> str:
        sizes = f"{counted(self.threads, 'thread')}, {counted(self.workers, 'worker')}"
        return f"batch size {self.batch_size}, {sizes}"

    @property
    def crowding(self) -> float:
        """Threads by cores, 1 at least."""
        return max(1.0, self.threads * self.workers / usable_cores())


def plan_ways(
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    workers: Sequence[int] | None,
    at_once: int | None = None,
) -> list[Way]:
    """Return every combination once, in order; more workers than may be `at_once` are as many as may.

    Raises
    ------
    InputError
        If there is none, there are too many, or a number cannot be.
    """
    for name, values, most in (
        ("batch size", batch_sizes, MAX_BATCH),
        ("threads", threads, MAX_THREADS),
        ("workers", (1,) if workers is None else workers, MAX_PER_CORE * usable_cores()),
    ):
        if not values:
            raise InputError(f"{name}: got none; expected at least one number")
        for value in values:
            check_number(name, value, 1, most)
    ways = {
        Way(each, min(side, at_once or side), batch)
        for each in threads
        for side in ((1, default_workers(each)) if workers is None else workers)
        for batch in batch_sizes
    }
    if len(ways) > MAX_WAYS:
        raise InputError(f"{len(ways)} combinations of batch size, threads and workers; expected at most {MAX_WAYS}")
    return sorted(ways)


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Refuse a number that is not from `least` to `most`."""
    if not least <= value <= most:
        raise InputError(f"{name}: got {value:g}; expected {least:g} to {most:,.10g}")


@dataclass(frozen=True)
class Seen:
    """One task of a trial, as its worker and the driver saw it."""

    report: Report
    around_s: float
    """From handing it out to its answer, less the seconds that the report counts."""

    @property
    def warm(self) -> bool:
        return self.report.first_prediction_s is None


@dataclass(frozen=True)
class Ground:
    """Where the workers of trials read and write."""

    data: Store
    scratch: Store

    def engine(self, workers: int, timeout_s: float) -> LocalEngine:
        """Start fresh workers."""
        context = msgspec.json.encode((self.data.url, self.scratch.url)).decode()
        return LocalEngine(Work(f"{__name__}:trial_work", context), workers, timeout_s)


def trial_work(context: str) -> Callable[[bytes, int], bytes]:
    """Return what a worker does with a task: all that it does in a run, but for what it writes going elsewhere."""
    data_url, scratch_url = msgspec.json.decode(context, type=tuple[str, str])
    data, scratch = Store(data_url), Store(scratch_url)

    def work(item: bytes, attempt: int) -> bytes:
        task, meter = decode_task(item), Meter()
        bucket = scratch.bucket(task.bucket)
        report = predict_task(task, data.bucket(task.data_bucket), bucket, attempt, meter).encode()
        bucket.put(RunKeys(task.result_path).report(task.rank), report)
        return report

    return work


def run_trial(ground: Ground, workers: int, tasks: Sequence[Task], seconds: float, timeout_s: float) -> list[Seen]:
    """Keep fresh workers busy for a while, and return what they did.

    Parameters
    ----------
    ground : Ground
    workers : int
    tasks : sequence of Task
        In turn, as often as there is time.
    seconds : float
        After the first task's start (that of its process and loading the model left out) no task begins that counts.
        Until the last of them ends, other workers are given tasks that do not, so that it is not alone at the end.
    timeout_s : float
        For one task.

    Raises
    ------
    WorkerError
        If a worker dies, or takes too long.
    RunFailedError
        If a task fails in a way that will not pass.
    """
    seen: list[Seen] = []
    handed: list[float] = []
    with ground.engine(workers, timeout_s) as engine:

        def hand_out() -> int:
            number = len(handed)
            task = structs.replace(tasks[number % len(tasks)], rank=number % (RANKS_A_WORKER * workers))
            handed.append(time.perf_counter())
            engine.submit(number, 1, msgspec.json.encode(task))
            return number

        wanted = {hand_out() for _ in range(workers)}
        until = math.inf
        while wanted:
            for outcome in engine.wait(None):
                now = time.perf_counter()
                report = report_of(outcome)
                if outcome.number in wanted:
                    wanted.remove(outcome.number)
                    seen.append(Seen(report, now - handed[outcome.number] - report.seconds.total))
                until = min(until, now + seconds - report.seconds.total + report.seconds.model)
                number = hand_out() if wanted or now < until else -1
                if now < until:
                    wanted.add(number)
    return seen


def pilot(ground: Ground, tasks: Sequence[Task], seconds: float, timeout_s: float) -> float:
    """Return about how many rows a second one worker does, from tasks of more and more rows.

    It ends with the first that takes `seconds`, but for the very first, which is slow for reasons of its own.
    """
    speed = 0.0
    with ground.engine(1, timeout_s) as engine:
        for number, task in enumerate(tasks):
            engine.submit(number, 1, msgspec.json.encode(task))
            report = report_of(engine.wait(None)[0])
            speed = report.rows_out / max(row_s(report), 1e-6)
            if number and row_s(report) >= seconds:
                break
    return speed


def report_of(outcome: Outcome) -> Report:
    """Return the report of a task that was done; raise what ended it if it was not."""
    if outcome.error is not None:
        if outcome.error.may_pass:
            raise WorkerError(outcome.error.message)
        raise RunFailedError(outcome.error.message, outcome.error.exit_code)
    report = decode_report(outcome.result)
    if report is None:
        raise WorkerError("a worker answered with what is no report")
    return report
