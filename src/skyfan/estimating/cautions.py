"""What of a run will not go as it is planned: the limits that it would meet."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from skyfan.aws.forecast import EXPRESS_S
from skyfan.estimating.bill import CONTROL_MB
from skyfan.estimating.fleet import CHILDREN
from skyfan.estimating.memory import free_memory_mb
from skyfan.estimating.place import Cloud, Place
from skyfan.estimating.volume import Volume
from skyfan.host import usable_cores
from skyfan.wording import counted, duration

if TYPE_CHECKING:
    from skyfan.estimating.outlook import Outlook

LAMBDA_S = 900
"""Lambda ends an invocation then, and the state machine Initialize and Summarize."""
STACK_INFER_S, STACK_CONCURRENCY = 90, 500
"""InferTimeout and MaxConcurrency of a stack, unless it is deployed with others; a test holds them to the template."""
PLANNED_MB, PARTITION_MB = 40, 1.8e-3
"""What Initialize takes of ControlMemory: 218 MiB for 100,000 partitions (docs/measurements.md)."""
MACHINE_S = 86_400
"""TimeoutSeconds of the state machine."""
S3_GET_PER_S, S3_PUT_PER_S = 5_500, 3_500
"""Of a prefix, before S3 divides it; until it has, it answers 503 to some: by
repost.aws/knowledge-center/s3-object-key-naming-pattern."""
LATE = 2.0  # a task that takes so much longer than the largest should is still an ordinary one


def cautions(found: "Outlook", volume: Volume, place: Place) -> Iterator[str]:
    """Yield what will not go as planned, and what to do about it."""
    if found.largest_task_s * LATE > volume.task_timeout_s:
        yield (
            f"the largest task takes about {found.largest_task_s:.0f} s, and has {volume.task_timeout_s:.0f} s "
            "(task_timeout_s): give it more, or make smaller partitions, or a larger world_size"
        )
    if isinstance(place, Cloud):
        yield from _of_tasks(found, place)
        yield from _of_concurrency(found, volume, place)
        yield from _of_run(found)
    else:
        yield from _of_machine(found, volume)


def _of_tasks(found: "Outlook", place: Cloud) -> Iterator[str]:
    most_s = found.largest_task_s * found.factor
    advice = "make smaller partitions, or a larger world_size"
    if most_s > LAMBDA_S:
        yield f"the largest task may take {most_s:.0f} s, and Lambda ends it after {LAMBDA_S} s: {advice}"
    elif place.setup.children == "EXPRESS" and most_s > EXPRESS_S:
        yield (
            f"the largest task may take {most_s:.0f} s, and its EXPRESS child is ended after {EXPRESS_S} s: deploy "
            f"with --children STANDARD, or {advice}"
        )
    elif most_s > STACK_INFER_S:
        yield (
            f"the largest task may take {most_s:.0f} s, and a stack gives it {STACK_INFER_S} s unless deployed with "
            f"more, as in --set InferTimeout={min(LAMBDA_S, round(most_s * LATE))}"
        )
    peak = found.worker_peak_memory_mb
    if peak is None:
        yield "the memory of a worker was never measured for this model: 'skyfan profile' does"
    elif peak > place.setup.memory_mb:
        yield (
            f"a worker takes {peak:.0f} MiB, and has {place.setup.memory_mb} MB: give it more (--memory), or make "
            "smaller partitions"
        )


def _of_concurrency(found: "Outlook", volume: Volume, place: Cloud) -> Iterator[str]:
    asked = min(place.concurrency, volume.tasks)
    if asked > CHILDREN:
        yield f"{asked:,} tasks at a time are asked for; a Distributed Map starts {CHILDREN:,}, and the others wait"
    if min(asked, CHILDREN) > place.account_concurrency:
        yield (
            f"{asked:,} tasks at a time are asked for, and the account has {place.account_concurrency:,} Lambdas: the "
            "others wait, and those that are throttled for minutes fail: ask AWS for more, or limit the map"
        )
    if min(asked, place.account_concurrency) > STACK_CONCURRENCY:
        yield (
            f"a stack starts {STACK_CONCURRENCY} tasks at a time unless deployed with "
            f"--max-concurrency {min(asked, place.account_concurrency, CHILDREN)}"
        )
    starts_per_s = found.workers / found.task_s if found.task_s > 0 else 0.0
    if starts_per_s > S3_PUT_PER_S:
        yield (
            f"about {starts_per_s:,.0f} tasks start in a second, and a folder of S3 takes {S3_PUT_PER_S:,} PUT and "
            f"{S3_GET_PER_S:,} GET: expect it to ask for patience at first; larger tasks (world_size) avoid it"
        )


def _of_run(found: "Outlook") -> Iterator[str]:
    fewer = "make larger partitions, or give a world_size, or split the survey into several runs"
    for what, seconds in (("Initialize", found.initialize_s), ("Summarize", found.summarize_s)):
        if seconds > LAMBDA_S:
            yield f"{what} would take about {duration(seconds)}, and Lambda ends it after {LAMBDA_S} s: {fewer}"
    planned_mb = PLANNED_MB + found.partitions * PARTITION_MB
    if planned_mb > CONTROL_MB:
        yield (
            f"Initialize would take about {planned_mb:,.0f} MiB for {found.partitions:,} partitions, and a stack gives "
            f"it {CONTROL_MB:,} MB unless deployed with more (--set ControlMemory, 10240 at most): make larger "
            "partitions, or split the survey into several runs"
        )
    if found.whole_run_s.p90 > MACHINE_S:
        yield (
            f"the run may take {duration(found.whole_run_s.p90)}, and the state machine ends it after {MACHINE_S} s; "
            "running the payload again goes on: ask for more concurrency, or split the survey into several runs"
        )


def _of_machine(found: "Outlook", volume: Volume) -> Iterator[str]:
    cores = usable_cores()
    if found.workers * volume.threads > cores:
        yield (
            f"{found.workers} workers of {volume.threads} threads share {cores} cores, and wait for each other: more "
            f"than {max(1, cores // volume.threads)} workers are no faster"
        )
    peak = found.worker_peak_memory_mb
    if peak is None:
        yield "the memory of a worker was never measured for this model: 'skyfan profile' does"
        return
    left_mb = free_memory_mb()
    if left_mb is not None and found.workers * peak > left_mb:
        yield (
            f"{found.workers * peak:,.0f} MiB are needed by {counted(found.workers, 'worker')}, and this machine has "
            f"{left_mb:,.0f} left: give fewer workers, or smaller partitions"
        )
