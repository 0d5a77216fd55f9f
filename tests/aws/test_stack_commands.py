"""A stack on the command line: its whole life, what is asked of its user, and who it is for."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from aws.accounts import keys_in, put, shell, there
from aws.deployments import make
from skyfan.aws.session import Cloud
from skyfan.aws.stack import find_stack
from skyfan.cli import cli


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


def test_questions_are_asked(moto: Cloud, package: Path) -> None:
    make(moto, "asked")
    done = CliRunner().invoke(cli, ["aws", "destroy", "--stack", "asked"], input="n\n")
    assert done.exit_code == 1
    assert "This deletes:\n  stack asked (CREATE_COMPLETE) in account 123456789012, us-east-1\n" in done.output
    assert "nothing was deleted" in done.output
    assert find_stack(moto, "asked") is not None


def test_settings_are_given_once() -> None:
    for arguments, message in (
        (["--memory", "2000", "--set", "InferMemory=3000"], "InferMemory is given twice"),
        (["--set", "InferMemory"], "--set InferMemory; expected a name, '=' and a value"),
    ):
        done = CliRunner().invoke(cli, ["aws", "deploy", *arguments])
        assert done.exit_code == 2
        assert message in done.output


def test_unknown_credentials(cloud: Cloud) -> None:
    done = shell("status", environment={"AWS_ACCESS_KEY_ID": "nobody"})
    assert done.returncode == 2
    assert "AWS does not know these credentials" in done.stderr


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
