"""Deploying and destroying the stack: on ministack the whole life of one, on moto what is refused and why."""

import hashlib
import json
import os
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.stub import Stubber
from click.testing import CliRunner
from moto.cloudformation.models import cloudformation_backends
from moto.iam import access_control
from moto.s3.models import s3_backends

from aws.emulator import Emulator, ministack
from aws.states import Machine
from aws.test_template import _Loader
from running import SKYFAN
from s3 import request
from skyfan.aws import archive, buckets, deploying, destroying, template
from skyfan.aws import stack as stacks
from skyfan.aws.buckets import MAKER_TAG
from skyfan.aws.changes import Changes
from skyfan.aws.deploying import Deployed, deploy
from skyfan.aws.destroying import Doomed, destroy
from skyfan.aws.overview import overview
from skyfan.aws.session import Cloud
from skyfan.aws.stack import Note, ResourceEvent, describe_stack, find_stack
from skyfan.cli import cli
from skyfan.cli.stacks import question
from skyfan.errors import AwsError, AwsRefusedError, InputError, StackError

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")  # moto knows it only by itself

MOTO_ACCOUNT = "123456789012"
BODY_LIMIT_BYTES = 51_200
"""Of a template that is sent with a request, and not from a bucket."""
ELF = b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little")


class Seen:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def __call__(self, event: Any) -> None:
        self.all.append(event)

    @property
    def changed(self) -> dict[str, tuple[str, ...]]:
        """Resources of all change sets, and the parameters that they were changed by."""
        return {
            change.resource: change.because for seen in self.all if isinstance(seen, Changes) for change in seen.changes
        }

    @property
    def statuses(self) -> list[tuple[str, str]]:
        return [(event.resource, event.status) for event in self.all if isinstance(event, ResourceEvent)]

    @property
    def notes(self) -> str:
        return "\n".join(event.text for event in self.all if isinstance(event, Note))


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "POLL_S", 0.05)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package: what is in a real one, test_package.py tests."""
    return write_zip(tmp_path / "package.zip")


def write_zip(path: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("skyfan/__init__.py", '__version__ = "0.1.0"\n')
        content.writestr("skyfan/aws/handlers.py", "def initialize(event, context):\n    return event\n")
        for name, data in more.items():
            content.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pytest.importorskip("ministack")
    with ministack(tmp_path_factory.mktemp("ministack"), auth=True) as found:
        yield found


def enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Cloud()


@pytest.fixture
def cloud(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An account on ministack, which all tests share: each has a stack of its own name."""
    return enter(emulator.environment, monkeypatch)


@pytest.fixture
def moto(_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An empty account on moto."""
    request(_machine.address, "POST", "/moto-api/reset")
    allowed = access_control.IAMPolicyStatement.is_action_permitted

    def over_tls(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Heed the one condition that there is in our buckets' policies, which moto takes for fulfilled."""
        if self._statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}:
            return access_control.PermissionResult.NEUTRAL
        return allowed(self, *args, **kwargs)

    monkeypatch.setattr(access_control.IAMPolicyStatement, "is_action_permitted", over_tls)
    return enter(
        {
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": _machine.address,
        },
        monkeypatch,
    )


def shell(*arguments: object, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SKYFAN, "aws", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
    )


def answering(answer: bool, questions: list[Any]) -> Callable[[Any], bool]:
    """Answer every question the same, and keep them."""

    def ask(asked: Any) -> bool:
        questions.append(asked)
        return answer

    return ask


def put(cloud: Cloud, bucket: str, *keys: str) -> None:
    cloud.client("s3").create_bucket(Bucket=bucket)
    for key in keys:
        cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"data")


