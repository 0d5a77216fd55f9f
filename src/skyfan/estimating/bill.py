"""What a run on AWS will cost, from its plan, a measured speed and the configuration: arithmetic, nothing is asked."""

import math
from typing import Literal

from msgspec import Struct, structs

from skyfan.cost import (
    FREE_EPHEMERAL_MB,
    Architecture,
    AwsUse,
    Cost,
    LambdaUse,
    Requests,
    S3Use,
    StatesUse,
    billed_ms,
    billed_run,
    express_billed_ms,
)
from skyfan.errors import InputError
from skyfan.prices import Prices

MB_BYTES = 1024**2
PUT_PIECE_BYTES = 5 * MB_BYTES  # obstore stores a larger object in pieces of this size
CONTROL_MB = 1769
"""ControlMemory of a stack, unless it is deployed with another; a test holds it to the template."""
LIST_PAGE = 1000  # keys that S3 lists at once
PARENT_STATES = 6  # Initialize, AnythingPending, InferAll, Summarize, Verdict, Done
LOGGED_BYTES_PER_CALL = 1000  # START, END and REPORT lines; assumed, not measured

AROUND_STAGES = Requests(get=11, put=6, list=12)
"""Of the state machine itself: Initialize takes the lease (a PUT, listings), asks four times whether it has it still
(a listing and a GET each) and writes the tasks to do, the map reads them and writes its children's results (a manifest
and up to two lists), Summarize reads payload and manifest, asks twice for the lease and gives it up. By AWS's
documentation, not counted in a run."""


class Job(Struct, frozen=True, kw_only=True):
    """What a plan says of a run."""

    tasks: int
    """Still to do."""
    partitions: int
    """Of those tasks."""
    rows: int
    bytes_in: int
    bytes_out: int = 0
    """Of all parts; 0 if unknown: they then count as small."""
    model_in_bucket: bool = True
    """False for a model that comes with the function's package."""


class Speed(Struct, frozen=True, kw_only=True):
    """Seconds of one worker, as measured with the memory that is configured: that decides its share of a CPU."""

    s_per_row: float
    s_per_mb: float = 0.0
    """Fetching and hashing, by MiB of partitions."""
    s_per_task: float = 0.0
    """Whatever else a task takes: its reports, its part."""
    s_per_cold_start: float = 0.0
    """INIT, fetching and loading the model."""
    s_ends: float = 5.0
    """Initialize and Summarize together; assumed."""


class Setup(Struct, frozen=True, kw_only=True):
    """How the functions and the map are configured."""

    memory_mb: int
    control_memory_mb: int = CONTROL_MB
    """Of Initialize and Summarize."""
    architecture: Architecture = "x86_64"
    ephemeral_mb: int = FREE_EPHEMERAL_MB
    children: Literal["EXPRESS", "STANDARD"] = "EXPRESS"


class Estimate(Struct, frozen=True):
    """Three bills with the same lines."""

    low: Cost
    typical: Cost
    high: Cost
    spread: float
    """All seconds are divided by it for `low` and multiplied for `high`; nothing else differs."""


def estimated_run(
    job: Job, speed: Speed, setup: Setup, prices: Prices, *, cold_workers: int | None = None, spread: float = 1.5
) -> Estimate:
    """Return what a run will cost, without retries and without storage.

    Parameters
    ----------
    job : Job
    speed : Speed
    setup : Setup
    prices : Prices
    cold_workers : int, optional
        Workers that start anew; by default one for each task, the most there can be.
    spread : float
        How far seconds may be off, as a factor, 1 or more. It is the caller's: 1.5 is a guess, repeated runs of one
        payload tell better.

    Raises
    ------
    InputError
        If there is no task, or a number cannot be.
    """
    if job.tasks < 1 or not 1 <= spread < math.inf:
        raise InputError(
            f"estimate: got {job.tasks} tasks and a spread of {spread}; expected 1 or more of both: plan the run first"
        )
    cold = job.tasks if cold_workers is None else min(cold_workers, job.tasks)
    low, typical, high = (billed_run(_use(job, _at(speed, x), setup, cold), prices) for x in (1 / spread, 1.0, spread))
    return Estimate(low, typical, high, spread)


def stage_requests(job: Job, cold_workers: int) -> Requests:
    """Return the requests to S3 of a new run's three stages; tests hold the numbers against the stages themselves.

    Initialize asks for the claim, the manifest (twice, absent), the index, the model (to hash, to look at), the first
    partition (its size, its header's length, its header) and the listing; it writes claim and manifest, and deletes an
    old verdict (a POST, counted as a PUT). Infer asks for an earlier report, the model once a cold worker, and each
    partition by one request; it writes part and report. Summarize asks for every report and three listings; it writes
    `summary.json` and `combined_data.json`.
    """
    model = int(job.model_in_bucket)
    part_bytes = job.bytes_out / job.tasks
    initialize = Requests(get=4 + 2 * model + 3, put=3, list=_pages(job.partitions + 1))
    infer = Requests(get=job.tasks + cold_workers * model + job.partitions, put=job.tasks * (_puts(part_bytes) + 1))
    summarize = Requests(get=job.tasks, put=2, list=2 * _pages(job.tasks) + 1)
    return initialize + infer + summarize


def _at(speed: Speed, factor: float) -> Speed:
    return Speed(**{name: seconds * factor for name, seconds in structs.asdict(speed).items()})


def _use(job: Job, speed: Speed, setup: Setup, cold: int) -> AwsUse:
    work_s = job.rows * speed.s_per_row + job.bytes_in / MB_BYTES * speed.s_per_mb
    warm_ms = 1000 * (work_s / job.tasks + speed.s_per_task)
    init_ms = 1000 * speed.s_per_cold_start
    warm = job.tasks - cold
    infer = _function("infer", job.tasks, cold * billed_ms(warm_ms, init_ms) + warm * billed_ms(warm_ms), setup)
    ends = LambdaUse(
        name="initialize, summarize",
        memory_mb=setup.control_memory_mb,
        invocations=2,
        billed_ms=billed_ms(1000 * speed.s_ends),
        architecture=setup.architecture,
    )
    express = setup.children == "EXPRESS"
    child_ms = cold * express_billed_ms(warm_ms + init_ms) + warm * express_billed_ms(warm_ms)
    states = StatesUse(
        children=setup.children,
        child_executions=job.tasks,
        parent_transitions=PARENT_STATES,
        child_transitions=0 if express else 2 * job.tasks,  # each asks first whether there is a script
        child_billed_ms=child_ms if express else 0,
    )
    requests = stage_requests(job, cold) + AROUND_STAGES
    return AwsUse(
        functions=(infer, ends),
        states=states,
        s3=S3Use(requests=requests),
        logged_bytes=(job.tasks + 2) * LOGGED_BYTES_PER_CALL,
    )


def _function(name: str, invocations: int, milliseconds: int, setup: Setup) -> LambdaUse:
    return LambdaUse(
        name=name,
        memory_mb=setup.memory_mb,
        invocations=invocations,
        billed_ms=milliseconds,
        ephemeral_mb=setup.ephemeral_mb,
        architecture=setup.architecture,
    )


def _pages(objects: int) -> int:
    return max(1, math.ceil(objects / LIST_PAGE))


def _puts(size_bytes: float) -> int:
    """Return the requests that storing one object takes: a large one takes its pieces, a begin and an end."""
    return 1 if size_bytes <= PUT_PIECE_BYTES else math.ceil(size_bytes / PUT_PIECE_BYTES) + 2
