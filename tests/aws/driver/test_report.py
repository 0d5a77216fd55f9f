"""The report of a run on AWS: the execution's history, the bill, and the roles of its stack."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import skyfan
from aws.states import Machine
from skyfan.aws.session import Cloud
from skyfan.cli.reports import report
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.report.history import read_history
from skyfan.report.record import read_record
from skyfan.report.writing import write_report
from skyfan.storage import Bucket, Store


@pytest.fixture
def done(machine: Machine, arn: str, asked: dict[str, Any]) -> skyfan.Run:
    return skyfan.run(asked, engine="aws")


def test_the_history_has_every_state_of_the_execution(done: skyfan.Run, bucket: Bucket, keys: RunKeys) -> None:
    lease = read_lease(bucket, keys)
    assert lease is not None
    assert lease.execution is not None
    found = read_history(Cloud(), lease.execution)
    assert found is not None
    assert found.status == "SUCCEEDED"
    assert [state.name for state in found.states][:3] == ["Initialize", "AnythingPending", "InferAll"]
    assert {"Summarize", "Done"} <= {state.name for state in found.states}
    assert all(state.left is None or state.left >= state.entered for state in found.states)
    assert found.started is not None
    assert found.stopped is not None
    assert found.started <= found.states[0].entered <= found.stopped


def test_an_execution_that_aws_has_forgotten_has_no_history(done: skyfan.Run) -> None:
    arn = "arn:aws:states:us-east-1:123456789012:execution:skyfan:gone"
    assert read_history(Cloud(), arn) is None


def test_the_report_asked_for_with_the_stack_has_history_roles_and_bill(done: skyfan.Run, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    ended = CliRunner().invoke(report, [done.id, "--stack", "skyfan", "--out", str(out)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    text = out.read_text()
    for said in (
        "The execution&#39;s history, as AWS tells it",
        "The roles of the stack skyfan, with its settings",
        "AssumeRolePolicyDocument",
        "lambda:InvokeFunction",
        "The bill",
        "Lambda infer: compute",
        "--engine aws",
    ):
        assert said in text, said
    assert "a-secret" not in text
    assert "an-id" not in text


def test_without_asking_aws_the_roles_are_those_of_the_template(done: skyfan.Run, tmp_path: Path) -> None:
    write_report([done], Store("s3://"), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "Make the report with --stack skyfan" in text
    assert "AssumeRolePolicyDocument" in text
    assert "The execution&#39;s history" not in text


def test_an_execution_that_was_stopped_from_outside_is_not_called_running(
    done: skyfan.Run, bucket: Bucket, keys: RunKeys
) -> None:
    from skyfan.lease import release_for, take_for

    lease = read_lease(bucket, keys)
    assert lease is not None
    assert lease.execution is not None
    take_for(bucket, keys, lease.execution)
    store = Store("s3://")
    assert read_record(done, store).standing.state == "running"
    assert read_record(done, store, cloud=Cloud()).standing.state == "interrupted"
    release_for(bucket, keys, lease.execution)
