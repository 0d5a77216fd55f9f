"""What a run costs: as AWS bills it, on one's own cores, and by the formula of the original system's table.

Money and quantities are `Decimal`: prices have up to ten decimals, and the lines add up to their total to the last
digit, which floats do not. Each line is rounded to 1e-12 USD. Free tiers, discounts and taxes are not subtracted or
added: they belong to an account and a month, not to a run.
"""

import math
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Literal

from msgspec import Struct, structs

from skyfan.errors import InputError
from skyfan.prices import Price, Prices

MB_PER_GB = 1024
GB_BYTES = 1024**3
FREE_EPHEMERAL_MB = 512
LAMBDA_MB = (128, 10_240)
EPHEMERAL_MB = (512, 10_240)
EXPRESS_STEP_MS = 100
EXPRESS_STEP_MB = 64
INSTANCE_LEAST_S = 60
MONTH_DAYS = 30
MOST = 10**15  # of anything counted
ROUNDED_TO_USD = Decimal("1e-12")
SEED_USD_PER_GB_S = Decimal("0.0000166667")

_WIDE = Context(prec=60)  # whatever is counted, no digit of a product is lost

Architecture = Literal["x86_64", "arm64"]
Workflow = Literal["EXPRESS", "STANDARD"]


class Line(Struct, frozen=True):
    """One item of a bill."""

    what: str
    quantity: Decimal
    unit: str
    unit_usd: Decimal
    usd: Decimal


class Cost(Struct, frozen=True):
    """A bill, by the price list of one region."""

    region: str
    prices_read_in: str
    """Year and month of the oldest price in that list."""
    lines: tuple[Line, ...]
    total_usd: Decimal
    """Of the lines, exactly."""

    @classmethod
    def of(cls, lines: Iterable[Line], prices: Prices) -> "Cost":
        lines = tuple(lines)
        return cls(prices.region, prices.read_in, lines, sum((line.usd for line in lines), Decimal(0)))


class _Counts(Struct, frozen=True, kw_only=True):
    """Numbers that are 0 or more, and checked to be."""

    def __post_init__(self) -> None:
        for name, value in structs.asdict(self).items():
            if isinstance(value, int | float):
                _check(name, value)


class LambdaUse(_Counts, frozen=True, kw_only=True):
    """All invocations of one function."""

    name: str
    memory_mb: int
    """Configured, which is what is billed; never what was used."""
    invocations: int
    """Retries and failures included."""
    billed_ms: int
    """Summed over them, each as `billed_ms` has it, or from the REPORT lines of the log."""
    ephemeral_mb: int = FREE_EPHEMERAL_MB
    architecture: Architecture = "x86_64"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("memory_mb", self.memory_mb, *LAMBDA_MB)
        _check("ephemeral_mb", self.ephemeral_mb, *EPHEMERAL_MB)


class StatesUse(_Counts, frozen=True, kw_only=True):
    """One execution of the state machine (always STANDARD: only that has a Distributed Map), and its children."""

    children: Workflow
    child_executions: int
    """That the Distributed Map started; each start is also one transition of the parent."""
    parent_transitions: int
    """States that the parent entered, retries and redrives included, the starts of children left out."""
    child_transitions: int = 0
    """Of all STANDARD children; EXPRESS ones are not billed by transition."""
    child_billed_ms: int = 0
    """Of all EXPRESS children, each as `express_billed_ms` has it; STANDARD ones are not billed by time."""
    child_memory_mb: int = EXPRESS_STEP_MB
    """That an EXPRESS child uses; billed in steps of 64."""


class Requests(_Counts, frozen=True, kw_only=True):
    """Requests to S3, by what they are billed as."""

    get: int = 0
    """GET and HEAD, also those that find nothing."""
    put: int = 0
    """PUT, POST, and the pieces of large objects."""
    list: int = 0
    """Pages of listings."""

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(get=self.get + other.get, put=self.put + other.put, list=self.list + other.list)


class S3Use(_Counts, frozen=True, kw_only=True):
    """What a run asks of S3."""

    requests: Requests
    stored_bytes: int = 0
    """Of the run's output, and of the partitions if they are kept for it."""
    stored_days: float = 0.0


class AwsUse(_Counts, frozen=True, kw_only=True):
    """All that is billed of one run."""

    functions: tuple[LambdaUse, ...]
    states: StatesUse
    s3: S3Use
    logged_bytes: int = 0


class LocalCost(Struct, frozen=True):
    """What a run takes of one's own machine, and what that would be if rented."""

    core_hours: Decimal
    """A core for each worker, for the run's wall clock, idle or not."""
    rented: Cost
    """The same on whole machines of the price list, a vCPU for each worker."""


def billed_ms(duration_ms: float, init_ms: float = 0.0) -> int:
    """Return what Lambda bills of one invocation: INIT (since August 2025 in every packaging) and work, up to 1 ms."""
    return math.ceil(_decimal("duration_ms", duration_ms) + _decimal("init_ms", init_ms))


def express_billed_ms(duration_ms: float) -> int:
    """Return what Step Functions bills of one EXPRESS execution: up to the next 100 ms."""
    return math.ceil(_decimal("duration_ms", duration_ms) / EXPRESS_STEP_MS) * EXPRESS_STEP_MS


