"""A pilot on AWS: a few partitions of a payload, run on its stack with each memory that is to be compared."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from msgspec import structs

from skyfan import api, planning
from skyfan.aws import machine
from skyfan.aws.deploying import executions_under_way
from skyfan.aws.driver import drive
from skyfan.aws.forecast import forecast, prices_of
from skyfan.aws.ledger import Configuration
from skyfan.aws.session import Cloud, resolve_stack
from skyfan.aws.stack import Stack, describe_stack
from skyfan.claim import read_claim
from skyfan.cost import Architecture
from skyfan.errors import BudgetError, ClaimedError, InputError, RunFailedError, RunStoppedError, SkyfanError
from skyfan.host import LAMBDA
from skyfan.keys import RunKeys
from skyfan.payload import Payload
from skyfan.planning import Plan
from skyfan.profiling.profile import Profile, profile_of_reports
from skyfan.runs import Run
from skyfan.task import Report
from skyfan.tuning.asked import MEMORY_MB, Asked
from skyfan.tuning.found import Found
from skyfan.tuning.outcome import Ground
from skyfan.tuning.resizing import lent_memory
from skyfan.tuning.setting import FunctionKind, aws_settings
from skyfan.tuning.spending import Spending
from skyfan.wording import counted

BATCH_SIZES = (32, 64)
"""That are tried beside the payload's own: each is a run of its own."""

Watch = Callable[[str], None]
Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Trial:
    """One run of the pilot."""

    memory_mb: int
    payload: Payload

    def __str__(self) -> str:
        return f"{self.memory_mb:,} MB, batch size {self.payload.batch_size}, {counted(self.payload.threads, 'thread')}"


def pilot_on_aws(payload: api.PayloadLike, asked: Asked, *, watch: Watch, ask: Ask) -> Found:
    """Run a few partitions of a payload on its stack with each memory, and put the stack's memory back.

    Parameters
    ----------
    payload : Payload, mapping, str or Path
    asked : Asked
        With what memory, batch sizes and threads; and what the pilot may cost.
    watch : callable
        Is told in words what goes on.
    ask : callable
        Is asked, with the price, before anything is started or changed.

    Raises
    ------
    InputError
        If consent is not given, or executions of the stack are under way: that is looked at again before each change.
    ClaimedError
        If a run that is no pilot's lies where a pilot's results would.
    RunStoppedError
        If interrupted, while a run's bill is waited for too.
    BudgetError
        If it may cost more than allowed (exit code 2, nothing was started), or has.
    RunFailedError
        If a run of the pilot is not complete: it is no measure then.
    SkyfanError
        As `skyfan.aws.driver.drive`. Whatever happens, the stack's memory is put back.
    """
    cloud, name = Cloud(asked.region, asked.profile), resolve_stack(asked.stack)
    stack = describe_stack(cloud, name)
    place: dict[str, Any] = {"stack": name, "region": asked.region, "profile": asked.profile}
    whole = api.plan(payload, engine="aws", overwrite=True, model=asked.model, **place)
    trials = list(plan_trials(whole.payload, asked, stack))
    spending = Spending(asked.max_cost)
    _check_idle(cloud, stack, spending)
    _check_claims(cloud, trials)
    _consent(_forecast(cloud, stack, trials, asked), trials, stack, asked, ask=ask)
    reports: dict[int, list[Report]] = {}
    memory_mb = 0
    with lent_memory(cloud, stack, watch, profile=asked.profile) as lend:
        for trial in trials:
            if trial.memory_mb != memory_mb:  # before the first too: the question may have waited for long
                _check_idle(cloud, stack, spending)
                memory_mb = trial.memory_mb
                lend(memory_mb)
            watch(f"pilot: {trial}")
            reports.setdefault(trial.memory_mb, []).extend(_run(trial, cloud, stack, spending))
    architecture = cast("Architecture", stack.parameters["Architecture"])
    piloted = {(memory, architecture): _profile(memory, found) for memory, found in reports.items()}
    return _found(whole, piloted, asked, stack=stack, region=cloud.region, spending=spending)


