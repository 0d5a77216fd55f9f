"""Permissions: the roles are those that an emulator deploys, and what people need covers what they ask of AWS."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws.emulator import Emulator, ministack
from skyfan.aws import forecast, iam
from skyfan.aws import stack as stacks
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import destroy
from skyfan.aws.iam import deployer_permissions, role_documents, runner_permissions
from skyfan.aws.overview import overview
from skyfan.aws.resolving import read_template
from skyfan.aws.session import Cloud
from skyfan.aws.template import parameter_defaults
from skyfan.aws.upload import upload
from skyfan.cost import GB_BYTES
from skyfan.errors import InputError
from skyfan.estimate import Job, Setup, estimated_run
from skyfan.keys import RunKeys
from skyfan.prices import load_prices

DOCS = Path(__file__).parents[2] / "docs" / "aws.md"
PLACE = {"stack": "skyfan", "account": "123456789012", "region": "us-east-1"}
ROLES = {"InitializeRole", "InferRole", "InferLargeRole", "SummarizeRole", "StateMachineRole"}
POLICY_LIMIT_CHARACTERS = 6144
"""Of a managed policy, without white space."""
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
UNNAMED = {"ListStacks", "ValidateTemplate"}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for operator, tests in condition.items():
        for key, expected in tests.items():
            if key not in context:
                if operator.endswith("IfExists"):
                    continue
                return False
            if not any(matches(pattern, context[key]) for pattern in as_list(expected)):
                return False
    return True


def allows(document: Mapping[str, Any], action: str, resource: str, **context: str) -> bool:
    """Evaluate a policy, as IAM does, for one request."""
    known = {"aws:RequestedRegion": "us-east-1"} | {key.replace("_", ":"): value for key, value in context.items()}
    return any(
        action in as_list(statement["Action"])
        and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
        and holds(statement.get("Condition", {}), known)
        for statement in document["Statement"]
    )


def all_documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in role_documents({}, **PLACE).items():
        for policy in role["Policies"]:
            yield name, policy["PolicyDocument"]
    yield "deployer", deployer_permissions(**PLACE)
    yield "runner", runner_permissions(**PLACE)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pytest.importorskip("ministack")
    with ministack(tmp_path_factory.mktemp("ministack"), auth=True) as found:
        yield found


@pytest.fixture
def cloud(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr(stacks, "POLL_S", 0.05)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    return Cloud()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("skyfan/__init__.py", '__version__ = "0.1.0"\n')
        content.writestr("skyfan/aws/handlers.py", "def initialize(event, context):\n    return event\n")
    return path


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
    ],
)
def test_the_roles_are_those_that_are_deployed(
    cloud: Cloud, package: Path, settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    s3 = cloud.client("s3")
    for bucket in {settings.get("Bucket"), settings.get("DataBucket")} - {None}:
        s3.create_bucket(Bucket=bucket)
    stack = f"roles-{len(settings)}"
    deploy(cloud, stack, settings, package=package, watch=lambda event: None)
    made = made_by(cloud, stack)
    place = {"stack": stack, "account": cloud.account, "region": cloud.region}
    documents = role_documents(settings, **place, made=made)
    assert documents.keys() == ROLES
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


def test_a_deployer_may_not_touch_anything_else() -> None:
    document = deployer_permissions(**PLACE)
    account = PLACE["account"]
    for action, resource in (
        ("iam:CreateRole", f"arn:aws:iam::{account}:role/admin"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{account}:role/skyfan-Other-abc"),
        ("lambda:DeleteFunction", f"arn:aws:lambda:us-east-1:{account}:function:other"),
        ("s3:DeleteObject", "arn:aws:s3:::mine/surveys/1.pt"),
        ("s3:DeleteObject", f"arn:aws:s3:::skyfan-code-{account}-us-east-1/other/package.zip"),
        ("s3:DeleteObject", f"arn:aws:s3:::skyfan-code-{account}-us-east-1/skyfan/results/one/summary.json"),
        ("states:StopExecution", f"arn:aws:states:us-east-1:{account}:execution:other:one"),
        ("cloudformation:DeleteStack", f"arn:aws:cloudformation:us-east-1:{account}:stack/other/id"),
        ("logs:DeleteLogGroup", f"arn:aws:logs:us-east-1:{account}:log-group:/aws/lambda/other:*"),
        ("states:DeleteStateMachine", f"arn:aws:states:us-east-1:{account}:stateMachine:other"),
    ):
        assert not allows(document, action, resource), action
    assert not allows(document, "cloudformation:ListStacks", "*", aws_RequestedRegion="eu-west-1")


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


def test_a_runner_of_two_buckets_writes_each_where_it_belongs() -> None:
    document = runner_permissions(**PLACE, settings={"Bucket": "mine", "DataBucket": "survey", "DataPrefix": "d"})
    assert allows(document, "s3:PutObject", "arn:aws:s3:::survey/d/1.pt")
    assert allows(document, "s3:PutObject", "arn:aws:s3:::mine/models/a.onnx")
    assert not allows(document, "s3:PutObject", "arn:aws:s3:::mine/d/1.pt")
    assert allows(document, "s3:ListBucket", "arn:aws:s3:::survey", s3_prefix="d/")
    assert not allows(document, "s3:ListBucket", "arn:aws:s3:::mine", s3_prefix="d/")


def test_no_action_is_open_and_every_resource_has_a_name() -> None:
    for name, document in all_documents():
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys()
            assert not any("*" in action for action in as_list(statement["Action"])), (name, statement)
            for resource in as_list(statement["Resource"]):
                if resource == "*":
                    assert statement["Sid"] in {"DeliverLogs", "FindStacks", "LogDelivery"}, (name, statement)
                else:
                    assert "skyfan" in resource.split("*")[0], (name, resource)
            buckets = [item for item in as_list(statement["Resource"]) if item.startswith("arn:aws:s3:::")]
            if name.endswith("Role"):
                for resource in buckets:
                    key = resource.partition("/")[2]
                    listing = statement["Action"] == ["s3:ListBucket"] and "Condition" in statement
                    assert key.startswith(("surveys/", "results/", "models/")) or listing, (name, resource)


def test_every_role_of_the_template_is_there_and_nothing_grants_besides() -> None:
    kinds = {resource["Type"] for resource in read_template()["Resources"].values()}
    assert {kind for kind in kinds if kind.startswith("AWS::IAM::")} == {"AWS::IAM::Role"}
    for resource in read_template()["Resources"].values():
        if resource["Type"] == "AWS::IAM::Role":
            assert resource["Properties"].keys() == {"AssumeRolePolicyDocument", "Policies", "Tags"}


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-1"])
def test_a_policy_fits_into_iam(region: str) -> None:
    place = PLACE | {"region": region}
    for document in (deployer_permissions(**place), runner_permissions(**place)):
        assert len(json.dumps(document, separators=(",", ":"))) <= POLICY_LIMIT_CHARACTERS


def test_names_that_cloudformation_would_cut_are_still_ours() -> None:
    stack = "s" + "k" * 39
    document = deployer_permissions(**PLACE | {"stack": stack})
    role = f"arn:aws:iam::{PLACE['account']}:role/{stack[:24]}-StateMachineRole-ABCDEFGHIJKL"
    assert allows(document, "iam:CreateRole", role)


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_other_partitions_have_names_of_their_own(region: str, partition: str) -> None:
    place = PLACE | {"region": region}
    text = json.dumps([role_documents({}, **place), deployer_permissions(**place), runner_permissions(**place)])
    assert set(re.findall(r"arn:([\w-]+):", text)) == {partition}


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="Bukket: the template has no such parameter; expected one of CodeBucket"):
        role_documents({"Bukket": "x"}, **PLACE)
    with pytest.raises(InputError, match="DataPrefix: got '/x'; expected A folder without a slash at either end"):
        role_documents({"DataPrefix": "/x"}, **PLACE)
    with pytest.raises(InputError, match="Architecture: got 'mips'; expected one of arm64, x86_64"):
        runner_permissions(**PLACE, settings={"Architecture": "mips"})


def test_the_parameters_are_read_as_a_deployment_reads_them() -> None:
    parameters = read_template()["Parameters"]
    expected = {name: str(rules["Default"]) if "Default" in rules else None for name, rules in parameters.items()}
    assert expected == parameter_defaults()


def test_the_page_shows_what_is_printed() -> None:
    shown = [
        json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert deployer_permissions(**PLACE) in shown
    assert runner_permissions(**PLACE) in shown


def test_the_page_s_costs_are_those_that_a_run_is_told() -> None:
    prices = load_prices()
    columns = ((2, 2000, ".4f"), (516, 516 * 1278, ".3f"))
    rows: dict[str, list[str]] = {}
    for tasks, galaxies, form in columns:
        job = Job(
            tasks=tasks,
            partitions=tasks,
            rows=galaxies,
            bytes_in=galaxies * forecast.ROW_BYTES,
            bytes_out=galaxies * forecast.PART_ROW_BYTES,
            model_in_bucket=False,
        )
        memory = int(parameter_defaults()["InferMemory"] or 0)
        cold = min(tasks, int(parameter_defaults()["MaxConcurrency"] or 0))
        usual, dear, safe = (
            estimated_run(job, forecast.ASSUMED, setup, prices, cold_workers=cold, spread=forecast.SPREAD_SHIPPED)
            for setup in (
                Setup(memory_mb=memory, architecture="arm64"),
                Setup(memory_mb=memory, architecture="x86_64"),
                Setup(memory_mb=memory, architecture="arm64", children="STANDARD"),
            )
        )
        for what, cost in (
            ("`skyfan run`: low", usual.low),
            ("`skyfan run`: typical", usual.typical),
            ("`skyfan run`: high", usual.high),
            ("the same, x86_64, typical", dear.typical),
            ("the same, STANDARD children, typical", safe.typical),
        ):
            rows.setdefault(what, []).append(format(cost.total_usd, form))
        gb_months = Decimal(galaxies * forecast.ROW_BYTES) / GB_BYTES
        rows.setdefault("data in S3, a month", []).append(format(gb_months * prices.s3_storage.unit_usd, ".3f"))
    for what, numbers in rows.items():
        assert f"| {what} | {' | '.join(numbers)} |" in DOCS.read_text()


def test_an_upload_costs_what_the_page_says() -> None:
    """One PUT a partition, two for their index, and two listings; test_upload.py counts what is written."""
    numbers = []
    for partitions in (2, 516):
        requests = partitions + 2 + 2 * -(-(partitions + 1) // 1000)
        numbers.append(format(requests * load_prices().s3_put.unit_usd, ".5f"))
    assert f"| `skyfan aws upload`: requests | {' | '.join(numbers)} |" in DOCS.read_text()


def test_every_message_that_the_page_explains_is_one() -> None:
    source = "\n".join(path.read_text() for path in (Path(iam.__file__).parents[1]).rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = DOCS.read_text().split("\n## When something goes wrong\n")[1].split("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) > 15
    for message in messages:
        for piece in message.split("..."):
            assert piece in source, message
