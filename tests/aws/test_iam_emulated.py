"""Permissions on an emulator: the roles are those that are deployed, and what people need covers what they ask."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws.accounts import shell
from aws.deployments import Seen, deployed
from aws.policies import allows, matches
from skyfan.aws import stack as stacks
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import destroy
from skyfan.aws.iam import deployer_permissions, role_documents, runner_permissions
from skyfan.aws.overview import overview
from skyfan.aws.session import Cloud
from skyfan.aws.upload import upload
from skyfan.errors import AwsRefusedError
from skyfan.keys import RunKeys

ROLES = {"InitializeRole", "InferRole", "InferLargeRole", "SummarizeRole", "StateMachineRole"}
S3_ACTIONS = {
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
}
"""Requests whose permission has another name."""


def made_by(cloud: Cloud, stack: str) -> dict[str, str]:
    found = cloud.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}


class Asked:
    """Keeps what is asked of AWS: permission, resource and context of each request."""

    def __init__(self, cloud: Cloud, stack: str) -> None:
        self.requests: set[tuple[str, str, str]] = set()
        self._cloud, self._stack = cloud, stack
        for service in ("cloudformation", "s3", "stepfunctions"):
            cloud.client(service).meta.events.register(f"provide-client-params.{service}.*", self._keep)

    def _keep(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.endpoint_prefix
        place = f"{self._cloud.region}:{self._cloud.account}"
        if service == "s3":
            for key in [item["Key"] for item in params.get("Delete", {}).get("Objects", [])] or [params.get("Key")]:
                action = S3_ACTIONS.get(model.name, model.name)
                end = f"/{key}" if key else ""
                self.requests.add((f"s3:{action}", f"arn:aws:s3:::{params['Bucket']}{end}", params.get("Prefix", "")))
        elif service == "cloudformation":
            named = params.get("StackName") or params.get("ChangeSetName")
            resource = f"arn:aws:cloudformation:{place}:stack/{self._stack}/an-id" if named else "*"
            self.requests.add((f"cloudformation:{model.name}", resource, ""))
        else:
            self.requests.add((f"{service}:{model.name}", next(iter(params.values())), ""))

    def refused_by(self, document: Mapping[str, Any]) -> set[tuple[str, str, str]]:
        return {
            (action, resource, prefix)
            for action, resource, prefix in self.requests
            if not allows(document, action, resource, **({"s3_prefix": prefix} if prefix else {}))
        }


def properties(role: Mapping[str, Any]) -> dict[str, Any]:
    return {policy["PolicyName"]: policy["PolicyDocument"] for policy in role["Policies"]}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"Bucket": "mine", "DataBucket": "survey", "DataPrefix": "a/b", "ResultPrefix": "out", "ModelPrefix": "m"},
        {"DataBucket": "survey", "ChildExecutionType": "STANDARD"},
        {"ScriptImage": "{account}.dkr.ecr.us-east-1.amazonaws.com/scripts:1", "ScriptPrefix": "Anomaly Detection"},
    ],
)
def test_the_roles_are_those_that_are_deployed(
    cloud: Cloud, package: Path, settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    settings = {name: value.format(account=cloud.account) for name, value in settings.items()}
    s3 = cloud.client("s3")
    for bucket in {settings.get("Bucket"), settings.get("DataBucket")} - {None}:
        s3.create_bucket(Bucket=bucket)
    stack = f"roles-{len(settings)}-{min(settings, default='').lower()}"
    deploy(cloud, stack, settings, package=package, watch=lambda event: None)
    made = made_by(cloud, stack)
    place = {"stack": stack, "account": cloud.account, "region": cloud.region}
    documents = role_documents(settings, **place, made=made)
    assert documents.keys() == ROLES | ({"ScriptRole"} if "ScriptImage" in settings else set())
    client = boto3.client("iam", region_name="us-east-1")
    for name, document in documents.items():
        called = made[name]
        found = client.get_role(RoleName=called)["Role"]
        assert found["AssumeRolePolicyDocument"] == document["AssumeRolePolicyDocument"]
        assert not client.list_attached_role_policies(RoleName=called)["AttachedPolicies"]
        policies = client.list_role_policies(RoleName=called)["PolicyNames"]
        assert sorted(policies) == sorted(properties(document))
        for policy, expected in properties(document).items():
            deployed = client.get_role_policy(RoleName=called, PolicyName=policy)["PolicyDocument"]
            assert without_stars(deployed) == without_stars(expected)
    if "NewBucket" in made:  # before there is a stack, its random end is not known
        guess = f"{stack}-newbucket-*"
        assert matches(guess, made["NewBucket"])
        text = json.dumps(documents).replace(made["NewBucket"], guess)
        assert role_documents(settings, **place) == json.loads(text)
    destroy(cloud, stack, watch=lambda event: None)


def without_stars(document: Any) -> Any:
    """Drop the end of a log group's ARN, `:*`, which CloudFormation gives and the emulator may not."""
    return json.loads(re.sub(r"(log-group:[^\":]+):\*", r"\1", json.dumps(document)))


