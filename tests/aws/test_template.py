"""The CloudFormation template: what it makes is closed to all but those who need it, and everything is described."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import cfnlint.api
import pytest
import yaml

from skyfan.aws import execution, handlers
from skyfan.aws.script_image import SCRIPTS_VARIABLE, read_image
from skyfan.errors import InputError
from skyfan.keys import RunKeys

FUNCTIONS = {
    "Initialize": "initialize",
    "Infer": "infer",
    "InferLarge": "infer",
    "Script": "infer",
    "Summarize": "summarize",
}
RUN = RunKeys("results/one")


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as {"Fn": argument}."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    raise AssertionError(node)


_Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def text() -> str:
    return (files("skyfan.aws") / "template.yaml").read_text()


@pytest.fixture(scope="module")
def template(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    return found


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: item.get("Properties", {})
        for name, item in template["Resources"].items()
        if item["Type"] == f"AWS::{kind}"
    }


def statements(role: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for policy in role["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def pattern(resource: Any) -> str:
    """Return the resource of a statement with its defaults filled in; buckets are `result` and `data`."""
    if isinstance(resource, dict) and "Sub" in resource:
        text, names = resource["Sub"] if isinstance(resource["Sub"], list) else (resource["Sub"], {})
        bucket = "data" if names.get("Name", {}).get("If", [""])[0] == "HasDataBucket" else "result"
        known = {"ResultPrefix": "results", "DataPrefix": "surveys", "ModelPrefix": "models", "ScriptPrefix": "scripts"}
        with_scripts = {name: value["If"][1] for name, value in names.items() if value.get("If", "")[0] == "HasScripts"}
        known |= {name: known[what["Ref"]] if isinstance(what, dict) else what for name, what in with_scripts.items()}
        known["Name"] = bucket
        return re.sub(r"\$\{([\w:]+)\}", lambda match: known.get(match[1], match[1]), text)
    return json.dumps(resource)


def allows(role: dict[str, Any], action: str, key: str, bucket: str = "result") -> bool:
    arn = f"arn:AWS::Partition:s3:::{bucket}/{key}"
    for statement in statements(role):
        if action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                if re.fullmatch(re.escape(pattern(resource)).replace(r"\*", ".*"), arn):
                    return True
    return False


def test_cfn_lint_finds_nothing(text: str) -> None:
    found = cfnlint.api.lint_all(text)
    assert [str(match) for match in found if match.rule.id[0] in "EW"] == []  # the rest is advice, which it hides too


def test_it_can_be_handed_over_as_a_body(text: str) -> None:
    assert len(text.encode()) < 51_200


def test_every_parameter_is_described_used_and_grouped(template: dict[str, Any], text: str) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert len(parameter["Description"]) > 20, name
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", text), name


def test_every_output_is_described(template: dict[str, Any]) -> None:
    assert all(output["Description"] for output in template["Outputs"].values())


def test_a_stack_needs_no_more_than_its_package(template: dict[str, Any]) -> None:
    needed = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
    assert needed == {"CodeBucket", "CodeKey", "DefinitionKey"}


def test_no_role_may_do_anything(template: dict[str, Any]) -> None:
    for role in of_type(template, "IAM::Role").values():
        for statement in statements(role):
            assert statement["Effect"] == "Allow"
            assert not any("*" in action for action in as_list(statement["Action"]))
            assert not {"NotAction", "NotResource"} & statement.keys()


def test_only_log_delivery_has_no_resource(template: dict[str, Any]) -> None:
    roles = of_type(template, "IAM::Role")
    open_to_all = [
        (name, statement["Sid"])
        for name, role in roles.items()
        for statement in statements(role)
        if "*" in as_list(statement["Resource"])
    ]
    assert open_to_all == [("StateMachineRole", "DeliverLogs")]


def test_every_function_has_a_role_and_a_log_of_its_own(template: dict[str, Any]) -> None:
    functions = of_type(template, "Lambda::Function")
    assert {name.removesuffix("Function") for name in functions} == FUNCTIONS.keys()
    assert len({str(function["Role"]) for function in functions.values()}) == len(FUNCTIONS)
    logs = of_type(template, "Logs::LogGroup")
    for name, function in functions.items():
        group = logs[name.replace("Function", "Logs")]["LogGroupName"]["Sub"]
        assert group == f"/aws/lambda/{function['FunctionName']['Sub']}"


def test_the_functions_are_our_handlers(template: dict[str, Any]) -> None:
    for name, function in of_type(template, "Lambda::Function").items():
        handler = FUNCTIONS[name.removesuffix("Function")]
        if name == "ScriptFunction":
            assert function["ImageConfig"] == {"Command": [f"{handlers.__name__}.{handler}"]}
            assert not {"Handler", "Runtime"} & function.keys()
        else:
            assert function["Handler"] == f"{handlers.__name__}.{handler}"
            assert function["Runtime"] == "python3.13"
        assert callable(getattr(handlers, handler))
        assert function["Environment"]["Variables"]["SKYFAN_STORE"] == handlers.DEFAULT_STORE


def test_the_stack_starts_as_many_tasks_as_the_handlers_would(template: dict[str, Any]) -> None:
    initialize = of_type(template, "Lambda::Function")["InitializeFunction"]["Environment"]["Variables"]
    assert execution.CONCURRENCY_VARIABLE in initialize
    assert template["Parameters"]["MaxConcurrency"]["Default"] == execution.DEFAULT_CONCURRENCY


def test_a_task_and_its_second_try_fit_into_an_express_child(template: dict[str, Any]) -> None:
    limits = [template["Parameters"][name]["Default"] for name in ("InferTimeout", "InferLargeTimeout")]
    throttled = 2 + 4 + 8 + 16 + 30
    assert sum(limits) + throttled <= 300


def test_logs_end(template: dict[str, Any]) -> None:
    groups = of_type(template, "Logs::LogGroup")
    assert len(groups) == 6
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())


def test_all_that_can_be_tagged_is(template: dict[str, Any]) -> None:
    for kind in ("S3::Bucket", "Lambda::Function", "IAM::Role", "Logs::LogGroup", "StepFunctions::StateMachine"):
        for name, properties in of_type(template, kind).items():
            assert {"Key": "project", "Value": {"Ref": "Project"}} in properties["Tags"], name


def test_the_bucket_is_closed_and_outlives_the_stack(template: dict[str, Any]) -> None:
    (bucket,) = of_type(template, "S3::Bucket").values()
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert bucket["BucketEncryption"]
    for name in ("NewBucket", "NewBucketPolicy"):  # kept with what it holds, and closed as it was
        resource = template["Resources"][name]
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_reached_by_tls_only(template: dict[str, Any]) -> None:
    (policy,) = of_type(template, "S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Principal"]) == ("Deny", "s3:*", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(statement["Resource"]) == 2


@pytest.mark.parametrize("name", ["InferRole", "InferLargeRole"])
def test_a_worker_may_write_its_part_and_reports_and_nothing_else(template: dict[str, Any], name: str) -> None:
    role = of_type(template, "IAM::Role")[name]
    for key in (RUN.part(3), RUN.report(3), RUN.failure(3)):
        assert allows(role, "s3:PutObject", key)
        assert allows(role, "s3:GetObject", key)
    for key in (RUN.manifest, RUN.payload, RUN.pending, RUN.summary, RUN.combined, "models/tiny.onnx", "elsewhere/x"):
        assert not allows(role, "s3:PutObject", key)
    assert not any("s3:DeleteObject" in as_list(statement["Action"]) for statement in statements(role))
    assert allows(role, "s3:GetObject", "models/tiny.onnx")


def test_initialize_may_write_its_plan_and_delete_what_a_run_wrote(template: dict[str, Any]) -> None:
    role = of_type(template, "IAM::Role")["InitializeRole"]
    for key in (RUN.payload, RUN.manifest, RUN.pending):
        assert allows(role, "s3:PutObject", key)
    for key in (RUN.payload, RUN.manifest, RUN.summary, RUN.combined, RUN.part(3), RUN.report(3), RUN.failure(3)):
        assert allows(role, "s3:DeleteObject", key)
    assert not allows(role, "s3:PutObject", RUN.report(3))
    assert not allows(role, "s3:DeleteObject", "surveys/1.pt")


def test_initialize_reads_code_and_deletes_what_scripts_left(template: dict[str, Any]) -> None:
    role = of_type(template, "IAM::Role")["InitializeRole"]
    assert allows(role, "s3:GetObject", "scripts/code/run.py")
    assert not allows(role, "s3:PutObject", "scripts/code/run.py")
    for key in (RUN.log(3), RUN.result(3), RUN.result(12_345)):
        assert allows(role, "s3:DeleteObject", key)
    for key in (f"{RUN.result_path}/table.csv", "scripts/code/run.py", "scripts/0.json"):
        assert not allows(role, "s3:DeleteObject", key)


def test_a_script_may_do_as_it_likes_below_the_results_and_only_read_elsewhere(template: dict[str, Any]) -> None:
    role = of_type(template, "IAM::Role")["ScriptRole"]
    for key in (RUN.result(3), RUN.log(3), RUN.report(3), RUN.failure(3), f"{RUN.result_path}/plots/a.png"):
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allows(role, action, key)
    for key in ("scripts/code/run.py", "models/tiny.onnx", "elsewhere/x", "payload.json"):
        assert not allows(role, "s3:PutObject", key)
        assert not allows(role, "s3:DeleteObject", key)
    assert allows(role, "s3:GetObject", "scripts/code/run.py")
    assert not allows(role, "s3:GetObject", "models/tiny.onnx")
    granted = {action.split(":")[0] for item in statements(role) for action in as_list(item["Action"])}
    assert granted == {"logs", "s3"}


def test_no_script_runs_on_a_stack_without_an_image(template: dict[str, Any]) -> None:
    functions = of_type(template, "Lambda::Function")
    said = {name: item["Environment"]["Variables"].get(SCRIPTS_VARIABLE) for name, item in functions.items()}
    assert said == dict.fromkeys(functions) | {
        "InitializeFunction": {"If": ["HasScripts", "yes", "no"]},
        "ScriptFunction": "yes",
    }
    assert template["Parameters"]["ScriptImage"]["Default"] == ""
    of_scripts = {name for name, item in template["Resources"].items() if item.get("Condition") == "HasScripts"}
    assert of_scripts == {"ScriptFunction", "ScriptLogs", "ScriptRole"}


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts:1", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a/b-c_d.e:v1.2-x", True),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts@sha256:{'0a' * 32}", True),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts", False),
        ("docker.io/library/python:3.13", False),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts:1\n", False),
        ("1234.dkr.ecr.us-east-1.amazonaws.com/scripts:1", False),
    ],
)
def test_the_template_takes_the_images_that_a_deployment_does(
    template: dict[str, Any], uri: str, *, taken: bool
) -> None:
    pattern = template["Parameters"]["ScriptImage"]["AllowedPattern"]
    assert (re.fullmatch(pattern, uri) is not None) is taken
    if taken:
        assert read_image(uri).repository in uri
        return
    with pytest.raises(InputError, match="is no image of ECR"):
        read_image(uri)


def test_folders_may_have_blanks_in_their_names(template: dict[str, Any]) -> None:
    assert re.fullmatch(template["Parameters"]["ScriptPrefix"]["AllowedPattern"], "Anomaly Detection")


def test_summarize_may_write_its_summary_only(template: dict[str, Any]) -> None:
    role = of_type(template, "IAM::Role")["SummarizeRole"]
    assert allows(role, "s3:PutObject", RUN.summary)
    assert allows(role, "s3:PutObject", RUN.combined)
    assert not allows(role, "s3:PutObject", RUN.report(3))
    assert allows(role, "s3:GetObject", RUN.report(3))


def test_the_data_is_only_read(template: dict[str, Any]) -> None:
    for name, role in of_type(template, "IAM::Role").items():
        assert not allows(role, "s3:PutObject", "surveys/1.pt", "data")
        assert not allows(role, "s3:DeleteObject", "surveys/1.pt", "data")
        assert not allows(role, "s3:GetObject", "other/1.pt", "data")
        reads = name in {"InitializeRole", "InferRole", "InferLargeRole", "ScriptRole"}
        assert allows(role, "s3:GetObject", "surveys/25MB/1.pt", "data") == reads


def test_the_state_machine_may_start_what_it_starts(template: dict[str, Any]) -> None:
    role = of_type(template, "IAM::Role")["StateMachineRole"]
    granted = {action for statement in statements(role) for action in as_list(statement["Action"])}
    assert {"states:StartExecution", "states:DescribeExecution", "states:StopExecution"} <= granted
    assert "states:RedriveExecution" not in granted, "a redrive would run without a lease; a new execution goes on"
    assert allows(role, "s3:GetObject", RUN.pending)
    assert not allows(role, "s3:GetObject", RUN.manifest)
    assert allows(role, "s3:PutObject", f"{RUN.map_results}/x/manifest.json")
    assert not allows(role, "s3:PutObject", RUN.report(3))
    (invoke,) = (item for item in statements(role) if item["Action"] == ["lambda:InvokeFunction"])
    assert len(invoke["Resource"]) == len(FUNCTIONS)
    without = {"GetAtt": "InferFunction.Arn"}
    assert {"If": ["HasScripts", {"GetAtt": "ScriptFunction.Arn"}, without]} in invoke["Resource"]
    assert without in invoke["Resource"], "without an image it may start no more than it may anyway"


def test_the_definition_is_the_file_with_its_names_filled_in(template: dict[str, Any]) -> None:
    (machine,) = of_type(template, "StepFunctions::StateMachine").values()
    definition = (files("skyfan.aws") / "statemachine.asl.json").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", definition)) == machine["DefinitionSubstitutions"].keys()
    assert machine["DefinitionS3Location"] == {"Bucket": {"Ref": "CodeBucket"}, "Key": {"Ref": "DefinitionKey"}}
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