def keys_in(cloud: Cloud, bucket: str) -> list[str]:
    return [found["Key"] for found in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def there(cloud: Cloud) -> set[str]:
    return {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}


# the whole life of a stack


def test_life_on_the_command_line(cloud: Cloud, tmp_path: Path) -> None:
    out = tmp_path / "skyfan.zip"
    built = shell("package", out)
    if "cannot be reached" in built.stderr:
        pytest.skip(built.stderr)
    assert built.returncode == 0, built.stderr
    assert f"sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}" in built.stdout
    put(cloud, "mine", "models/photoz.onnx")
    put(cloud, "survey", "surveys/1.safetensors")
    before = there(cloud)
    named = ("--bucket", "mine", "--data-bucket", "survey", "--code-bucket", "code-of-life")
    asked = ("deploy", "--stack", "life", *named)
    planned = shell(*asked, "--package", out, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "+ InferFunction  AWS::Lambda::Function" in planned.stderr
    assert find_stack(cloud, "life") is None
    assert there(cloud) == before

    made = shell(*asked, "--package", out)
    assert made.returncode == 0, made.stderr
    assert "CREATE_COMPLETE      InferFunction" in made.stderr
    assert "CREATE_COMPLETE      NewBucket" not in made.stderr
    assert "stack life: deployed" in made.stdout
    assert "mine" in made.stdout

    again = shell("deploy", "--stack", "life", "--json")
    assert again.returncode == 0, again.stderr
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert events[0] == {"event": "Note", "text": "building the package for arm64"}
    assert [event["event"] for event in events] == ["Note", "Deployed"]  # the same bytes: none are uploaded
    assert events[1]["changes"] is None

    found = json.loads(shell("status", "--stack", "life", "--json").stdout)
    assert found["stack"]["outputs"]["DataBucketName"] == "survey"
    assert found["code"]["version"] == "0.1.0"

    refused = shell("destroy", "--stack", "life")
    assert refused.returncode == 2
    assert "2 objects of code" in refused.stderr
    assert "expected a terminal, or --yes" in refused.stderr
    gone = shell("destroy", "--stack", "life", "--yes", "--delete-results")
    assert gone.returncode == 0, gone.stderr
    assert "deleted the stack, 2 objects of code and their bucket" in gone.stdout
    assert find_stack(cloud, "life") is None
    assert keys_in(cloud, "mine") == ["models/photoz.onnx"]
    assert keys_in(cloud, "survey") == ["surveys/1.safetensors"]
    assert there(cloud) == before
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert not [group for group in groups if "life" in group["logGroupName"]]


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


def deployed(done: Deployed) -> stacks.Stack:
    assert done.stack is not None
    return done.stack


WAITING = json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3000, "End": True}}})


def started(cloud: Cloud, stack: stacks.Stack, *names: str) -> list[str]:
    """Start executions that only wait; return their ARNs."""
    states = cloud.client("stepfunctions")
    states.update_state_machine(stateMachineArn=stack.state_machine_arn, definition=WAITING)
    return [
        states.start_execution(stateMachineArn=stack.state_machine_arn, name=name, input="{}")["executionArn"]
        for name in names
    ]


def statuses(cloud: Cloud, executions: list[str]) -> list[str]:
    states = cloud.client("stepfunctions")
    return [states.describe_execution(executionArn=arn)["status"] for arn in executions]


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


class Stopping(Seen):
    """Presses Ctrl-C when a resource has come to a status."""

    def __init__(self, status: str) -> None:
        super().__init__()
        self._status = status

    def __call__(self, event: Any) -> None:
        super().__call__(event)
        if isinstance(event, ResourceEvent) and event.status == self._status:
            raise KeyboardInterrupt


def test_an_interrupted_deployment_goes_on(cloud: Cloud, package: Path) -> None:
    seen = Stopping("CREATE_IN_PROGRESS")
    with pytest.raises(KeyboardInterrupt):
        deploy(cloud, "stopped", {}, package=package, watch=seen)
    assert "the deployment of stack stopped goes on in AWS" in seen.notes
    until = time.monotonic() + 30
    while not stacks.existing_stack(cloud, "stopped").usable:
        assert time.monotonic() < until
    assert deploy(cloud, "stopped", {}, package=package, watch=Seen()).changes is None


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