def test_a_deployer_may_ask_what_a_deployment_asks(cloud: Cloud, package: Path) -> None:
    asked = Asked(cloud, "asked")
    seen: list[Any] = []
    deploy(cloud, "asked", {}, package=package, watch=seen.append)
    deploy(cloud, "asked", {"InferMemory": "3008"}, package=package, watch=seen.append)
    stack = stacks.describe_stack(cloud, "asked")
    overview(cloud, "asked")
    made = made_by(cloud, "asked")
    cloud.client("s3").put_object(Bucket=stack.bucket, Key="results/one/summary.json", Body=b"{}")
    asked.requests.discard(("s3:PutObject", f"arn:aws:s3:::{stack.bucket}/results/one/summary.json", ""))
    run_something(cloud, stack)
    asked.requests -= {
        (f"states:{name}", stack.state_machine_arn, "") for name in ("UpdateStateMachine", "StartExecution")
    }
    destroy(cloud, "asked", delete_results=True, watch=seen.append)
    document = deployer_permissions(stack="asked", account=cloud.account, region=cloud.region)
    assert "states:StopExecution" in {action for action, *_ in asked.requests}
    assert len(asked.requests) > 20
    assert {service for service, *_ in (request[0].split(":") for request in asked.requests)} == {
        "cloudformation",
        "s3",
        "states",
    }
    asked.requests.discard(("cloudformation:DescribeStackResources", next_stack(asked), ""))
    assert asked.refused_by(document) == set()
    _check_made(document, made, cloud)


def run_something(cloud: Cloud, stack: stacks.Stack) -> None:
    """Start an execution that waits."""
    waiting = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3000, "End": True}}}
    states = cloud.client("stepfunctions")
    states.update_state_machine(stateMachineArn=stack.state_machine_arn, definition=json.dumps(waiting))
    states.start_execution(stateMachineArn=stack.state_machine_arn, input="{}")


def next_stack(asked: Asked) -> str:
    return next(resource for action, resource, _ in asked.requests if action == "cloudformation:DescribeStackResources")


