"""What the reports of an execution say that it cost, while it goes on."""

from collections import Counter
from decimal import Decimal
from typing import cast

from msgspec import Struct

from skyfan.aws.resolving import FUNCTIONS, SCRIPT
from skyfan.aws.stack import Stack
from skyfan.cost import (
    FREE_EPHEMERAL_MB,
    Architecture,
    AwsUse,
    Cost,
    LambdaUse,
    Requests,
    S3Use,
    StatesUse,
    Workflow,
    billed_run,
    express_billed_ms,
)
from skyfan.estimating.bill import AROUND_STAGES, LOGGED_BYTES_PER_CALL, PARENT_STATES, Job, Speed, stage_requests
from skyfan.prices import Prices
from skyfan.task import Report

CONTROL_CALLS = 2
"""Initialize and Summarize."""
INIT_S = 0.7
"""Of a cold start, before the task's own clock runs: starting Python and importing; assumed, not measured on AWS."""


class Configuration(Struct, frozen=True):
    """How the functions and the map of a stack are configured."""

    memory_mb: dict[str, int]
    """By function; that for scripts only if there is one."""
    infer_timeout_s: int
    infer_large_timeout_s: int
    script_timeout_s: int
    ephemeral_mb: int
    script_ephemeral_mb: int
    architecture: Architecture
    children: Workflow
    max_concurrency: int

    @classmethod
    def of(cls, stack: Stack) -> "Configuration":
        given = stack.parameters
        control = int(given["ControlMemory"])
        sizes = (control, int(given["InferMemory"]), int(given["InferLargeMemory"]), control)
        scripts = {SCRIPT: int(given["ScriptMemory"])} if given.get("ScriptImage") else {}
        return cls(
            memory_mb=dict(zip(FUNCTIONS, sizes, strict=True)) | scripts,
            infer_timeout_s=int(given["InferTimeout"]),
            infer_large_timeout_s=int(given["InferLargeTimeout"]),
            script_timeout_s=int(given.get("ScriptTimeout", 0)),  # a stack of an earlier version has none
            ephemeral_mb=int(given["InferStorage"]),
            script_ephemeral_mb=int(given.get("ScriptStorage", FREE_EPHEMERAL_MB)),
            architecture=cast("Architecture", given["Architecture"]),
            children=cast("Workflow", given["ChildExecutionType"]),
            max_concurrency=int(given["MaxConcurrency"]),
        )


def script_requests(attempts: int) -> Requests:
    """Return what workers ask of S3 for scripts, more than for models.

    They list the code, and delete, size and read what a script left. How many files the code has, and what a script
    asks for by itself, is not known here.
    """
    return Requests(get=2 * attempts, put=attempts, list=attempts)


