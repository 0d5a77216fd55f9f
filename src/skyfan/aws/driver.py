"""A run on AWS: priced, started, followed to its end and billed. It goes on without us once it is started."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from skyfan import planning
from skyfan.aws.bill import bill
from skyfan.aws.following import CLOCKS_S, Following, OverBudgetError
from skyfan.aws.forecast import forecast, prices_of
from skyfan.aws.ledger import Configuration, Ledger
from skyfan.aws.machine import check_same, describe, find_execution, raise_failed, start, stop
from skyfan.aws.places import check_places
from skyfan.aws.script_forecast import script_forecast
from skyfan.aws.session import Cloud
from skyfan.aws.stack import Stack, describe_stack
from skyfan.errors import (
    AwsError,
    BudgetError,
    ClaimedError,
    InputError,
    RunStoppedError,
    SkyfanError,
    StackError,
    StoreError,
)
from skyfan.keys import RunKeys
from skyfan.lease import release_for
from skyfan.payload import Payload
from skyfan.planning import Plan
from skyfan.prices import Prices
from skyfan.summary import Summary, decode_summary
from skyfan.watching import Ended, Planned, Priced, Started, TaskGivenUp, Ticked, Watcher, forgiving


def drive(
    payload: Payload,
    cloud: Cloud,
    stack_name: str,
    watch: Watcher,
    *,
    warnings: list[str] | None = None,
    overwrite: bool = False,
    max_cost: float | Decimal | None = None,
    detach: bool = False,
) -> Summary | None:
    """Run a payload on a stack to its end, go on where an earlier run ended, or watch the one that is under way.

    Parameters
    ----------
    payload : Payload
    cloud : Cloud
    stack_name : str
    watch : Watcher
    warnings : list of str, optional
        What the payload's reader has to say.
    overwrite : bool
        Delete first what an earlier run stored at the result path.
    max_cost : float, optional
        USD. Refuse a run that may cost more, and stop one that has.
    detach : bool
        Return as soon as it is started.

    Returns
    -------
    Summary or None
        Not complete if tasks failed within what the payload tolerates. None if detached.

    Raises
    ------
    InputError, StackError
        If it cannot run like that; nothing was started.
    BudgetError
        If it may cost more than `max_cost` (exit code 2, nothing was started), or has (exit code 1).
    RunFailedError
        If more tasks failed than tolerated, or the execution failed.
    RunStoppedError
        If the execution was stopped; or if interrupted here: the run then goes on.
    AwsError, StoreError
        If it cannot be watched; what was started goes on.
    """
    limit_usd = _limit(max_cost)
    if detach and limit_usd is not None:
        raise InputError(
            "detach and max_cost are both asked for; expected one of them: nobody would watch what the run costs. "
            "Leave --detach out, or --max-cost and see what 'skyfan run --dry-run' says"
        )
    watch = forgiving(watch)
    stack = describe_stack(cloud, stack_name)
    check_places(payload, stack)
    driver = _Driver(payload, cloud, stack, watch, limit_usd)
    try:
        return driver.drive(list(warnings or ()), overwrite=overwrite, detach=detach)
    except KeyboardInterrupt:
        raise RunStoppedError(driver.where_left()) from None
    except StackError:
        raise
    except (AwsError, StoreError) as error:
        if driver.execution is None and not driver.starting:
            raise
        raise type(error)(f"{error.args[0].rstrip('.')}. {driver.where_left()}") from error


def preview(
    payload: Payload,
    cloud: Cloud,
    stack_name: str,
    watch: Watcher,
    *,
    warnings: list[str] | None = None,
    overwrite: bool = False,
    max_cost: float | Decimal | None = None,
) -> Plan:
    """Say what `drive` would do and what that would cost, and write nothing.

    Parameters
    ----------
    payload, cloud, stack_name, watch, warnings, overwrite, max_cost
        As for `drive`; `watch` is told the price.

    Raises
    ------
    InputError, StackError, BudgetError, AwsError, StoreError
        As `drive`, before it starts.
    """
    limit_usd = _limit(max_cost)
    stack = describe_stack(cloud, stack_name)
    check_places(payload, stack)
    return _Driver(payload, cloud, stack, forgiving(watch), limit_usd).preview(list(warnings or ()), overwrite)


@dataclass
class _Driver:
    payload: Payload
    cloud: Cloud
    stack: Stack
    watch: Watcher
    limit_usd: Decimal | None
    execution: str | None = None

    def __post_init__(self) -> None:
        self.run = self.payload.run_id
        self._store = self.cloud.store()
        self._bucket = self._store.bucket(self.payload.bucket)
        self._keys = RunKeys(self.payload.result_path)
        self._configuration = Configuration.of(self.stack)
        self.starting = False

    def preview(self, warnings: list[str], overwrite: bool) -> Plan:
        plan = planning.preview(self.payload, self._store, overwrite=overwrite)
        plan.warnings[:0] = warnings
        self._price(plan, *prices_of(self.cloud.region, strict=self.limit_usd is not None))
        return plan

    def drive(self, warnings: list[str], *, overwrite: bool, detach: bool) -> Summary | None:
        machine = self.stack.state_machine_arn
        running = find_execution(self.cloud, machine, self.run, self._bucket, self._keys)
        if running is not None:
            check_same(describe(self.cloud, running) or {}, self.payload)
        if running is not None and overwrite:
            raise ClaimedError(
                f"{self.run}: the execution {running} is under way; expected none to overwrite: wait for it, or stop "
                f"it: skyfan stop {self.run} --store s3://"
            )
        plan = planning.preview(self.payload, self._store, overwrite=overwrite)
        plan.warnings[:0] = warnings
        if running is None and (finished := planning.found_finished(plan, self._store)) is not None:
            self.watch(Ended(finished, found_finished=True, warnings=tuple(plan.warnings)))
            return finished
        prices, notes = prices_of(self.cloud.region, strict=self.limit_usd is not None)
        if running is None:
            self._price(plan, prices, notes)
            self.starting = True
            self.execution = start(self.cloud, machine, self.payload, overwrite=overwrite)
        else:
            self.execution = running
        self.watch(Started(self.run, self.execution, running is not None))
        if detach:
            return None
        workers = min(self.payload.max_concurrency or len(plan.pending), self._configuration.max_concurrency)
        self.watch(Planned.of(plan, min(workers, len(plan.pending))))
        ledger = Ledger(self._configuration, prices, scripted=self.payload.is_script)
        following = Following(
            self.cloud,
            self.execution,
            plan,
            self._bucket,
            ledger=ledger,
            watch=self.watch,
            joined=running is not None,
            limit_usd=self.limit_usd,
        )
        return self._to_the_end(following, ledger, notes)

    def where_left(self) -> str:
        """Say what goes on when nobody watches any more."""
        if self.execution is None and self.starting:
            return f"{self.run}: interrupted while it was started; if it was, the same command watches it"
        if self.execution is None:
            return f"{self.run}: stopped before anything was started"
        unlimited = " without --max-cost" if self.limit_usd is not None else ""
        return (
            f"{self.run}: no longer watched, but the run goes on{unlimited}, as the execution {self.execution}. "
            f"'skyfan run' with the same payload watches it again, 'skyfan status {self.run} --store s3://' says where "
            f"it stands, 'skyfan stop {self.run} --store s3://' stops it"
        )

    def _price(self, plan: Plan, prices: Prices, notes: list[str]) -> None:
        if not plan.pending:
            return  # two calls that sum up what is there
        reckon = script_forecast if self.payload.is_script else forecast
        known = reckon(plan, self._bucket, self._configuration, prices)
        plan.warnings.extend(known.warnings)
        self.watch(Priced(self.run, known.estimate, (*known.basis, *notes)))
        high, limit = known.estimate.high.total_usd, self.limit_usd
        if limit is not None and high > limit:
            less = ", or give a smaller --task-timeout-s" if self.payload.is_script else ""
            raise BudgetError(
                f"{self.run}: may cost {high:.4f} USD (about {known.estimate.typical.total_usd:.4f}); expected at most "
                f"{limit} (--max-cost): allow more, or take fewer partitions with --file-limit{less}. Nothing was "
                "started",
                exit_code=2,
            )

    def _to_the_end(self, following: Following, ledger: Ledger, notes: list[str]) -> Summary:
        try:
            found = following.follow()
        except OverBudgetError as over:
            stop(self.cloud, following.execution, self._bucket, self._keys, cause="over the limit of --max-cost")
            if stopped := describe(self.cloud, following.execution):
                self._bill(stopped, ledger, notes)
            raise BudgetError(
                f"{self.run}: stopped, since with the tasks under way it would cost {over.spent:.4f} USD; expected at "
                f"most {self.limit_usd} (--max-cost). What is done is kept: run the same payload again "
                "with a higher limit to go on"
            ) from None
        succeeded = found["status"] == "SUCCEEDED"
        summary = decode_summary(self._bucket.get(self._keys.summary))
        if summary is not None and (succeeded or _is_of(summary, found)):
            self._tell_end(summary, following)
        else:
            summary = None
        if not succeeded:  # one that was ended from outside could not
            release_for(self._bucket, self._keys, following.execution)
        if ledger.attempts or succeeded:
            self._bill(found, ledger, notes)
        if not succeeded:
            raise_failed(self.run, found, summary)
        if summary is None:
            raise StoreError(
                f"{self.run}: the execution succeeded, but its summary is gone; run the same payload again"
            )
        return summary

    def _tell_end(self, summary: Summary, following: Following) -> None:
        for failure in summary.failures:
            if failure.rank not in following.given_up:
                self.watch(TaskGivenUp(failure.rank, failure.attempts, failure.error))
        self.watch(Ended(summary))

    def _bill(self, found: dict[str, Any], ledger: Ledger, notes: list[str]) -> None:
        with suppress(KeyboardInterrupt):  # the run has ended: who does not wait for its bill does without
            billed = bill(self.cloud, self.stack.name, self.run, found, ledger, tick=lambda: self.watch(Ticked()))
            billed = replace(billed, notes=(*billed.notes, *notes))
            self.watch(billed)
            with suppress(SkyfanError):  # it was said; who may not write it down may run all the same
                self._bucket.put(self._keys.bill, billed.encode())


def _is_of(summary: Summary, found: dict[str, Any]) -> bool:
    """Whether a summary is that of an execution, rather than one that an earlier drive left."""
    began: datetime = found["startDate"]
    return datetime.fromisoformat(summary.drive.started_at).timestamp() >= began.timestamp() - CLOCKS_S


def _limit(max_cost: float | Decimal | None) -> Decimal | None:
    if max_cost is None:
        return None
    try:
        limit = Decimal(str(max_cost))
    except InvalidOperation:
        limit = Decimal("NaN")
    if not limit.is_finite() or limit <= 0:
        raise InputError(f"max_cost: got {max_cost}; expected USD above 0, as in 0.50")
    return limit
