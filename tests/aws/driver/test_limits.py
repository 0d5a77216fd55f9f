"""What a run may cost: said before anything starts, and kept while it is watched."""

import threading
from decimal import Decimal
from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, executions_of
from aws.states import Machine
from skyfan.aws.driver import drive
from skyfan.aws.ledger import Configuration, Ledger
from skyfan.aws.session import Cloud
from skyfan.aws.stack import describe_stack
from skyfan.errors import BudgetError, InputError, PayloadError
from skyfan.keys import RunKeys
from skyfan.payload import Payload
from skyfan.prices import load_prices
from skyfan.storage import Bucket
from skyfan.watching import Planned, TaskDone


def test_a_plan_says_what_it_would_cost_and_writes_nothing(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    seen = Seen()
    planned = skyfan.plan(asked, engine="aws", watch=seen)
    assert (len(planned.pending), seen.names) == (4, ["Priced"])
    with pytest.raises(BudgetError, match="Nothing was started"):
        skyfan.plan(asked, engine="aws", max_cost=0.000001)
    with pytest.raises(PayloadError, match="result_path"):
        skyfan.plan(asked | {"result_path": "elsewhere/one"}, engine="aws")
    assert bucket.get(keys.payload) is None
    assert executions_of(arn) == []


def test_a_cost_above_the_limit_is_refused_before_anything_starts(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    seen = Seen()
    with pytest.raises(BudgetError, match=r"expected at most 0.0001 .*Nothing was started") as at:
        skyfan.run(asked, engine="aws", max_cost=0.0001, watch=seen)
    assert at.value.exit_code == 2
    assert seen.names == ["Priced"]
    assert executions_of(arn) == []
    assert bucket.get(keys.payload) is None


def test_a_run_that_passes_its_limit_is_stopped_and_can_go_on(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], payload: Payload, at_stop: list[threading.Event]
) -> None:
    handler, go = machine.handlers["Infer"], threading.Event()
    at_stop.append(go)

    def two_wait(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] > 1:
            go.wait(60)
        return handler(event, context)

    machine.handlers["Infer"] = two_wait
    # under way already, so that the estimate does not refuse it
    skyfan.run(asked, engine="aws", detach=True)
    seen = Seen()
    empty = Ledger(Configuration.of(describe_stack(Cloud(), "skyfan")), load_prices()).cost().total_usd
    with pytest.raises(
        BudgetError, match=r"stopped, since with the tasks under way it would cost .*What is done is kept"
    ) as at:
        drive(payload, Cloud(), "skyfan", seen, max_cost=empty + Decimal("0.0001"))
    assert at.value.exit_code == 1
    assert len(seen.of(TaskDone)) + seen.of(Planned)[0].tasks_done in {1, 2}
    assert executions_of(arn)[0]["status"] == "ABORTED"
    machine.calls.clear()
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete


def test_a_limit_needs_somebody_who_watches(arn: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="detach and max_cost are both asked for"):
        skyfan.run(asked, engine="aws", max_cost=1.0, detach=True)
    assert executions_of(arn) == []


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(asked: dict[str, Any], arn: str, limit: float) -> None:
    with pytest.raises(InputError, match="expected USD above 0"):
        skyfan.run(asked, engine="aws", max_cost=limit)
