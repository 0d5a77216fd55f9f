"""A map played through event by event: who starts when, who waits, who is tried again, and when the last one ends.

Nothing runs and nothing is asked: seconds go in, seconds come out, and the same seed gives the same answer.
"""

import heapq
import math
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from skyfan.errors import InputError
from skyfan.estimating.attempts import Chains, Failures
from skyfan.estimating.fleet import Fleet, Lambdas, Workers

MOST_EXACT = 1_000_000
"""Tasks that are played through one by one; of more, the middle of the map is reckoned, see `simulate`."""
ROUNDS = 10
"""So often every worker is played through, at least, before and after what is reckoned."""
CURVE_POINTS = 200
SLOWEST = 5

Floats = NDArray[np.float64]


class Work(Struct, frozen=True, kw_only=True):
    """What there is to do, and how unevenly it goes."""

    task_s: tuple[float, ...]
    """Mean seconds of each task in a worker that is up, in the order of the map; repeated until there are `tasks`."""
    tasks: int
    spread: float = 0.0
    """Standard deviation of ln(seconds), of tasks and cold starts: they are log-normal about their mean."""
    straggler_share: float = 0.0
    """Of tasks that take `straggler_factor` times as long."""
    straggler_factor: float = 1.0
    failure_share: float = 0.0
    """Of attempts that fail in a way that can pass, each after some random part of its seconds."""
    max_attempts: int = 3
    initialize_s: float = 0.0
    summarize_s: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.straggler_share, self.failure_share)
        lengths = (*self.task_s, self.spread, self.straggler_factor, self.initialize_s, self.summarize_s)
        if not self.task_s or not 1 <= self.tasks <= 10**12 or self.max_attempts < 1:
            raise InputError(f"simulation: got {self.tasks} tasks; expected 1 to 10^12, and seconds of at least one")
        if not all(0 <= share < 1 for share in shares) or not all(0 <= length < math.inf for length in lengths):
            raise InputError(
                "simulation: got a share or a length that cannot be; expected shares of 0 to 1, seconds >= 0"
            )

    def scaled(self, factor: float) -> "Work":
        """Return the same work at another speed."""
        return structs.replace(
            self,
            task_s=tuple(seconds * factor for seconds in self.task_s),
            initialize_s=self.initialize_s * factor,
            summarize_s=self.summarize_s * factor,
        )


class Slow(Struct, frozen=True):
    """One of the slowest tasks."""

    number: int
    """In the order of the map, from 0, of those that were played through."""
    seconds: float
    """From its start to its end, with its worker's cold start."""
    cold: bool


class Simulated(Struct, frozen=True, kw_only=True):
    """How it went."""

    map_s: float
    """From the first start to the last end."""
    run_s: float
    """With Initialize and Summarize."""
    started: int
    """Workers that came up, each with a cold start."""
    busy_s: float
    """Worker-seconds of work, cold starts and failed attempts: what Lambda bills as duration."""
    utilisation: float
    """Of the workers that came up, over the map."""
    retries: int
    failed: int
    """Tasks that failed as often as they may be tried."""
    peak: int
    """Tasks under way at once, at most."""
    curve: tuple[tuple[float, int], ...]
    """(seconds since the map began, tasks under way), at even distances."""
    slowest: tuple[Slow, ...]
    played: int
    """Tasks that were played through; fewer than there are if the middle was reckoned."""


@dataclass(frozen=True)
class _Slots:
    """Where tasks run."""

    opens: list[float]
    """When each may be used at the earliest."""
    cold_s: list[float]
    """That its first task takes longer."""
    gap_s: float
    """Between two starts, at least."""
    at_once: bool
    """All come up when the map begins, rather than each when it is first needed."""


@dataclass
class _Played:
    """What was seen."""

    number: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    cold: list[bool] = field(default_factory=list)
    waited_s: float = 0.0
    """Between the attempts of one task, in which its slot was kept but nothing ran."""
    retries: int = 0
    failed: int = 0


def simulate(work: Work, fleet: Fleet, seed: int = 0, *, most: int = MOST_EXACT) -> Simulated:
    """Play a run through.

    Tasks start in their order, each as soon as a worker is free for it; one that is up is taken before a new one. Of
    more than `most` tasks the middle of the map is left out: once all workers are up, and until the last ones start,
    they are all busy, so that N tasks more take N x mean / workers seconds more. What that costs in accuracy is in
    docs/scale.md, and a test.

    Parameters
    ----------
    work : Work
    fleet : Workers or Lambdas
    seed : int
    most : int
        Tasks to be played through, more if the workers could not all be up by then.

    Raises
    ------
    InputError
        If there is no worker.
    """
    if fleet.slots < 1:
        raise InputError(f"simulation: got {fleet.slots} workers; expected 1 or more")
    slots = min(fleet.slots, work.tasks)
    opens = fleet.opens(slots)
    rng = np.random.default_rng(seed)
    count = min(work.tasks, _enough(work, slots, opens[-1], most))
    seconds = _seconds(work, count, rng)
    cold_s = (fleet.cold_start_s * _uneven(work, slots, rng)).tolist()
    places = _Slots(opens, cold_s, fleet.gap_s, at_once=isinstance(fleet, Workers))
    played, failures = _Played(), Failures(work.failure_share, work.max_attempts, rng)
    if isinstance(fleet, Lambdas):  # a child waits for its next attempt itself, in its own slot
        chains = Chains.of(seconds, failures)
        played = _Played(waited_s=chains.waited_s, retries=chains.retries, failed=chains.failed)
        seconds, failures = chains.seconds, replace(failures, share=0.0)
    _play(seconds.tolist(), places, failures, played)
    return _told(work, played, count, places)


