"""What an execution cost, by the lines that Lambda logged of it and the counts of Step Functions."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from skyfan.aws.handlers import RUN_LINE
from skyfan.aws.ledger import CONTROL_CALLS, Ledger
from skyfan.aws.resolving import FUNCTIONS
from skyfan.aws.session import Cloud, explained
from skyfan.cost import LambdaUse, StatesUse
from skyfan.errors import AwsError
from skyfan.watching import Billed
from skyfan.wording import counted

LINE_BYTES = 26  # that CloudWatch adds to each line
LINES_WAIT_S = 30.0
"""For lines of the log, which come seconds after their invocation."""

_ID = re.compile(r"RequestId: ([0-9A-Za-z-]+)")
_REPORT = re.compile(r"REPORT RequestId: \S+\s.*?Billed Duration: (\d+) ms\s+Memory Size: (\d+) MB", re.DOTALL)


@dataclass
class Logged:
    """What the functions' logs say of one run."""

    ms: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Billed, by function and its memory in MB."""
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    bytes: int = 0
    begun: int = 0
    """Invocations that said that they are of the run."""

    @property
    def ended(self) -> int:
        """Invocations with a REPORT line."""
        return self.calls.total()

    def uses(self, ledger: Ledger) -> tuple[LambdaUse, ...]:
        """Return what Lambda bills; a function whose memory was changed on the way has two of them."""
        return tuple(
            ledger.function(name, memory_mb, self.calls[name, memory_mb], ms)
            for (name, memory_mb), ms in sorted(self.ms.items())
        )


def read_logs(
    cloud: Cloud, stack: str, run: str, start_ms: int, stop_ms: int, *, functions: Sequence[str] = FUNCTIONS
) -> Logged:
    """Read what Lambda logged of a run's invocations in a span of time.

    Each invocation says in a line of its own which run it is of, with the id that is in all of Lambda's lines: so runs
    on one stack are told apart.

    Parameters
    ----------
    cloud : Cloud
    stack : str
        Its name.
    run : str
        `<bucket>/<result_path>`.
    start_ms, stop_ms : int
        Milliseconds since 1970.
    functions : sequence of str
        Those that such a run calls.

    Raises
    ------
    AwsError
        If the logs cannot be read.
    """
    found = Logged()
    for function in functions:
        group = f"/aws/lambda/{stack}-{function}"
        sizes: Counter[str] = Counter()
        reports: dict[str, tuple[int, int]] = {}
        ours: set[str] = set()
        with explained(f"logs {group}"):
            logs = cloud.client("logs").get_paginator("filter_log_events")
            for page in logs.paginate(logGroupName=group, startTime=start_ms, endTime=stop_ms):
                for event in page["events"]:
                    _read_line(event["message"], run, sizes, reports, ours)
        found.begun += len(ours)
        found.bytes += sum(sizes[request] for request in ours)
        for request in ours & reports.keys():
            billed_ms, memory_mb = reports[request]
            found.ms[function, memory_mb] += billed_ms
            found.calls[function, memory_mb] += 1
    return found


def _read_line(line: str, run: str, sizes: Counter[str], reports: dict[str, tuple[int, int]], ours: set[str]) -> None:
    named = _ID.search(line)
    if named is None:
        return
    sizes[named[1]] += len(line.encode()) + LINE_BYTES
    if line.startswith(f"{RUN_LINE}{run} RequestId:"):
        ours.add(named[1])
    report = _REPORT.match(line)
    if report is not None:
        reports[named[1]] = int(report[1]), int(report[2])


def bill(
    cloud: Cloud,
    stack: str,
    run: str,
    execution: Mapping[str, Any],
    ledger: Ledger,
    *,
    wait_s: float = LINES_WAIT_S,
    tick: Callable[[], None] = lambda: None,
) -> Billed:
    """Return what an execution that has ended did cost.

    Parameters
    ----------
    cloud : Cloud
    stack : str
        Its name, with which the functions' names begin.
    run : str
        `<bucket>/<result_path>`.
    execution : mapping
        As DescribeExecution has it.
    ledger : Ledger
        Of its reports: what the logs do not say is reckoned from them.
    wait_s : float
        How long to wait for lines of the log.
    tick : callable
        Called while waiting.
    """
    states, notes = _measured_states(cloud, execution["executionArn"], ledger)
    left_out = "what scripts ask for by themselves and storage are" if ledger.scripted else "storage is"
    notes.append(f"S3 requests are reckoned from what each stage asks for; {left_out} not in it")
    ended_early = execution.get("status") in {"ABORTED", "TIMED_OUT"}  # without Summarize
    expected, start_ms = ledger.attempts + CONTROL_CALLS - ended_early, _ms(execution["startDate"]) - 1000

    def read() -> Logged:
        now_ms = round(1000 * time.time())
        return read_logs(cloud, stack, run, start_ms, now_ms + 60_000, functions=ledger.functions)

    try:
        logged = _wait_for_lines(read, expected, wait_s, tick)
    except AwsError as error:
        return Billed(run, ledger.cost(), False, (f"Lambda by the tasks' reports, not by its logs: {error}", *notes))
    expected = max(expected, logged.begun)
    cost = ledger.billed(logged.uses(ledger), states, logged.bytes)
    if logged.ended >= expected:
        return Billed(run, cost, True, (f"Lambda by the REPORT lines of {counted(logged.ended, 'invocation')}", *notes))
    reported = ledger.cost()
    said = f"{logged.ended} of at least {counted(expected, 'REPORT line')} have come in {wait_s:.0f} s: a lower bound"
    if reported.total_usd > cost.total_usd:
        return Billed(run, reported, False, (f"Lambda by the tasks' reports: of its logs, {said}", *notes))
    return Billed(run, cost, False, (f"Lambda by its logs: {said}", *notes))


def _wait_for_lines(read: Callable[[], Logged], expected: int, wait_s: float, tick: Callable[[], None]) -> Logged:
    until, pause = time.monotonic() + wait_s, 1.0
    while True:
        logged = read()
        left = until - time.monotonic()
        if logged.ended >= max(expected, logged.begun) or left <= 0:
            return logged
        tick()
        time.sleep(min(pause, left))
        pause = min(2 * pause, 10.0)


def _measured_states(cloud: Cloud, execution: str, ledger: Ledger) -> tuple[StatesUse, list[str]]:
    """Return what Step Functions bills, by its own counts where it gives them."""
    client = cloud.client("stepfunctions")
    children: int | None = None
    try:
        with explained("history of the execution"):
            pages = client.get_paginator("get_execution_history").paginate(executionArn=execution)
            kinds = Counter(event["type"] for page in pages for event in page["events"])
            for run in client.list_map_runs(executionArn=execution)["mapRuns"]:
                counts = client.describe_map_run(mapRunArn=run["mapRunArn"])["executionCounts"]
                children = (children or 0) + counts["total"]
    except AwsError as error:
        return ledger.states(), [f"Step Functions is reckoned from the reports: {error}"]
    entered = sum(number for kind, number in kinds.items() if kind.endswith("StateEntered"))
    retries = max(0, kinds["TaskScheduled"] - kinds["TaskStateEntered"])
    time_note = "" if ledger.configuration.children == "STANDARD" else "; the children's time is the tasks' own"
    return ledger.states(children, entered + retries), [f"Step Functions by its own counts{time_note}"]


def _ms(moment: datetime) -> int:
    return round(1000 * moment.timestamp())
