"""A deployment: it changes what is named, goes on after an interrupt, and is taken back where it fails."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from aws.accounts import keys_in, put, there
from aws.deployments import ELF, Seen, Stopping, answering, deployed, started, write_zip
from skyfan.aws import deploying
from skyfan.aws import stack as stacks
from skyfan.aws.changes import Changes
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import destroy
from skyfan.aws.overview import overview
from skyfan.aws.session import Cloud
from skyfan.aws.stack import Note, ResourceEvent, describe_stack, find_stack
from skyfan.errors import AwsError, InputError, StackError

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")  # moto knows it only by itself


def test_an_update_changes_what_is_named(cloud: Cloud, package: Path) -> None:
    first = deploy(cloud, "update", {"LogRetentionDays": "7"}, package=package, watch=Seen())
    seen = Seen()
    assert deploy(cloud, "update", {}, package=package, watch=seen).changes is None
    assert not seen.all
    done = deploy(cloud, "update", {"InferMemory": "3008"}, package=package, watch=seen)
    assert seen.changed["InferFunction"] == ("InferMemory",)
    assert not {"InferLargeFunction", "SummarizeFunction", "NewBucket", "InferRole"} & seen.changed.keys()
    assert seen.statuses[-1] == ("update", "UPDATE_COMPLETE")
    assert done.stack is not None
    assert first.stack is not None
    assert done.stack.parameters["LogRetentionDays"] == "7"
    assert done.stack.outputs == first.stack.outputs
    memory = cloud.client("lambda").get_function_configuration(FunctionName="update-infer")["MemorySize"]
    assert memory == 3008
    with pytest.raises(InputError, match=r"is for x86_64, but the functions are arm64"):
        deploy(cloud, "update", {}, package=write_zip(package, **{"numpy/core.so": ELF}), watch=Seen())


def test_a_deployment_says_what_it_is_to_executions_under_way(cloud: Cloud, package: Path) -> None:
    stack = deployed(deploy(cloud, "used", {}, package=package, watch=Seen()))
    executions = started(cloud, stack, "one", "two")
    seen = Seen()
    deploy(cloud, "used", {"InferMemory": "3008"}, package=package, watch=seen)
    kinds = [type(event) for event in seen.all]
    assert seen.notes == "2 executions under way: tasks that start later run the new code and settings"
    assert kinds.index(Note) < kinds.index(ResourceEvent)
    for execution in executions:
        cloud.client("stepfunctions").stop_execution(executionArn=execution)
    quiet = Seen()
    deploy(cloud, "used", {"InferMemory": "1769"}, package=package, watch=quiet)
    assert not quiet.notes


def test_an_interrupted_deployment_goes_on(cloud: Cloud, package: Path) -> None:
    seen = Stopping("CREATE_IN_PROGRESS")
    with pytest.raises(KeyboardInterrupt):
        deploy(cloud, "stopped", {}, package=package, watch=seen)
    assert "the deployment of stack stopped goes on in AWS" in seen.notes
    until = time.monotonic() + 30
    while not stacks.existing_stack(cloud, "stopped").usable:
        assert time.monotonic() < until
    assert deploy(cloud, "stopped", {}, package=package, watch=Seen()).changes is None


class Spoiling(Seen):
    """Takes the state machine's definition away before the change set is executed, so that the state machine fails."""

    def __init__(self, cloud: Cloud, bucket: str) -> None:
        super().__init__()
        self._cloud, self._bucket = cloud, bucket

    def __call__(self, event: Any) -> None:
        super().__call__(event)
        if isinstance(event, Changes):
            (key,) = (key for key in keys_in(self._cloud, self._bucket) if "statemachine" in key)
            self._cloud.client("s3").delete_object(Bucket=self._bucket, Key=key)


def test_a_failed_creation_is_told_and_replaced(cloud: Cloud, package: Path) -> None:
    put(cloud, "code-of-failed")
    settings = {"CodeBucket": "code-of-failed"}
    with pytest.raises(AwsError) as caught:
        deploy(cloud, "failed", settings, package=package, watch=Spoiling(cloud, "code-of-failed"))
    said = str(caught.value)
    assert "the deployment failed (ROLLBACK_COMPLETE): StateMachine (AWS::StepFunctions::StateMachine): " in said
    assert "nothing runs; the same command replaces what is left of the stack" in said
    assert not [name for name in there(cloud) if name.startswith("failed-newbucket")], "an empty bucket is kept"

    with pytest.raises(StackError, match=r"is ROLLBACK_COMPLETE: its creation failed, .*deploy it again, which replac"):
        describe_stack(cloud, "failed")
    with pytest.raises(StackError, match="it can only be deleted; expected your consent to that: answer yes, or give"):
        deploy(cloud, "failed", settings, package=package, watch=Seen())
    with pytest.raises(StackError, match="its creation failed"):
        deploy(cloud, "failed", settings, package=package, watch=Seen(), dry_run=True)

    questions: list[str] = []
    done = deploy(cloud, "failed", settings, package=package, watch=Seen(), ask=answering(True, questions))
    assert deployed(done).status == "CREATE_COMPLETE"
    assert "Delete it and make it anew?" in questions[0]


