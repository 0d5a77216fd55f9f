"""Following an execution from afar: its reports as they come, its end, and what it has cost so far."""

import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from skyfan.aws.ledger import Ledger
from skyfan.aws.machine import RUNNING, describe
from skyfan.aws.session import Cloud
from skyfan.cost import Requests
from skyfan.errors import AwsError, StackError, StoreError
from skyfan.estimating.bill import LIST_PAGE
from skyfan.keys import RunKeys, rank_of
from skyfan.mapping import BACKOFF_RATE, BACKOFF_S, MAX_BACKOFF_S
from skyfan.planning import Plan
from skyfan.storage import Bucket
from skyfan.task import Report, decode_report
from skyfan.watching import TaskDone, TaskGivenUp, TaskRetried, Ticked, Waiting, Watcher

TICK_S = 0.5
LEAST_LOOK_S = 1.0
MOST_LOOK_S = 20.0
OUT_OF_REACH_S = 1800.0
"""After so long without an answer watching ends; the run goes on."""
FAILURES_A_LOOK = 20
"""Reports of failures that one look reads: a further attempt writes over the report of the one before."""
CLOCKS_S = 1.0  # by which the clocks of AWS's services may differ


class OverBudgetError(Exception):
    """What the run will have cost with the tasks under way is above its limit; whoever follows it has to stop it."""

    def __init__(self, spent: Decimal) -> None:
        super().__init__(spent)
        self.spent = spent


