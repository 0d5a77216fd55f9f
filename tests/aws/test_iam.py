"""Permissions: what the printed policies allow and what they do not."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from aws.policies import PLACE, allows, as_list
from aws.stacks import IMAGE
from skyfan.aws.iam import deployer_permissions, role_documents, runner_permissions
from skyfan.aws.resolving import read_template
from skyfan.cli import cli

POLICY_LIMIT_CHARACTERS = 6144
"""Of a managed policy, without white space."""


SCRIPTS = {"ScriptImage": IMAGE, "ScriptPrefix": "scripts/Anomaly Detection"}


def all_documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for settings in ({}, SCRIPTS):
        for name, role in role_documents(settings, **PLACE).items():
            for policy in role["Policies"]:
                yield name, policy["PolicyDocument"]
        yield "runner", runner_permissions(**PLACE, settings=settings)
    yield "deployer", deployer_permissions(**PLACE)
    yield "deployer", deployer_permissions(**PLACE, script_image=IMAGE.replace("/scripts", "/skyfan/scripts"))


def test_no_action_is_open_and_every_resource_has_a_name() -> None:
    for name, document in all_documents():
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys()
            assert not any("*" in action for action in as_list(statement["Action"])), (name, statement)
            for resource in as_list(statement["Resource"]):
                if resource == "*":
                    assert statement["Sid"] in {"DeliverLogs", "NoResource"}, (name, statement)
                else:
                    assert "skyfan" in resource.split("*")[0], (name, resource)
            buckets = [item for item in as_list(statement["Resource"]) if item.startswith("arn:aws:s3:::")]
            if name.endswith("Role"):
                for resource in buckets:
                    key = resource.partition("/")[2]
                    listing = statement["Action"] == ["s3:ListBucket"] and "Condition" in statement
                    folders = ("surveys/", "results/", "models/", "scripts/")
                    assert key.startswith(folders) or listing, (name, resource)


def test_every_role_of_the_template_is_there_and_nothing_grants_besides() -> None:
    kinds = {resource["Type"] for resource in read_template()["Resources"].values()}
    assert {kind for kind in kinds if kind.startswith("AWS::IAM::")} == {"AWS::IAM::Role"}
    for resource in read_template()["Resources"].values():
        if resource["Type"] == "AWS::IAM::Role":
            assert resource["Properties"].keys() == {"AssumeRolePolicyDocument", "Policies", "Tags"}


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


def test_a_runner_of_two_buckets_writes_each_where_it_belongs() -> None:
    document = runner_permissions(**PLACE, settings={"Bucket": "mine", "DataBucket": "survey", "DataPrefix": "d"})
    assert allows(document, "s3:PutObject", "arn:aws:s3:::survey/d/1.pt")
    assert allows(document, "s3:PutObject", "arn:aws:s3:::mine/models/a.onnx")
    assert not allows(document, "s3:PutObject", "arn:aws:s3:::mine/d/1.pt")
    assert allows(document, "s3:ListBucket", "arn:aws:s3:::survey", s3_prefix="d/")
    assert not allows(document, "s3:ListBucket", "arn:aws:s3:::mine", s3_prefix="d/")


def test_scripts_take_a_role_a_repository_and_a_folder_and_without_an_image_nothing() -> None:
    account = PLACE["account"]
    without, with_image = (role_documents(settings, **PLACE) for settings in ({}, SCRIPTS))
    assert with_image.keys() - without.keys() == {"ScriptRole"}
    asked = [
        ("iam:CreateRole", f"arn:aws:iam::{account}:role/skyfan-ScriptRole-abc"),
        ("lambda:CreateFunction", f"arn:aws:lambda:us-east-1:{account}:function:skyfan-script"),
        ("logs:CreateLogGroup", f"arn:aws:logs:us-east-1:{account}:log-group:/aws/lambda/skyfan-script"),
        ("ecr:SetRepositoryPolicy", f"arn:aws:ecr:us-east-1:{account}:repository/scripts"),
    ]
    for action, resource in asked:
        assert allows(deployer_permissions(**PLACE, script_image=IMAGE), action, resource), action
        assert not allows(deployer_permissions(**PLACE), action, resource), action
    for settings, allowed in (({}, False), (SCRIPTS, True)):
        runner = runner_permissions(**PLACE, settings=settings | {"Bucket": "mine"})
        code = "arn:aws:s3:::mine/scripts/Anomaly Detection/run.py"
        assert allows(runner, "s3:PutObject", code) is allowed
        assert not allows(runner, "s3:PutObject", "arn:aws:s3:::mine/scripts/other/run.py")
        found = allows(runner, "s3:ListBucket", "arn:aws:s3:::mine", s3_prefix="scripts/Anomaly Detection/")
        assert found is allowed
        logs = f"arn:aws:logs:us-east-1:{account}:log-group:/aws/lambda/skyfan-script:*"
        assert allows(runner, "logs:FilterLogEvents", logs) is allowed


def test_without_an_image_initialize_may_no_more_than_a_model_asks_for() -> None:
    (policy,) = role_documents({"Bucket": "mine"}, **PLACE)["InitializeRole"]["Policies"]
    document = policy["PolicyDocument"]
    for action, key in (
        ("s3:GetObject", "scripts/run.py"),
        ("s3:DeleteObject", "results/one/0.json"),
        ("s3:DeleteObject", "results/one/logs/00000.log"),
    ):
        assert not allows(document, action, f"arn:aws:s3:::mine/{key}"), key
    assert not allows(document, "s3:ListBucket", "arn:aws:s3:::mine", s3_prefix="scripts/")


def test_the_roles_of_a_stack_with_an_image_are_printed() -> None:
    options = ["--account", PLACE["account"], "--region", "us-east-1", "--script-image", IMAGE]
    printed = CliRunner().invoke(cli, ["aws", "iam", *options])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output).keys() >= {"ScriptRole", "InferRole"}
    of_deployer = CliRunner().invoke(cli, ["aws", "iam", "--deployer", *options])
    assert json.loads(of_deployer.output) == deployer_permissions(**PLACE, script_image=IMAGE)


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-1"])
def test_a_policy_fits_into_iam(region: str) -> None:
    place = PLACE | {"region": region}
    with_scripts = deployer_permissions(**place, script_image=IMAGE), runner_permissions(**place, settings=SCRIPTS)
    for document in (deployer_permissions(**place), runner_permissions(**place), *with_scripts):
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