def billed_run(use: AwsUse, prices: Prices) -> Cost:
    """Return what AWS bills for a run."""
    lines = [line for function in use.functions for line in _lambda_lines(function, prices)]
    lines += _states_lines(use.states, prices)
    lines += _s3_lines(use.s3, prices)
    lines.append(_line("CloudWatch: logs", Decimal(use.logged_bytes) / GB_BYTES, prices.logs_ingested))
    return Cost.of(lines, prices)


def local_run(workers: int, wall_s: float, prices: Prices) -> LocalCost:
    """Return what a run on one's own cores takes.

    Parameters
    ----------
    workers : int
        Worker processes, of one thread each.
    wall_s : float
        Wall clock of the run, `run_wall_s` of its summary.
    prices : Prices
        On-demand instances are billed by the second, 60 at least.
    """
    _check("workers", workers, 1)
    seconds, machine = _decimal("wall_s", wall_s), prices.instance
    machines = math.ceil(workers / machine.vcpus)
    hours = machines * Decimal(max(INSTANCE_LEAST_S, math.ceil(seconds))) / 3600
    rented = Cost.of([_line(f"EC2: {machines} x {machine.name} on demand", hours, machine.hour)], prices)
    return LocalCost(workers * seconds / 3600, rented)


def seed_cost_usd(workers: int, seconds: float, memory_used_mb: float) -> Decimal:
    """Return the cost as the original system's table has it; no bill ever says this, see docs/cost.md.

    Workers x their mean time by torch's profiler x memory *used* in GB x the price of an x86 GB-second.
    """
    _check("workers", workers)
    gb_s = workers * _decimal("seconds", seconds) * _decimal("memory_used_mb", memory_used_mb) / MB_PER_GB
    return _usd(gb_s, SEED_USD_PER_GB_S)


def seed_throughput_all_data_by_one_worker_gb_s(data_gb: float, worker_s: float) -> float:
    """Return the throughput as the original system's table has it, in GB/s; it prints this number as MB/s.

    The whole data by ONE worker's mean time: as if all workers started at once and ended at once, and start-up took
    no time.
    """
    _check("worker_s", worker_s, 1e-9)
    return data_gb / worker_s


def _line(what: str, quantity: Decimal | int, price: Price) -> Line:
    return Line(what, Decimal(quantity), price.unit, price.unit_usd, _usd(Decimal(quantity), price.unit_usd))


def _usd(quantity: Decimal, unit_usd: Decimal) -> Decimal:
    return _WIDE.quantize(_WIDE.multiply(quantity, unit_usd), ROUNDED_TO_USD)


def _lambda_lines(use: LambdaUse, prices: Prices) -> list[Line]:
    compute = prices.lambda_arm64 if use.architecture == "arm64" else prices.lambda_x86_64
    return [
        _line(f"Lambda {use.name}: compute, {use.architecture}", _gb_s(use.memory_mb, use.billed_ms), compute),
        _line(f"Lambda {use.name}: requests", use.invocations, prices.lambda_request),
        _line(
            f"Lambda {use.name}: /tmp above {FREE_EPHEMERAL_MB} MB",
            _gb_s(use.ephemeral_mb - FREE_EPHEMERAL_MB, use.billed_ms),
            prices.lambda_ephemeral,
        ),
    ]


def _states_lines(use: StatesUse, prices: Prices) -> list[Line]:
    parent = use.parent_transitions + use.child_executions
    lines = [_line("Step Functions: transitions of the parent", parent, prices.states_transition)]
    if use.children == "STANDARD":
        return [
            *lines,
            _line("Step Functions: transitions of STANDARD children", use.child_transitions, prices.states_transition),
        ]
    memory_mb = math.ceil(use.child_memory_mb / EXPRESS_STEP_MB) * EXPRESS_STEP_MB
    return [
        *lines,
        _line("Step Functions: EXPRESS children", use.child_executions, prices.states_express_request),
        _line("Step Functions: time of EXPRESS children", _gb_s(memory_mb, use.child_billed_ms), prices.states_express),
    ]


def _s3_lines(use: S3Use, prices: Prices) -> list[Line]:
    gb_months = Decimal(use.stored_bytes) / GB_BYTES * Decimal(str(use.stored_days)) / MONTH_DAYS
    return [
        _line("S3: GET", use.requests.get, prices.s3_get),
        _line("S3: PUT", use.requests.put, prices.s3_put),
        _line("S3: LIST", use.requests.list, prices.s3_put),
        _line("S3: storage", gb_months, prices.s3_storage),
    ]


def _gb_s(memory_mb: int, milliseconds: int) -> Decimal:
    return Decimal(memory_mb) * milliseconds / (MB_PER_GB * 1000)


def _decimal(name: str, value: float) -> Decimal:
    _check(name, value)
    return Decimal(str(value))


def _check(name: str, value: float, least: float = 0, most: float = MOST) -> None:
    if not least <= value <= most:
        raise InputError(f"{name}: got {value}; expected a number from {least} to {most}")