class Ledger:
    """What the reports of an execution say that it cost. Tasks under way have no report yet: they are not in it.

    Parameters
    ----------
    configuration : Configuration
    prices : Prices
    scripted : bool
        Whether the run's tasks are a script.
    """

    def __init__(self, configuration: Configuration, prices: Prices, *, scripted: bool = False) -> None:
        self.configuration = configuration
        self.prices = prices
        self.scripted = scripted
        self.watched = Requests()
        """What looking at the run asked of S3."""
        self.calls: Counter[str] = Counter()
        self.cold = 0
        self._ms: Counter[str] = Counter()
        self._child_ms: Counter[int] = Counter()
        self._attempts: dict[int, int] = {}
        self._grown: set[int] = set()
        self._rows = self._partitions = self._bytes_in = self._bytes_out = 0
        self._model_in_bucket = False

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions that such a run calls."""
        return (FUNCTIONS[0], SCRIPT, FUNCTIONS[-1]) if self.scripted else FUNCTIONS

    @property
    def attempts(self) -> int:
        """Invocations of the workers, as far as reports tell."""
        return self.calls.total()

    def add(self, report: Report) -> None:
        """Add an attempt that ended, well or not.

        Attempts before it whose report nobody saw count as long as it took itself; one that was killed left no time,
        and counts as long as its function may take. Which scripts found a worker cold is not known: all count as that.
        """
        missed = report.attempt - self._attempts.get(report.rank, 0)
        if missed < 1:
            return
        self._attempts[report.rank] = report.attempt
        killed = report.error is not None and report.error.kind == "WorkerError"
        cold = self.scripted or report.first_prediction_s is not None
        took_s = self._timeout_s if killed else report.seconds.total
        function = SCRIPT if self.scripted else "infer-large" if report.rank in self._grown else "infer"
        self.cold += cold
        self.calls[function] += missed
        self._ms[function] += round(1000 * (missed * took_s + cold * INIT_S))
        self._child_ms[report.rank] += round(1000 * (missed * took_s + cold * INIT_S))
        if report.error is not None and report.error.kind in {"WorkerError", "MemoryError"}:
            self._grown.add(report.rank)
        self._partitions += missed * len(report.partitions)
        self._bytes_in += missed * sum(ref.bytes for ref in report.partitions)
        self._model_in_bucket |= report.model is not None and report.model.name.endswith(".onnx")
        if report.part is not None:
            self._rows += report.rows_out
            self._bytes_out += report.part.bytes

    @property
    def _timeout_s(self) -> int:
        return self.configuration.script_timeout_s if self.scripted else self.configuration.infer_timeout_s

    def cost(self) -> Cost:
        """Return what is known of by now."""
        configuration = self.configuration
        control_ms = round(1000 * Speed(s_per_row=0).s_ends)
        functions = [
            self.function(name, configuration.memory_mb[name], self.calls[name], self._ms[name])
            for name in ("infer", "infer-large", SCRIPT)
            if self.calls[name]
        ]
        control = self.function(
            "initialize, summarize", configuration.memory_mb["initialize"], CONTROL_CALLS, control_ms
        )
        return self.billed(
            (*functions, control), self.states(), (self.attempts + CONTROL_CALLS) * LOGGED_BYTES_PER_CALL
        )

    def attempt_usd(self) -> Decimal:
        """Return what Lambda asks for one attempt, on average; 0 before the first has ended."""
        workers = ("Lambda infer", f"Lambda {SCRIPT}")
        lines = (line for line in self.cost().lines if line.what.startswith(workers))
        return sum((line.usd for line in lines), Decimal(0)) / max(1, self.attempts)

    def billed(self, functions: tuple[LambdaUse, ...], states: StatesUse, logged_bytes: int) -> Cost:
        """Return the bill with these functions, states and logs; the requests to S3 follow from the reports."""
        s3 = S3Use(requests=self._requests())
        return billed_run(AwsUse(functions=functions, states=states, s3=s3, logged_bytes=logged_bytes), self.prices)

    def states(self, children: int | None = None, transitions: int = PARENT_STATES) -> StatesUse:
        """Return what Step Functions bills, with these children and transitions where they are known."""
        express = self.configuration.children == "EXPRESS"
        started = len(self._attempts) if children is None else children
        return StatesUse(
            children=self.configuration.children,
            child_executions=started,
            parent_transitions=transitions,
            child_transitions=0 if express else started + self.attempts,  # each asks first whether there is a script
            child_billed_ms=sum(map(express_billed_ms, self._child_ms.values())) if express else 0,
        )

    def _requests(self) -> Requests:
        if not self._attempts:
            return self.watched
        job = Job(
            tasks=self.attempts,
            partitions=self._partitions,
            rows=self._rows,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            model_in_bucket=self._model_in_bucket,
        )
        of_scripts = script_requests(self.attempts) if self.scripted else Requests()
        return stage_requests(job, self.cold) + of_scripts + AROUND_STAGES + self.watched

    def function(self, name: str, memory_mb: int, calls: int, ms: int) -> LambdaUse:
        """Return the use of one function, configured as this stack's."""
        ephemeral_mb = FREE_EPHEMERAL_MB
        if name == SCRIPT:
            ephemeral_mb = self.configuration.script_ephemeral_mb
        elif name.startswith("infer"):
            ephemeral_mb = self.configuration.ephemeral_mb
        return LambdaUse(
            name=name,
            memory_mb=memory_mb,
            invocations=calls,
            billed_ms=ms,
            ephemeral_mb=ephemeral_mb,
            architecture=self.configuration.architecture,
        )
