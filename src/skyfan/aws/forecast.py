"""What a run on a stack will cost, at which speed that is reckoned, and whether its tasks fit into their time."""

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct

from skyfan.aws.ledger import INIT_S, Configuration
from skyfan.estimating.bill import MB_BYTES, Estimate, Job, Setup, Speed, estimated_run
from skyfan.keys import RunKeys
from skyfan.models import DEFAULT
from skyfan.planning import Plan
from skyfan.prices import DEFAULT_REGION, Prices, age_warning, load_prices, shipped
from skyfan.profiling.rates import rates_of, row_s
from skyfan.storage import Bucket
from skyfan.task import Report, Task, decode_report

MEASURED_ON = "2026-11-24"
MEASURED_ROWS_PER_S = 799.2
"""photoz-sim-2, int8, one thread of an AMD EPYC: benchmarks/results/2026-11-24-photoz.json, images_per_s_one_thread."""
ASSUMED = Speed(s_per_row=1 / MEASURED_ROWS_PER_S, s_per_mb=0.02, s_per_task=0.1, s_per_cold_start=INIT_S + 0.3)
"""For what was never run: all but the rows is assumed, not measured on AWS."""
FULL_CORE_MB = 1769
"""Memory with which a function has one whole core. With less it is slower in proportion; a worker uses no more."""

SPREAD_SEEN = 1.3  # for a speed that this very run's tasks had
SPREAD_SHIPPED = 2.0  # for the model that was measured, on another processor
SPREAD_UNKNOWN = 4.0  # for a model that was never measured

SAMPLE = 50
"""Reports that an earlier drive's speed is taken from."""
ROW_BYTES = 20_520
"""Of a row of the survey that the shipped model is for; where no index counts rows, bytes have to."""
PART_ROW_BYTES = 350
"""Of a row of the shipped model's catalogue."""
EXPRESS_S = 300
"""Step Functions ends an EXPRESS child then, with all its attempts."""


class Forecast(Struct, frozen=True):
    """What is known of a run before it starts."""

    estimate: Estimate
    basis: tuple[str, ...]
    warnings: tuple[str, ...]


def forecast(plan: Plan, bucket: Bucket, configuration: Configuration, prices: Prices) -> Forecast:
    """Reckon what the tasks of a plan that are to do will cost.

    Parameters
    ----------
    plan : Plan
        With at least one task to do.
    bucket : Bucket
        Of the run: reports of tasks that are done tell its speed.
    configuration : Configuration
    prices : Prices
    """
    reports = list(_sample(plan, bucket))
    speed, spread, basis = _speed(reports, plan.pending[0], configuration)
    job = _job(plan, reports)
    setup = Setup(
        memory_mb=configuration.memory_mb["infer"],
        control_memory_mb=configuration.memory_mb["initialize"],
        architecture=configuration.architecture,
        ephemeral_mb=configuration.ephemeral_mb,
        children=configuration.children,
    )
    cold = min(plan.payload.max_concurrency or configuration.max_concurrency, configuration.max_concurrency)
    estimate = estimated_run(job, speed, setup, prices, cold_workers=cold, spread=spread)
    counted_by = [] if plan.rows is not None else ["rows are reckoned from bytes: there is no index"]
    basis = [*basis, *counted_by, "without tasks that are tried again, and without storage"]
    return Forecast(estimate, tuple(basis), tuple(_warnings(plan, configuration, speed, job)))


def prices_of(region: str, *, strict: bool) -> tuple[Prices, list[str]]:
    """Return the prices of a region, else those of `us-east-1`, and what is to be said of them: that, and their age.

    Raises
    ------
    InputError
        If there are none of that region, and `strict`: a limit in money is not held by another region's prices. If its
        list is damaged.
    """
    notes = []
    if strict or region in shipped():
        prices = load_prices(region)
    else:
        prices = load_prices()
        notes.append(f"there is no price list for {region}: reckoned with the prices of {DEFAULT_REGION}")
    old = age_warning(prices.region, prices.read_in)
    return prices, [*notes, *([old] if old else [])]


def _sample(plan: Plan, bucket: Bucket) -> Iterator[Report]:
    keys = RunKeys(plan.payload.result_path)
    found = bucket.get_many(keys.report(rank) for rank in islice(plan.done, SAMPLE))
    return (
        report for report in map(decode_report, found) if report is not None and report.rows_out and row_s(report) > 0
    )


