"""A run is followed through trouble, and no more often than it needs."""

from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, executions_of, slowed
from aws.stacks import client
from aws.states import Machine
from skyfan.aws.following import look_every_s
from skyfan.aws.session import Cloud
from skyfan.errors import StackError, StoreError
from skyfan.watching import Planned, RunEvent


@pytest.mark.parametrize(("tasks", "expected"), [(1, 1.0), (999, 1.0), (5_000, 6.0), (100_000, 20.0)])
def test_more_tasks_are_looked_at_less_often(tasks: int, expected: float) -> None:
    assert look_every_s(tasks) == expected


def test_trouble_while_watching_is_waited_out(
    machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server error of Step Functions, three times, in the middle of a run."""
    from skyfan.aws import following
    from skyfan.errors import AwsError

    original, left = following.describe, [AwsError("execution: AWS asks to slow down"), StoreError("the store failed")]

    def describe(cloud: Cloud, execution: str) -> Any:
        if left:
            raise left.pop()
        return original(cloud, execution)

    monkeypatch.setattr(following, "describe", describe)
    seen = Seen()
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert seen.names.count("Waiting") == 1
    assert not left


def test_expired_credentials_end_the_watching_only(
    machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    from skyfan.aws import following
    from skyfan.aws.session import explained
    from skyfan.errors import AwsRefusedError

    def describe(cloud: Cloud, execution: str) -> Any:
        with explained("execution"):
            raise ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "expired"}}, "DescribeExecution")

    with monkeypatch.context() as patch:
        patch.setattr(following, "describe", describe)
        with pytest.raises(AwsRefusedError, match=r"have expired.*but the run goes on") as at:
            skyfan.run(asked, engine="aws")
    assert at.value.exit_code == 2
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete
    assert len(executions_of(arn)) == 1


def test_an_execution_that_is_gone_is_said(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine)

    def watch(event: RunEvent) -> None:
        if isinstance(event, Planned):
            client("stepfunctions").delete_state_machine(stateMachineArn=arn)

    with pytest.raises(StackError, match=r"is gone, as when its stack is deleted.*what is done is kept"):
        skyfan.run(asked, engine="aws", watch=watch)
    go.set()