def _enough(work: Work, slots: int, all_up_s: float, most: int) -> int:
    """Return how many tasks to play through: all workers must be up, and have been busy for some rounds."""
    mean_s = math.fsum(work.task_s) / len(work.task_s)
    by_then = all_up_s * slots / mean_s if mean_s > 0 else 0.0
    return max(most, min(work.tasks, math.ceil(by_then) + 2 * ROUNDS * slots))


def _uneven(work: Work, count: int, rng: np.random.Generator) -> Floats:
    """Return log-normal factors with a mean of 1, (count,)."""
    factors: Floats = np.exp(work.spread * rng.standard_normal(count) - work.spread**2 / 2)
    return factors


def _seconds(work: Work, count: int, rng: np.random.Generator) -> Floats:
    """Return the seconds of the tasks that are played through, (count,), taken evenly from all of them."""
    base = np.asarray(work.task_s)
    numbers = np.arange(count) * max(1.0, min(work.tasks, len(base)) / count)
    seconds: Floats = base[numbers.astype(np.int64) % len(base)] * _uneven(work, count, rng)
    seconds[rng.random(count) < work.straggler_share] *= work.straggler_factor
    return seconds


def _play(seconds: list[float], places: _Slots, failures: Failures, played: _Played) -> None:
    """Start every task as early as a worker, the driver and its own delay allow."""
    up: list[float] = []  # when each worker that is up falls idle
    delayed: list[tuple[float, int, int]] = []
    opens, cold_s, fresh, count, slots = places.opens, places.cold_s, 0, len(seconds), len(places.opens)
    driver = 0.0
    while fresh < count or delayed:
        idle = opens[len(up)] if len(up) < slots else math.inf
        at = max(driver, min(idle, up[0]) if up else idle)
        if delayed and (fresh == count or delayed[0][0] <= at):
            ready, number, attempt = heapq.heappop(delayed)
            at = max(at, ready)
        else:
            number, attempt = fresh, 1
            fresh += 1
        cold = not (up and up[0] <= at)
        part = failures.part() if failures.share else None
        begin = at
        if cold:
            begin = max(at, cold_s[len(up)]) if places.at_once else at + cold_s[len(up)]
        end = begin + seconds[number] * (1.0 if part is None else part)
        if cold:
            heapq.heappush(up, end)
        else:
            heapq.heapreplace(up, end)
        driver = at + places.gap_s
        played.number.append(number)
        played.start.append(at)
        played.end.append(end)
        played.cold.append(cold)
        if part is not None:
            if attempt == failures.max_attempts:
                played.failed += 1
            else:
                played.retries += 1
                heapq.heappush(delayed, (end + failures.delay_s(attempt), number, attempt + 1))


def _told(work: Work, played: _Played, count: int, places: _Slots) -> Simulated:
    """Sum up, with what the tasks that were left out add."""
    start, end, cold = np.array(played.start), np.array(played.end), np.array(played.cold)
    took = end - start
    left_out = work.tasks - count
    warm_s = float(took[~cold].sum()) / (count - int(cold.sum())) if left_out else 0.0  # failed attempts at it too
    slots = len(places.opens)
    more_s = left_out * max(warm_s / slots, places.gap_s * len(took) / count)
    by_task = work.tasks / count
    busy_s = float(took.sum()) + left_out * warm_s - played.waited_s * by_task
    map_s = float(end.max()) + more_s
    started = int(cold.sum())
    at = float(start[max(0, len(start) - ROUNDS * slots)])
    slowest = np.argsort(took)[::-1][:SLOWEST].tolist()
    curve = _curve(start, end, at, more_s)
    return Simulated(
        map_s=map_s,
        run_s=work.initialize_s + map_s + work.summarize_s,
        started=started,
        busy_s=busy_s,
        utilisation=min(1.0, busy_s / (started * map_s)) if map_s > 0 else 0.0,
        retries=round(played.retries * by_task),
        failed=round(played.failed * by_task),
        peak=_most(start, end),
        curve=curve,
        slowest=tuple(Slow(played.number[i], float(took[i]), played.cold[i]) for i in slowest),
        played=count,
    )


def _curve(start: Floats, end: Floats, at: float, more_s: float) -> tuple[tuple[float, int], ...]:
    """Return how many tasks are under way over time; what was left out stands still at `at` for `more_s`."""
    times = np.linspace(0.0, float(end.max()) + more_s, CURVE_POINTS)
    seen = np.where(times <= at, times, np.maximum(at, times - more_s))
    under_way = np.searchsorted(start, seen, "right") - np.searchsorted(np.sort(end), seen, "right")
    return tuple(zip(np.round(times, 3).tolist(), under_way.tolist(), strict=True))


def _most(start: Floats, end: Floats) -> int:
    """Return the most tasks under way at once; one that ends when another starts makes room for it."""
    change = np.concatenate([np.full(len(end), -1), np.ones(len(start), np.int64)])
    order = np.argsort(np.concatenate([end, start]), kind="stable")
    return int(np.cumsum(change[order]).max())