def look_every_s(tasks: int) -> float:
    """Return the seconds between two looks at a run of so many tasks.

    A look lists reports and failures, by pages of 1,000 that cost money. A second for each page of the reports: however
    many tasks there are, following takes two pages a second at most, 0.036 USD an hour (above 20,000 tasks, more).
    """
    return min(MOST_LOOK_S, max(LEAST_LOOK_S, 1.0 + tasks // LIST_PAGE))


class Following:
    """One execution of a run, as it is seen from outside.

    Parameters
    ----------
    cloud : Cloud
    execution : str
        Its ARN.
    plan : Plan
    bucket : Bucket
        Of the run.
    ledger : Ledger
        Takes every attempt that is seen.
    watch : Watcher
    joined : bool
        It was under way before: of what is done, some is its work.
    limit_usd : Decimal, optional
        More than that must not be spent.
    """

    def __init__(
        self,
        cloud: Cloud,
        execution: str,
        plan: Plan,
        bucket: Bucket,
        *,
        ledger: Ledger,
        watch: Watcher,
        joined: bool,
        limit_usd: Decimal | None = None,
    ) -> None:
        self.execution = execution
        self._cloud = cloud
        self._plan = plan
        self._bucket = bucket
        self._keys = RunKeys(plan.payload.result_path)
        self._ledger = ledger
        self._watch = watch
        self._joined = joined
        self._limit_usd = limit_usd
        self._tasks = {task.rank: task for task in plan.tasks}
        self._done = set(plan.done)
        self._given_up: set[int] = set()
        self._attempts: dict[int, int] = {}
        self._failing: deque[int] = deque()
        self._began: float | None = None

    def follow(self) -> dict[str, Any]:
        """Tell of every report until the execution has ended; return how it did, as AWS describes it.

        Raises
        ------
        OverBudgetError
            If it has cost more than its limit; it still runs.
        StackError
            If it is gone.
        AwsError
            If it cannot be watched any more; it goes on.
        """
        heard = time.monotonic()
        troubled = False
        while True:
            try:
                found = self._look()
            except (AwsError, StoreError) as error:
                if not _passes(error) or time.monotonic() - heard > OUT_OF_REACH_S:
                    raise
                if not troubled:
                    self._watch(Waiting(f"{error}; the run goes on, and this watches it again as soon as it can"))
                troubled = True
            else:
                heard, troubled = time.monotonic(), False
                if found["status"] != RUNNING:
                    return found
            self._wait(look_every_s(len(self._tasks)) * (5 if troubled else 1))

    def _look(self) -> dict[str, Any]:
        """Take in what has come; the description is asked for first, so that an end has all its reports."""
        found = describe(self._cloud, self.execution)
        if found is None:
            raise StackError(
                f"{self._plan.payload.run_id}: the execution {self.execution} is gone, as when its stack is deleted; "
                "what is done is kept: deploy the stack again, and run the same payload to go on"
            )
        if self._began is None:
            self._began = found["startDate"].timestamp() - CLOCKS_S
            self._take_in_earlier()
        self._take_in_failures()
        for report in self._new_reports():
            self._ledger.add(report)
            self._watch(TaskDone(report))
        if self._limit_usd is not None and found["status"] == RUNNING:
            left = len(self._tasks) - len(self._done) - len(self._given_up)
            under_way = min(left, self._ledger.configuration.max_concurrency)
            bound = self._ledger.cost().total_usd + under_way * self._ledger.attempt_usd()
            if bound > self._limit_usd:
                raise OverBudgetError(bound)
        return found

    def _take_in_earlier(self) -> None:
        """Count what this execution did before it was watched."""
        wanted = sorted(self._done) if self._joined else []
        self._count(get=len(wanted))
        for data in self._bucket.get_many(self._keys.report(rank) for rank in wanted):
            report = decode_report(data)
            if report is not None and self._is_ours(report):
                self._ledger.add(report)

    def _new_reports(self) -> Iterator[Report]:
        new = sorted(self._listed(self._keys.reports) - self._done)
        self._count(get=len(new))
        for rank, data in zip(new, self._bucket.get_many(map(self._keys.report, new)), strict=True):
            report = decode_report(data)
            # of a run that is overwritten the earlier reports are there until Initialize deletes them
            if report is not None and self._is_ours(report) and report.answers(self._tasks[rank]):
                self._done.add(rank)
                yield report

    def _take_in_failures(self) -> None:
        present = self._listed(self._keys.failures) - self._done - self._given_up
        self._failing.extend(sorted(present - set(self._failing)))
        looked_at = [self._failing.popleft() for _ in range(min(FAILURES_A_LOOK, len(self._failing)))]
        wanted = [rank for rank in looked_at if rank in present]
        self._count(get=len(wanted))
        for rank, data in zip(wanted, self._bucket.get_many(map(self._keys.failure, wanted)), strict=True):
            report = decode_report(data)
            if report is not None and self._is_ours(report) and report.attempt > self._attempts.get(rank, 0):
                self._attempts[rank] = report.attempt
                self._ledger.add(report)
                self._tell_failure(report)

    def _tell_failure(self, report: Report) -> None:
        error, attempt = report.error, report.attempt
        if error is None:
            return
        if error.may_pass:  # whether it was the last attempt, the summary says
            delay_s = min(BACKOFF_S * BACKOFF_RATE ** (attempt - 1), MAX_BACKOFF_S)
            self._watch(TaskRetried(report.rank, attempt, delay_s, error))
        else:
            self._given_up.add(report.rank)
            self._watch(TaskGivenUp(report.rank, attempt, error))

    @property
    def given_up(self) -> frozenset[int]:
        """Tasks that were told to have failed for good."""
        return frozenset(self._given_up)

    def _is_ours(self, report: Report) -> bool:
        started = datetime.fromisoformat(report.started_at).timestamp() if report.started_at else 0.0
        return self._began is not None and started >= self._began

    def _listed(self, folder: str) -> set[int]:
        entries = self._bucket.list(folder)
        self._count(pages=1 + len(entries) // LIST_PAGE)
        ranks = {rank_of(entry.key) for entry in entries}
        return {rank for rank in ranks if rank in self._tasks}

    def _count(self, get: int = 0, pages: int = 0) -> None:
        self._ledger.watched += Requests(get=get, list=pages)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._watch(Ticked())
            time.sleep(min(TICK_S, left))


def _passes(error: AwsError | StoreError) -> bool:
    """Whether it is worth asking again: AWS is out of breath or out of reach, rather than saying no."""
    return error.may_pass if isinstance(error, StoreError) else type(error) is AwsError
