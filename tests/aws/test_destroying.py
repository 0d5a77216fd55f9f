"""Destroying a stack: its executions end first, results go only when told to, and nobody else's things go."""

from pathlib import Path
from typing import Any

import pytest

from aws.accounts import keys_in, put, there
from aws.deployments import Seen, Stopping, answering, deployed, started, statuses
from skyfan.aws import buckets, destroying
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import Doomed, destroy
from skyfan.aws.session import Cloud
from skyfan.aws.stack import Note, ResourceEvent, describe_stack, find_stack
from skyfan.cli.stacks import question
from skyfan.errors import AwsError, StackError


def test_results_go_only_when_told_to(cloud: Cloud, package: Path) -> None:
    stack = deployed(deploy(cloud, "results", {}, package=package, watch=Seen()))
    cloud.client("s3").put_object(Bucket=stack.bucket, Key="results/one/summary.json", Body=b"{}")
    asked: list[Doomed] = []
    assert destroy(cloud, "results", watch=Seen(), ask=answering(False, asked)) is None
    assert (asked[0].kept, asked[0].results, asked[0].code.objects) == (stack.bucket, None, 2)
    assert describe_stack(cloud, "results") == stack

    done = destroy(cloud, "results", watch=Seen())
    assert done is not None
    assert (done.stack, done.result_objects, done.kept) == (True, 0, stack.bucket)
    assert keys_in(cloud, stack.bucket) == ["results/one/summary.json"]
    with pytest.raises(StackError, match=rf"there is none .*; the bucket {stack.bucket} with its results is kept"):
        destroy(cloud, "results", watch=Seen())

    other = deployed(deploy(cloud, "other", {"Bucket": stack.bucket}, package=package, watch=Seen()))
    with pytest.raises(StackError, match=rf"bucket {stack.bucket}: stack other uses it too"):
        destroy(cloud, "results", delete_results=True, watch=Seen())
    kept = destroy(cloud, "other", delete_results=True, watch=Seen())
    assert kept is not None
    assert kept.result_objects == 0
    assert keys_in(cloud, other.bucket) == ["results/one/summary.json"]

    done = destroy(cloud, "results", delete_results=True, watch=Seen(), ask=answering(True, asked))
    assert done is not None
    assert asked[-1].results == buckets.Contents(stack.bucket, "", 1, 2)
    assert (done.stack, done.result_objects, done.kept) == (False, 1, "")
    assert stack.bucket not in there(cloud)
    with pytest.raises(StackError, match=r"stack results: there is none in account \d+, region us-east-1"):
        destroy(cloud, "results", delete_results=True, watch=Seen())


class Looking(Seen):
    """Looks at executions when the deletion of the stack begins."""

    def __init__(self, cloud: Cloud, executions: list[str]) -> None:
        super().__init__()
        self._cloud, self._executions, self.found = cloud, executions, list[str]()

    def __call__(self, event: Any) -> None:
        super().__call__(event)
        if isinstance(event, ResourceEvent) and not self.found:
            self.found = statuses(self._cloud, self._executions)


def test_executions_are_stopped_before_their_stack_goes(cloud: Cloud, package: Path) -> None:
    stack = deployed(deploy(cloud, "running", {}, package=package, watch=Seen()))
    executions = started(cloud, stack, "one", "two")
    asked: list[Doomed] = []
    assert destroy(cloud, "running", watch=Seen(), ask=answering(False, asked)) is None
    assert asked[0].running == 2
    assert "2 executions under way, to be stopped first" in question("running", asked[0])
    assert statuses(cloud, executions) == ["RUNNING"] * 2

    seen = Looking(cloud, executions)
    assert destroy(cloud, "running", watch=seen) is not None
    assert seen.found == ["ABORTED"] * 2
    assert isinstance(seen.all[0], Note)
    assert seen.all[0].text == "stopped 2 executions"


def test_a_stack_stays_whose_executions_do_not_end(
    cloud: Cloud, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = deployed(deploy(cloud, "stubborn", {}, package=package, watch=Seen()))
    (execution,) = started(cloud, stack, "one")
    monkeypatch.setattr(destroying, "STOP_WAIT_S", 0.2)
    states = cloud.client("stepfunctions")

    def start_another(**_: Any) -> None:
        states.start_execution(stateMachineArn=stack.state_machine_arn, input="{}")

    states.meta.events.register("after-call.sfn.StopExecution", start_another)
    with pytest.raises(AwsError, match=r"stack stubborn: 1 execution of it still under way .*nothing was deleted"):
        destroy(cloud, "stubborn", watch=Seen())
    assert describe_stack(cloud, "stubborn") == stack
    assert statuses(cloud, [execution]) == ["ABORTED"]
    states.meta.events.unregister("after-call.sfn.StopExecution", start_another)
    assert destroy(cloud, "stubborn", watch=Seen()) is not None


OTHERS = (
    "mixed/results/one/summary.json",
    "mixed/package-0.1.zip",
    f"mixed/package-{'0' * 32}.zip.bak",
    f"mixed/old/package-{'0' * 32}.zip",
    f"mixed/statemachine-{'G' * 32}.asl.json",
    f"mixed2/package-{'0' * 32}.zip",
)


def test_what_is_not_of_a_deployment_stays_in_the_code_bucket(cloud: Cloud, package: Path) -> None:
    put(cloud, "shared-by-all", *OTHERS)
    settings = {"CodeBucket": "shared-by-all", "Bucket": "shared-by-all"}
    deploy(cloud, "mixed", settings, package=package, watch=Seen())
    ours = [key for key in keys_in(cloud, "shared-by-all") if key not in OTHERS]
    asked: list[Doomed] = []
    done = destroy(cloud, "mixed", watch=Seen(), ask=answering(True, asked))
    assert done is not None
    assert (len(ours), asked[0].code.objects, done.code_objects) == (2, 2, 2)
    assert keys_in(cloud, "shared-by-all") == sorted(OTHERS)

    put(cloud, "shared-by-all", ours[0])  # what is left when a stack is gone
    gone = destroy(cloud, "mixed", watch=Seen(), code_bucket="shared-by-all")
    assert gone is not None
    assert (gone.stack, gone.code_objects, gone.code_bucket) == (False, 1, False)
    assert keys_in(cloud, "shared-by-all") == sorted(OTHERS)
    with pytest.raises(StackError, match="no code of it in shared-by-all"):
        destroy(cloud, "mixed", watch=Seen(), code_bucket="shared-by-all")


def test_an_interrupted_destruction_is_gone_on_with(cloud: Cloud, package: Path) -> None:
    stack = deployed(deploy(cloud, "half", {}, package=package, watch=Seen()))
    seen = Stopping("DELETE_COMPLETE")
    with pytest.raises(KeyboardInterrupt):
        destroy(cloud, "half", delete_results=True, watch=seen)
    assert "not all is deleted" in seen.notes
    assert "doing the same again goes on" in seen.notes
    done = destroy(cloud, "half", delete_results=True, watch=Seen())
    assert done is not None
    assert done.code_objects == 2
    assert stack.bucket not in there(cloud)
    assert find_stack(cloud, "half") is None