def _speed(reports: Sequence[Report], first: Task, configuration: Configuration) -> tuple[Speed, float, list[str]]:
    """Return a worker's speed, how far it may be off, and where it comes from."""
    if reports:
        said = f"speed as in {len(reports)} tasks of this run that are done, give or take a factor of {SPREAD_SEEN}"
        return _seen(reports), SPREAD_SEEN, [said]
    memory_mb = configuration.memory_mb["infer"]
    slower = max(1.0, FULL_CORE_MB / memory_mb)
    speed = Speed(
        s_per_row=ASSUMED.s_per_row * slower,
        s_per_mb=ASSUMED.s_per_mb * slower,
        s_per_task=ASSUMED.s_per_task * slower,
        s_per_cold_start=ASSUMED.s_per_cold_start * slower,
    )
    shipped = first.program.name == DEFAULT
    spread = SPREAD_SHIPPED if shipped else SPREAD_UNKNOWN
    model = "" if shipped else f", which is not {first.program.name}"
    return (
        speed,
        spread,
        [
            f"speed of {DEFAULT}{model}: {MEASURED_ROWS_PER_S:.0f} rows/s on one x86 core, measured on {MEASURED_ON}"
            + (f"; {memory_mb} MB have 1/{slower:.1f} of a core" if slower > 1 else ""),
            f"start-up and transfer are assumed, not measured on AWS: it may be off by a factor of {spread:.0f}",
        ],
    )


def _seen(reports: Sequence[Report]) -> Speed:
    rates = rates_of(reports)
    to_load = ASSUMED.s_per_cold_start if rates.s_to_load is None else rates.s_to_load
    return Speed(
        s_per_row=rates.s_per_row,
        s_per_mb=rates.s_per_mb,
        s_per_task=rates.s_per_task,
        s_per_cold_start=INIT_S + to_load,
    )


def _job(plan: Plan, reports: Sequence[Report]) -> Job:
    pending = plan.pending
    row_bytes = _row_bytes(reports)
    rows = sum(round(task.size_bytes / row_bytes) if task.rows is None else task.rows for task in pending)
    return Job(
        tasks=len(pending),
        partitions=sum(len(task.partitions) for task in pending),
        rows=rows,
        bytes_in=sum(task.size_bytes for task in pending),
        bytes_out=rows * PART_ROW_BYTES,
        model_in_bucket=pending[0].program.name.endswith(".onnx"),
    )


def _row_bytes(reports: Sequence[Report]) -> float:
    return rates_of(reports).row_bytes if reports else ROW_BYTES


def _warnings(plan: Plan, configuration: Configuration, speed: Speed, job: Job) -> Iterator[str]:
    """Warn of tasks that will not end in the time that they have."""
    largest = max(task.size_bytes for task in plan.pending) / job.bytes_in if job.bytes_in else 0.0
    work_s = largest * (job.rows * speed.s_per_row + job.bytes_in / MB_BYTES * speed.s_per_mb) + speed.s_per_task
    given_s = plan.payload.task_timeout_s
    usual_s = min(given_s, configuration.infer_timeout_s)
    if work_s > usual_s:
        yield (
            f"the largest task will take about {work_s:.0f} s, and a worker has {usual_s:.0f} s (task_timeout_s and "
            "the stack's InferTimeout): make smaller partitions, give a larger world_size, or deploy with more time"
        )
    # the longest way that is likely: all the time of the usual worker, then of the larger one
    longest_s = usual_s + min(given_s, configuration.infer_large_timeout_s)
    longest_s = max(longest_s, plan.payload.max_attempts * work_s)
    yield from outlasting(longest_s, configuration)


def outlasting(longest_s: float, configuration: Configuration) -> Iterator[str]:
    """Warn of a task that may, with all its attempts, take longer than its child."""
    if configuration.children == "EXPRESS" and longest_s > EXPRESS_S:
        yield (
            f"a task may take {longest_s:.0f} s with all its attempts, and its EXPRESS child is ended after "
            f"{EXPRESS_S} s: give a smaller task_timeout_s, or deploy with ChildExecutionType STANDARD"
        )