def test_a_failed_update_is_taken_back(cloud: Cloud, package: Path) -> None:
    put(cloud, "code-of-back")
    settings = {"CodeBucket": "code-of-back"}
    before = deployed(deploy(cloud, "back", settings, package=package, watch=Seen()))
    spoiling = Spoiling(cloud, "code-of-back")
    with pytest.raises(
        AwsError, match=r"failed \(UPDATE_ROLLBACK_COMPLETE\): StateMachine .*the stack is as it was bef"
    ):
        deploy(cloud, "back", {"ChildExecutionType": "STANDARD"}, package=package, watch=spoiling)
    now = describe_stack(cloud, "back")
    assert now.status == "UPDATE_ROLLBACK_COMPLETE"
    assert now.outputs == before.outputs
    done = deploy(cloud, "back", {"ChildExecutionType": "STANDARD"}, package=package, watch=Seen())
    assert deployed(done).parameters["ChildExecutionType"] == "STANDARD"
    gone = destroy(cloud, "back", watch=Seen())
    assert gone is not None
    assert not gone.code_bucket
    assert "code-of-back" in there(cloud)


def test_a_dry_run_leaves_nothing(moto: Cloud, package: Path) -> None:
    seen = Seen()
    done = deploy(moto, "dry", {}, package=package, watch=seen, dry_run=True)
    assert "InferFunction" in seen.changed
    assert done.stack is None
    assert find_stack(moto, "dry") is None
    assert not there(moto)
    assert not moto.client("cloudformation").list_change_sets(StackName="dry")["Summaries"]


@pytest.mark.parametrize(
    ("free", "expected"), [(10, {"MaxConcurrency": "10"}), (0, {"MaxConcurrency": "1"}), (1000, {})]
)
def test_a_new_stack_starts_no_more_tasks_than_the_account_may(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    cloud, said = Cloud("us-east-1"), []
    with Stubber(cloud.client("lambda")) as stub:
        limits = {"ConcurrentExecutions": max(free, 10), "UnreservedConcurrentExecutions": free}
        stub.add_response("get_account_settings", {"AccountLimit": limits})
        assert deploying._fitting(cloud, None, said.append) == expected
    assert len(said) == bool(expected)


def test_an_image_makes_a_function_for_scripts_and_without_it_that_goes(cloud: Cloud, package: Path) -> None:
    image = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/scripts@sha256:{'0a' * 32}"
    settings = {"ScriptImage": image, "ScriptPrefix": "Anomaly Detection", "ScriptMemory": "2048"}
    stack = deployed(deploy(cloud, "scripted", settings, package=package, watch=Seen()))
    functions, states = cloud.client("lambda"), cloud.client("stepfunctions")
    found = functions.get_function(FunctionName="scripted-script")
    made, variables = found["Configuration"], found["Configuration"]["Environment"]["Variables"]
    assert (made["PackageType"], found["Code"]["ImageUri"]) == ("Image", image)
    assert made["ImageConfigResponse"]["ImageConfig"]["Command"] == ["skyfan.aws.handlers.infer"]
    assert (made["MemorySize"], made["Timeout"], made["EphemeralStorage"]["Size"]) == (2048, 900, 2048)
    assert variables == {"SKYFAN_STORE": "s3://", "SKYFAN_ALLOW_SCRIPTS": "yes"}
    assert stack.outputs["ScriptFunctionArn"] == made["FunctionArn"]
    assert overview(cloud, "scripted").stack.parameters["ScriptImage"] == image

    def workers() -> dict[str, str]:
        text = states.describe_state_machine(stateMachineArn=stack.state_machine_arn)["definition"]
        inside = json.loads(text)["States"]["InferAll"]["ItemProcessor"]["States"]
        return {name: state["Parameters"]["FunctionName"] for name, state in inside.items() if "Parameters" in state}

    def initialize_allows() -> str:
        found = functions.get_function_configuration(FunctionName="scripted-initialize")
        return str(found["Environment"]["Variables"]["SKYFAN_ALLOW_SCRIPTS"])

    assert workers()["InferScript"] == made["FunctionArn"]
    assert initialize_allows() == "yes"
    now = deployed(deploy(cloud, "scripted", {"ScriptImage": ""}, package=package, watch=Seen()))
    assert "ScriptFunctionArn" not in now.outputs
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName="scripted-script")
    assert workers()["InferScript"] == workers()["Infer"]
    assert initialize_allows() == "no"