def over_tls(request: Any, **_: Any) -> None:
    """Add what a proxy adds that ends TLS: without it, the policy of the code bucket refuses the request."""
    request.headers["X-Forwarded-Proto"] = "https"


def test_what_a_deployer_needs_is_enough(cloud: Cloud, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether CloudFormation may do what the stack is made of, on the deployer's behalf, the emulator does not ask."""
    printed = shell("iam", "--deployer", "--stack", "allowed")
    assert printed.returncode == 0, printed.stderr
    iam = cloud.client("iam")
    iam.create_user(UserName="student")
    iam.put_user_policy(UserName="student", PolicyName="deployer", PolicyDocument=printed.stdout)
    key = iam.create_access_key(UserName="student")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    student = Cloud()
    student.client("s3").meta.events.register("before-send.s3", over_tls)
    stack = deployed(deploy(student, "allowed", {}, package=package, watch=Seen()))
    assert deploy(student, "allowed", {}, package=package, watch=Seen()).changes is None
    assert overview(student, "allowed").code is not None
    cloud.client("s3").put_object(Bucket=stack.bucket, Key="results/one/summary.json", Body=b"{}")
    done = destroy(student, "allowed", delete_results=True, watch=Seen())
    assert done is not None
    assert done.result_objects == 1
    with pytest.raises(AwsRefusedError, match="you are not allowed to"):
        deploy(student, "forbidden", {}, package=package, watch=Seen())


def test_a_value_that_the_template_refuses(cloud: Cloud, package: Path) -> None:
    with pytest.raises(InputError, match=r"stack value: .*InferMemory.*; expected settings that the template takes"):
        deploy(cloud, "value", {"InferMemory": "64"}, package=package, watch=Seen())
    assert find_stack(cloud, "value") is None


def test_unknown_credentials(cloud: Cloud) -> None:
    done = shell("status", environment={"AWS_ACCESS_KEY_ID": "nobody"})
    assert done.returncode == 2
    assert "AWS does not know these credentials" in done.stderr


# what is refused, and what is left then


def test_the_code_bucket_is_closed(moto: Cloud, package: Path) -> None:
    seen = Seen()
    deploy(moto, "closed", {}, package=package, watch=seen)
    bucket = f"skyfan-code-{MOTO_ACCOUNT}-us-east-1"
    s3 = moto.client("s3")
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {"Key": "project", "Value": "skyfan"} in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert buckets.is_ours(moto, bucket)
    assert sorted(key.split("-")[0] for key in keys_in(moto, bucket)) == ["closed/package", "closed/statemachine"]
    assert f"made bucket {bucket}" in seen.notes

    again = Seen()
    assert deploy(moto, "closed", {}, package=package, watch=again).changes is None
    assert not again.all
    found = overview(moto, "closed")
    assert found.code is not None
    assert (found.code.version, found.code.size_bytes) == ("0.1.0", package.stat().st_size)

    done = destroy(moto, "closed", watch=Seen())
    assert done is not None
    assert (done.stack, done.code_objects, done.code_bucket) == (True, 2, True)
    assert bucket not in there(moto)


def test_a_dry_run_leaves_nothing(moto: Cloud, package: Path) -> None:
    seen = Seen()
    done = deploy(moto, "dry", {}, package=package, watch=seen, dry_run=True)
    assert "InferFunction" in seen.changed
    assert done.stack is None
    assert find_stack(moto, "dry") is None
    assert not there(moto)
    assert not moto.client("cloudformation").list_change_sets(StackName="dry")["Summaries"]


def test_a_bucket_that_is_named_is_not_touched(moto: Cloud) -> None:
    put(moto, "theirs")
    assert not buckets.make_code_bucket(moto, "theirs", "skyfan")
    assert not buckets.is_ours(moto, "theirs")
    assert buckets.make_code_bucket(moto, "new-one", "skyfan")
    tags = moto.client("s3").get_bucket_tagging(Bucket="new-one")["TagSet"]
    assert MAKER_TAG in tags


def test_emptying_goes_past_a_page(moto: Cloud) -> None:
    put(moto, "full", "resultsful/1")
    for number in range(1002):
        s3_backends[MOTO_ACCOUNT]["aws"].put_object("full", f"results/{number}", b"data")
    assert buckets.contents(moto, "full", "results/") == buckets.Contents("full", "results/", 1002, 4008)
    assert buckets.empty(moto, "full", "results/") == 1002
    assert keys_in(moto, "full") == ["resultsful/1"]
    assert not buckets.delete_bucket(moto, "full")
    assert buckets.contents(moto, "absent").objects == 0


def test_a_bucket_in_another_region(moto: Cloud, package: Path) -> None:
    moto.client("s3").create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for settings in ({"Bucket": "far"}, {"DataBucket": "far"}, {"CodeBucket": "far"}):
        with pytest.raises(InputError, match=r"bucket far: is in region eu-west-1; expected us-east-1.*: name another"):
            deploy(moto, "regions", settings, package=package, watch=Seen())
    assert find_stack(moto, "regions") is None


def test_a_bucket_of_another_account(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ministack")
    with ministack(tmp_path) as emulator:  # without credentials to check, the key is the account's number
        put(enter({**emulator.environment, "AWS_ACCESS_KEY_ID": "999999999999"}, monkeypatch), "taken")
        cloud = enter({**emulator.environment, "AWS_ACCESS_KEY_ID": "111111111111"}, monkeypatch)
        for settings, option in (({"CodeBucket": "taken"}, "--code-bucket"), ({"Bucket": "taken"}, "--bucket")):
            with pytest.raises(InputError, match=rf"bucket taken: belongs to another account.*with {option}"):
                deploy(cloud, "accounts", settings, package=package, watch=Seen())
        assert find_stack(cloud, "accounts") is None


def test_an_absent_bucket(moto: Cloud, package: Path) -> None:
    with pytest.raises(InputError, match=r"bucket nowhere: there is none; expected one that exists: .*--data-bucket"):
        deploy(moto, "absent", {"DataBucket": "nowhere"}, package=package, watch=Seen())


def test_no_stack(moto: Cloud) -> None:
    with pytest.raises(StackError, match=r"there is none in account \d+, region us-east-1; deploy it: skyfan aws depl"):
        describe_stack(moto, "none")
    with pytest.raises(StackError, match=r"stack none: there is none .* and no code of it in skyfan-code-"):
        destroy(moto, "none", watch=Seen())


def test_a_stack_in_another_region(moto: Cloud) -> None:
    make(moto, "home")
    away = Cloud("eu-west-1")
    with pytest.raises(StackError, match=r"region eu-west-1; .*name the place where it is: --region, --profile"):
        describe_stack(away, "home")


def make(cloud: Cloud, name: str, status: str = "CREATE_COMPLETE") -> None:
    """Make a small stack, and bring it to a status."""
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}}}}
    cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    (stack,) = (
        stack for stack in cloudformation_backends[MOTO_ACCOUNT]["us-east-1"].stacks.values() if stack.name == name
    )
    stack.status = status


