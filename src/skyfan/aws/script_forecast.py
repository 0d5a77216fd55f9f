"""What script tasks on a stack will cost: as those of the run that are done, else by the time that they may take."""

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct

from skyfan.aws.forecast import SAMPLE, SPREAD_SEEN, Forecast, outlasting
from skyfan.aws.handlers import REPORTING_S
from skyfan.aws.ledger import CONTROL_CALLS, INIT_S, Configuration, Ledger, script_requests
from skyfan.aws.resolving import SCRIPT
from skyfan.cost import AwsUse, Cost, S3Use, StatesUse, billed_ms, billed_run, express_billed_ms
from skyfan.estimating.bill import (
    AROUND_STAGES,
    LOGGED_BYTES_PER_CALL,
    PARENT_STATES,
    Estimate,
    Job,
    Speed,
    stage_requests,
)
from skyfan.keys import RunKeys
from skyfan.planning import Plan
from skyfan.prices import Prices
from skyfan.storage import Bucket
from skyfan.task import Report, decode_report
from skyfan.wording import counted

MOST_INIT_S = 10.0
"""Of a cold start, before a function's time limit begins to count."""


class _Work(Struct, frozen=True):
    """What the workers would do for all tasks together."""

    attempts: int
    s_per_attempt: float


class _Reckoned(Struct, frozen=True, kw_only=True):
    """How much work there may be, and how that is known."""

    works: tuple[_Work, _Work, _Work]
    """At least, typically, at most."""
    spread: float
    longest_s: float
    """Of one task, with all its attempts."""
    basis: tuple[str, ...]


def script_forecast(plan: Plan, bucket: Bucket, configuration: Configuration, prices: Prices) -> Forecast:
    """Reckon what the script tasks of a plan that are to do will cost.

    How long a script takes nobody knows before it has run. Without a task that is done, the typical cost is that of
    tasks that all take the time that they may, and the highest that of tasks that do so with every attempt: it is an
    upper bound. The lowest is that of tasks that take none.

    Parameters
    ----------
    plan : Plan
        With at least one task to do.
    bucket : Bucket
        Of the run: reports of tasks that are done tell its speed.
    configuration : Configuration
        Of a stack with an image for scripts.
    prices : Prices
    """
    reports = list(_sample(plan, bucket))
    limit_s = _limit_s(plan, configuration)
    found = _as_before(reports, plan, limit_s) if reports else _at_most(plan, limit_s)
    low, typical, high = (_bill(plan, work, configuration, prices) for work in found.works)
    basis = (*found.basis, "without what scripts ask of S3 besides one read of each partition, and without storage")
    warnings = tuple(outlasting(found.longest_s, configuration))
    return Forecast(Estimate(low, typical, high, found.spread), basis, warnings)


def _as_before(reports: Sequence[Report], plan: Plan, limit_s: float) -> _Reckoned:
    """Reckon from tasks that are done: the time that they took, by bytes."""
    tasks, pending = len(plan.pending), [task.size_bytes for task in plan.pending]
    s_per_byte = _s_per_byte(reports)
    mean_s = min(limit_s, INIT_S + s_per_byte * sum(pending) / tasks)
    done = f"{counted(len(reports), 'task')} of this run that {'is' if len(reports) == 1 else 'are'} done"
    return _Reckoned(
        works=(_Work(tasks, mean_s / SPREAD_SEEN), _Work(tasks, mean_s), _Work(tasks, mean_s * SPREAD_SEEN)),
        spread=SPREAD_SEEN,
        longest_s=plan.payload.max_attempts * min(limit_s, SPREAD_SEEN * s_per_byte * max(pending)),
        basis=(f"time as in {done}, by bytes, give or take a factor of {SPREAD_SEEN}", "without tasks tried again"),
    )


def _at_most(plan: Plan, limit_s: float) -> _Reckoned:
    """Reckon with the time that tasks may take, since nothing else is known."""
    tasks, attempts = len(plan.pending), plan.payload.max_attempts
    around_s = MOST_INIT_S + REPORTING_S
    usual = (
        f"reckoned as if each task took all the time that it may, {limit_s:.0f} s with {around_s:.0f} at most for its "
        "start and its report"
    )
    most = f"the highest is an upper bound, with {counted(attempts, 'attempt')} a task that all take as long"
    return _Reckoned(
        works=(_Work(tasks, 0.0), _Work(tasks, limit_s), _Work(tasks * attempts, limit_s)),
        spread=float(attempts),
        longest_s=attempts * limit_s,
        basis=(
            f"how long the script takes is not known before a task of this run is done: {usual}",
            f"{most}: a smaller task_timeout_s lowers it",
        ),
    )


def _sample(plan: Plan, bucket: Bucket) -> Iterator[Report]:
    keys = RunKeys(plan.payload.result_path)
    found = bucket.get_many(keys.report(rank) for rank in islice(plan.done, SAMPLE))
    return (report for report in map(decode_report, found) if report is not None and report.seconds.total > 0)


def _limit_s(plan: Plan, configuration: Configuration) -> float:
    """Return the most that an attempt takes with its start and its report; a script is ended before its function is."""
    return MOST_INIT_S + min(plan.payload.task_timeout_s + REPORTING_S, configuration.script_timeout_s)


def _s_per_byte(reports: Sequence[Report]) -> float:
    size_bytes = sum(ref.bytes for report in reports for ref in report.partitions)
    return sum(report.seconds.total for report in reports) / max(1, size_bytes)


def _bill(plan: Plan, work: _Work, configuration: Configuration, prices: Prices) -> Cost:
    ledger, tasks = Ledger(configuration, prices, scripted=True), len(plan.pending)
    control_mb, control_ms = configuration.memory_mb["initialize"], billed_ms(1000 * Speed(s_per_row=0).s_ends)
    reads = work.attempts // tasks * sum(len(task.partitions) for task in plan.pending)
    job = Job(tasks=work.attempts, partitions=reads, rows=0, bytes_in=0, model_in_bucket=False)
    attempt_ms, express = 1000 * work.s_per_attempt, configuration.children == "EXPRESS"
    worker_mb, worker_ms = configuration.memory_mb[SCRIPT], work.attempts * billed_ms(attempt_ms)
    use = AwsUse(
        functions=(
            ledger.function(SCRIPT, worker_mb, work.attempts, worker_ms),
            ledger.function("initialize, summarize", control_mb, CONTROL_CALLS, control_ms),
        ),
        states=StatesUse(
            children=configuration.children,
            child_executions=tasks,
            parent_transitions=PARENT_STATES,
            child_transitions=0 if express else tasks + work.attempts,
            child_billed_ms=tasks * express_billed_ms(attempt_ms * work.attempts / tasks) if express else 0,
        ),
        s3=S3Use(requests=stage_requests(job, work.attempts) + script_requests(work.attempts) + AROUND_STAGES),
        logged_bytes=(work.attempts + CONTROL_CALLS) * LOGGED_BYTES_PER_CALL,
    )
    return billed_run(use, prices)