def plan_trials(payload: Payload, asked: Asked, stack: Stack) -> Iterator[Trial]:
    """Yield the runs of a pilot, those with the memory that the stack has first.

    Half of a run's tasks are done by workers that are up: both kinds are to be seen. Its results lie beside the
    payload's own.
    """
    now = int(stack.parameters["InferMemory"])
    sizes = dict.fromkeys(asked.memory or MEMORY_MB)
    batch_sizes = sorted({*(asked.batch_sizes or BATCH_SIZES), payload.batch_size})
    threads = sorted({*(asked.threads or ()), payload.threads})
    partitions = min(asked.pilot_partitions, payload.file_limit or asked.pilot_partitions)
    for memory_mb in sorted(sizes, key=lambda size: (size != now, size)):
        for batch_size in batch_sizes:
            for each in threads:
                one = structs.replace(
                    payload,
                    file_limit=partitions,
                    world_size=None,
                    batch_size=batch_size,
                    threads=each,
                    max_concurrency=_half(partitions),
                    result_path=f"{payload.result_path}-pilot/{memory_mb}-{batch_size}-{each}",
                )
                yield Trial(memory_mb, one)


def _check_idle(cloud: Cloud, stack: Stack, spending: Spending) -> None:
    """Refuse to change a worker's memory under a run that is at work; the pilot's own have ended."""
    running = set(executions_under_way(cloud, stack)) - spending.executions
    if running:
        raise InputError(
            f"stack {stack.name}: {counted(len(running), 'execution')} under way, whose workers a pilot would change; "
            "expected none: wait for the end, or stop them; or give --no-pilot"
        )


def _check_claims(cloud: Cloud, trials: Sequence[Trial]) -> None:
    """Refuse to overwrite what is no pilot's."""
    for trial in trials:
        payload = trial.payload
        held = read_claim(cloud.store().bucket(payload.bucket), RunKeys(payload.result_path))
        if held is not None and not _is_pilot(held, payload):
            raise ClaimedError(
                f"{payload.run_id}: holds a run that is no pilot's, and a pilot would overwrite it; expected a free "
                "path, or an earlier pilot's: give the payload another result_path, or move that run away"
            )


def _is_pilot(held: Payload, own: Payload) -> bool:
    """Whether a claim is as `plan_trials` makes them, of any number of partitions."""
    limit = held.file_limit
    return (
        limit is not None
        and held.world_size is None
        and held.max_concurrency == _half(limit)
        and (held.batch_size, held.threads) == (own.batch_size, own.threads)
    )


def _half(partitions: int) -> int:
    return max(1, math.ceil(partitions / 2))


def _forecast(cloud: Cloud, stack: Stack, trials: Sequence[Trial], asked: Asked) -> tuple[Decimal, Decimal, list[str]]:
    """Return what the pilot will cost, and what it may, USD; and what is to be said of the prices."""
    prices, notes = prices_of(cloud.region, strict=asked.max_cost is not None)
    typical = high = Decimal(0)
    store = cloud.store()
    usual = Configuration.of(stack)
    for trial in trials:
        plan = planning.preview(trial.payload, store, overwrite=True)
        memory = {**usual.memory_mb, "infer": trial.memory_mb}
        bucket = store.bucket(trial.payload.bucket)
        estimate = forecast(plan, bucket, structs.replace(usual, memory_mb=memory), prices).estimate
        typical += estimate.typical.total_usd
        high += estimate.high.total_usd
    return typical, high, notes