def _check_made(document: Mapping[str, Any], made: Mapping[str, str], cloud: Cloud) -> None:
    """Check that what was really made may be made, changed and deleted, under the names that it got."""
    place = f"us-east-1:{cloud.account}"
    for name in ROLES:
        role = f"arn:aws:iam::{cloud.account}:role/{made[name]}"
        for action in ("CreateRole", "PutRolePolicy", "DeleteRolePolicy", "DeleteRole", "TagRole", "GetRole"):
            assert allows(document, f"iam:{action}", role), (action, role)
        service, other = ("states", "lambda") if name == "StateMachineRole" else ("lambda", "states")
        assert allows(document, "iam:PassRole", role, iam_PassedToService=f"{service}.amazonaws.com")
        assert not allows(document, "iam:PassRole", role, iam_PassedToService=f"{other}.amazonaws.com")
        assert not allows(document, "iam:PassRole", role)
    for name in ("InitializeFunction", "InferFunction", "InferLargeFunction", "SummarizeFunction"):
        function = f"arn:aws:lambda:{place}:function:{made[name]}"
        for action in ("CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteFunction"):
            assert allows(document, f"lambda:{action}", function), (action, function)
    for name in ("InferLogs", "StateMachineLogs"):
        changing = ("CreateLogGroup", "PutRetentionPolicy", "DeleteLogGroup", "TagResource")
        for action in (*changing, "GetDataProtectionPolicy", "DescribeIndexPolicies"):
            assert allows(document, f"logs:{action}", f"arn:aws:logs:{place}:log-group:{made[name]}:*"), name
    for action in ("CreateStateMachine", "UpdateStateMachine", "DeleteStateMachine", "TagResource"):
        assert allows(document, f"states:{action}", made["StateMachine"]), made["StateMachine"]
    bucket = f"arn:aws:s3:::{made['NewBucket']}"
    for action in ("CreateBucket", "PutEncryptionConfiguration", "PutBucketPolicy", "PutLifecycleConfiguration"):
        assert allows(document, f"s3:{action}", bucket), (action, bucket)


def test_a_runner_may_upload_run_and_stop(cloud: Cloud, tmp_path: Path) -> None:
    cloud.client("s3").create_bucket(Bucket="runner")
    (tmp_path / "25MB").mkdir()
    (tmp_path / "25MB" / "1.pt").write_bytes(b"data")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    asked = Asked(cloud, "skyfan")
    for source, prefix in ((tmp_path / "25MB", "surveys/25MB"), (tmp_path / "large.onnx", "models")):
        upload(cloud, source, "runner", prefix, progress=lambda done, total: None)
    document = runner_permissions(stack="skyfan", account=cloud.account, region="us-east-1", bucket="runner")
    assert {"s3:ListBucketMultipartUploads", "s3:DeleteObject", "s3:ListBucket"} <= {item[0] for item in asked.requests}
    assert asked.refused_by(document) == set()
    place = f"us-east-1:{cloud.account}"
    keys = RunKeys("results/one")
    execution = f"arn:aws:states:{place}:execution:skyfan:one"
    for action, resource in (
        ("states:StartExecution", f"arn:aws:states:{place}:stateMachine:skyfan"),
        ("states:ListExecutions", f"arn:aws:states:{place}:stateMachine:skyfan"),
        ("states:DescribeExecution", execution),
        ("states:StopExecution", execution),
        ("states:GetExecutionHistory", execution),
        ("states:ListMapRuns", execution),
        ("states:DescribeMapRun", f"arn:aws:states:{place}:mapRun:skyfan/InferAll:an-id"),
        ("cloudformation:DescribeStacks", f"arn:aws:cloudformation:{place}:stack/skyfan/id"),
        ("logs:FilterLogEvents", f"arn:aws:logs:{place}:log-group:/aws/lambda/skyfan-infer-large:*"),
        ("s3:GetObject", f"arn:aws:s3:::runner/{keys.report(3)}"),
        ("s3:PutObject", f"arn:aws:s3:::runner/{keys.lease(3)}"),
    ):
        assert allows(document, action, resource), action
    for action, key in (
        ("s3:PutObject", keys.report(3)),
        ("s3:PutObject", keys.summary),
        ("s3:DeleteObject", keys.summary),
        ("s3:DeleteObject", "surveys/25MB/1.pt"),
        ("s3:GetObject", "elsewhere/x"),
    ):
        assert not allows(document, action, f"arn:aws:s3:::runner/{key}"), (action, key)
    assert not allows(document, "s3:ListBucket", "arn:aws:s3:::runner", s3_prefix="private/")


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