@pytest.mark.parametrize(
    ("status", "to_deploy", "to_destroy"),
    [
        ("CREATE_IN_PROGRESS", "wait until 'skyfan aws status", "expected no operation under way"),
        ("UPDATE_IN_PROGRESS", "wait until 'skyfan aws status", "expected no operation under way"),
        ("DELETE_IN_PROGRESS", "it is being deleted; wait for the end: skyfan aws destroy", None),
        ("DELETE_FAILED", "not all of it could be deleted; go on: skyfan aws destroy --stack odd", None),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name odd --region us-east-1", None),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "tidies up after an update; wait a minute", "no operation under way"),
    ],
)
def test_a_stack_that_cannot_be_deployed_to(
    moto: Cloud, package: Path, status: str, to_deploy: str, to_destroy: str | None
) -> None:
    make(moto, "odd", status)
    with pytest.raises(StackError, match=to_deploy):
        deploy(moto, "odd", {}, package=package, watch=Seen())
    if to_destroy:
        with pytest.raises(StackError, match=to_destroy):
            destroy(moto, "odd", watch=Seen())
    assert not there(moto)


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"]
)
def test_a_stack_that_runs_can_be_started_on(moto: Cloud, status: str) -> None:
    make(moto, "whole", status)
    found = describe_stack(moto, "whole")
    assert found.status == status
    assert found.account == MOTO_ACCOUNT
    with pytest.raises(StackError, match="stack whole: has no output BucketName; expected a stack of this skyfan"):
        assert found.bucket