def _consent(
    price: tuple[Decimal, Decimal, list[str]], trials: Sequence[Trial], stack: Stack, asked: Asked, *, ask: Ask
) -> None:
    typical, high, notes = price
    if asked.max_cost is not None and high > asked.max_cost:
        raise BudgetError(
            f"tune: the pilot may cost {high:.4f} USD (about {typical:.4f}); expected at most {asked.max_cost} "
            "(--max-cost): allow more, or name fewer sizes of memory or --pilot-partitions. Nothing was started",
            exit_code=2,
        )
    sizes = ", ".join(dict.fromkeys(f"{trial.memory_mb:,}" for trial in trials))
    question = (
        f"This runs {counted(len(trials), 'small run')} on stack {stack.name} with {sizes} MB, about {typical:.4f} USD "
        f"and at most {high:.4f}{_in_brackets(notes)}. The stack's memory is changed for that, and put back to "
        f"{stack.parameters['InferMemory']} MB. Results lie in {trials[0].payload.run_id.rpartition('/')[0]}/. Go on?"
    )
    if not ask(question):
        raise InputError(
            "tune: the pilot on AWS was not allowed; expected a yes, or --yes: --no-pilot reckons from this machine's "
            "speed and starts nothing"
        )


def _in_brackets(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _run(trial: Trial, cloud: Cloud, stack: Stack, spending: Spending) -> list[Report]:
    """Run one trial, and return its reports; one that is not followed to its end is stopped, not left."""
    payload, bills = trial.payload, spending.bills
    if spending.left_usd is not None and spending.left_usd <= 0:
        raise BudgetError(f"tune: the pilot has cost {spending.usd:.4f} USD; expected at most {spending.limit_usd}")
    try:
        summary = drive(payload, cloud, stack.name, spending.watch, overwrite=True, max_cost=spending.left_usd)
    except InputError:  # nothing of ours was started; what is under way there is another's
        raise
    except BaseException:
        with suppress(SkyfanError):
            _stop(payload, cloud, stack)
        raise
    if summary is None or not summary.complete:
        said = summary.problems[0] if summary and summary.problems else "no summary"
        raise RunFailedError(f"tune: the pilot with {trial} is not complete ({said}); 'skyfan status' says more")
    if spending.bills == bills:  # the driver takes a Ctrl-C while it waits for the bill for "without the bill"
        raise RunStoppedError(
            f"tune: the pilot with {trial} has ended, and was interrupted before its bill came: cost of this run "
            f"unknown; {spending.usd:.4f} USD were billed before. No other run was started"
        )
    return list(Run(cloud.store(), payload.bucket, payload.result_path).reports())


def _stop(payload: Payload, cloud: Cloud, stack: Stack) -> None:
    bucket, keys = cloud.store().bucket(payload.bucket), RunKeys(payload.result_path)
    execution = machine.find_execution(cloud, stack.state_machine_arn, payload.run_id, bucket, keys)
    if execution is not None:
        machine.stop(cloud, execution, bucket, keys, cause="skyfan tune was interrupted")


def _profile(memory_mb: int, reports: Sequence[Report]) -> Profile:
    """Return what the worker of that memory did; tasks that the larger one took over are left out."""
    own = [
        report
        for report in reports
        if not report.machine.startswith(LAMBDA) or report.machine.endswith(f", {memory_mb} MB")
    ]
    return profile_of_reports(own, data="a pilot on AWS")


def _found(
    whole: Plan,
    piloted: dict[FunctionKind, Profile],
    asked: Asked,
    *,
    stack: Stack,
    region: str,
    spending: Spending,
) -> Found:
    prices, notes = prices_of(region, strict=False)
    usual = Configuration.of(stack)
    architecture = cast("Architecture", stack.parameters["Architecture"])
    architectures = asked.architectures or (architecture,)
    others = [name for name in architectures if name != architecture]
    if others:
        notes.append(
            f"{', '.join(others)}: not measured, since the stack's package is built for {architecture}; deploy with "
            f"--architecture {others[0]} and tune again"
        )
    return Found(
        plan=whole,
        profiles=tuple(piloted.values()),
        settings=aws_settings(None, piloted, asked.memory or MEMORY_MB, architectures),
        ground=Ground(
            prices=prices,
            remote=True,
            concurrency=asked.at_a_time(whole.payload, usual.max_concurrency),
            children=usual.children,
            ephemeral_mb=usual.ephemeral_mb,
        ),
        stack=stack.parameters,
        notes=(*whole.warnings, *notes, *dict.fromkeys(spending.notes)),
        spent_usd=float(spending.usd),
    )