# settings and packages


def test_parameters_are_those_of_the_template() -> None:
    text = template.template_text()
    assert len(text.encode()) < BODY_LIMIT_BYTES
    parameters = yaml.load(text, _Loader)["Parameters"]  # noqa: S506  as there
    expected = {name: str(given["Default"]) if "Default" in given else None for name, given in parameters.items()}
    assert template.parameter_defaults() == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("infer_memory", "has no such parameter; did you mean 'InferMemory'"),
        ("Architectur", "did you mean 'Architecture'"),
        ("Colour-of-the-sky", "known are CodeBucket, Bucket, DataBucket"),
        ("CodeKey", "is what a deployment uploads; .*leave it out"),
    ],
)
def test_unknown_settings(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        template.check_settings({name: "1"})


def test_settings_are_given_once() -> None:
    for arguments, message in (
        (["--memory", "2000", "--set", "InferMemory=3000"], "InferMemory is given twice"),
        (["--set", "InferMemory"], "--set InferMemory; expected a name, '=' and a value"),
    ):
        done = CliRunner().invoke(cli, ["aws", "deploy", *arguments])
        assert done.exit_code == 2
        assert message in done.output


def test_packages_that_are_none(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as content:
        content.writestr("app.py", "")
    for name, message in (
        ("absent", "cannot be read as a package"),
        ("text", "cannot be read as a package"),
        ("other.zip", "has no skyfan/aws/handlers.py; expected a zip that 'skyfan aws package --architecture arm64'"),
    ):
        with pytest.raises(InputError, match=message):
            archive.read_archive(tmp_path / name, "arm64")
    assert archive.read_archive(package, "arm64").version == "0.1.0"
    assert archive.read_archive(write_zip(package, **{"a.so": ELF}), "x86_64").architecture == "x86_64"
    monkeypatch.setattr(archive, "LIMIT_BYTES", 10)
    with pytest.raises(InputError, match="MiB unzipped; expected at most"):
        archive.read_archive(package, "x86_64")


def test_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    done = shell("deploy", environment=nowhere)
    assert done.returncode == 2
    assert "no region is known; expected one, as us-east-1: give --region or set AWS_REGION" in done.stderr
    for command in ("deploy", "status", "destroy"):
        done = shell(command, "--region", "us-east-1", environment=nowhere)
        assert done.returncode == 2
        assert "no credentials for AWS were found" in done.stderr


def test_questions_are_asked(moto: Cloud, package: Path) -> None:
    make(moto, "asked")
    done = CliRunner().invoke(cli, ["aws", "destroy", "--stack", "asked"], input="n\n")
    assert done.exit_code == 1
    assert "This deletes:\n  stack asked (CREATE_COMPLETE) in account 123456789012, us-east-1\n" in done.output
    assert "nothing was deleted" in done.output
    assert find_stack(moto, "asked") is not None


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
