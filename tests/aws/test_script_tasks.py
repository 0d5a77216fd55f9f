"""Script tasks on AWS: run by the state machine on their own function, tried again, ended in time, or refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aws.events import begin, items
from aws.executions import check_whole, ranks_of, reports, run, summary_of
from aws.states import Handler, Machine, filled
from skyfan.aws import handlers
from skyfan.aws.script_image import SCRIPTS_VARIABLE
from skyfan.errors import CodeError, ScriptError, ScriptsRefusedError
from skyfan.keys import RunKeys
from skyfan.storage import Bucket, Store
from skyfan.task import decode_report

LEAVE = """
import json, os
import boto3
result = {"rank": int(os.environ["RANK"]), "galaxies": 7, "read": os.environ["DATA_PATH"]}
key = f"{os.environ['RESULT_PATH']}/{os.environ['RANK']}.json"
boto3.client("s3").put_object(Bucket=os.environ["S3_BUCKET"], Key=key, Body=json.dumps(result))
"""
"""Leaves a result where the original system's scripts do, by the library that they use."""
FAIL_ONCE = """
import os
import boto3
s3, mark = boto3.client("s3"), f"{os.environ['RESULT_PATH']}/seen"
if os.environ["RANK"] == "2" and not s3.list_objects_v2(Bucket="sky", Prefix=mark).get("Contents"):
    s3.put_object(Bucket="sky", Key=mark, Body=b"")
    raise SystemExit("not yet")
"""
FAIL = "import os\nif os.environ['RANK'] == '1': raise SystemExit('no such band')\n"
FOLDER = "scripts/Anomaly Detection"


@pytest.fixture
def payload(payload: dict[str, Any]) -> dict[str, Any]:
    """With a script in the place of the model."""
    script = {"S3_object_name": FOLDER, "script": f"/tmp/{FOLDER}/inference.py"}
    return {key: value for key, value in payload.items() if key != "model"} | script


@pytest.fixture
def allowed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of a stack with an image."""
    monkeypatch.setenv(SCRIPTS_VARIABLE, "yes")
    machine.handlers["Script"] = handlers.infer


def put_script(bucket: Bucket, code: str) -> None:
    bucket.put(f"{FOLDER}/inference.py", code.encode())


@pytest.mark.usefixtures("allowed")
def test_a_script_runs_on_its_own_function_and_its_results_are_put_together(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, LEAVE)
    found = run(machine, arn, payload)
    assert found["status"] == "SUCCEEDED", found
    assert ranks_of(machine, "Script") == [0, 1, 2, 3]
    assert machine.called("Infer") == machine.called("InferLarge") == 0
    summary = check_whole(payload, rows=0)
    assert summary.script is not None
    assert (summary.script.said, summary.drive.engine, summary.drive.tasks) == (payload["script"], "aws", 4)
    combined = json.loads(bucket.get(keys.combined) or b"")
    assert [(record["rank"], record["galaxies"]) for record in combined] == [(rank, 7) for rank in range(4)]
    assert combined[2]["read"] == "25MB/3.safetensors"
    machine.calls.clear()
    assert run(machine, arn, payload, "again")["status"] == "SUCCEEDED"
    assert machine.called("Script") == 0, "what is done is not done again"


@pytest.mark.usefixtures("allowed")
def test_a_script_that_fails_once_is_tried_again(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, FAIL_ONCE)
    found = run(machine, arn, payload)
    assert found["status"] == "SUCCEEDED", found
    assert ranks_of(machine, "Script") == [0, 1, 2, 2, 3]
    assert {rank: report.attempt for rank, report in reports(bucket, keys).items()} == {0: 1, 1: 1, 2: 2, 3: 1}
    assert check_whole(payload, rows=0).drive.retries == 1


@pytest.mark.usefixtures("allowed")
def test_a_script_that_goes_on_failing_is_given_up_after_the_payload_s_attempts(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, FAIL)
    found = run(machine, arn, payload | {"max_attempts": 2})
    assert (found["status"], found["error"]) == ("FAILED", "RunFailedError")
    assert ranks_of(machine, "Script") == [0, 1, 1, 2, 3]
    (failure,) = summary_of(bucket, keys).failures
    assert (failure.rank, failure.attempts, failure.error.kind) == (1, 2, "ScriptError")
    assert f"no such band; what it printed is in sky/{keys.log(1)}" in failure.error.message
    assert "no such band" in found["cause"]
    assert b"no such band" in (bucket.get(keys.log(1)) or b"")


@pytest.mark.usefixtures("allowed")
def test_a_run_that_is_overwritten_leaves_nothing_of_its_scripts(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, LEAVE)
    assert run(machine, arn, payload)["status"] == "SUCCEEDED"
    put_script(bucket, "print('nothing')")
    assert run(machine, arn, payload | {"file_limit": 2}, "again", overwrite=True)["status"] == "SUCCEEDED"
    assert [entry.key for entry in bucket.list(keys.logs)] == [keys.log(0), keys.log(1)]
    assert not [entry.key for entry in bucket.list(keys.result_path) if keys.is_result(entry.key)]


def with_scripts(handler: Handler) -> Handler:
    """Have one function alone believe that its stack has an image."""

    def call(event: dict[str, Any], context: object) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SCRIPTS_VARIABLE, "yes")
            return handler(event, context)

    return call


def test_an_image_that_is_taken_away_meanwhile_ends_the_run_however_many_may_fail(
    machine: Machine, definition: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, LEAVE)
    machine.handlers["Initialize"] = with_scripts(handlers.initialize)
    arn = machine.create(filled(definition, ScriptFunction="Infer"))  # as the template has it without an image
    found = run(machine, arn, payload | {"tolerated_failure_count": 4})
    assert (found["status"], found["error"]) == ("FAILED", "RunFailedError")
    assert machine.called("Infer") == 4, "a refusal is not tried again"
    failures = summary_of(bucket, keys).failures
    assert [failure.error.kind for failure in failures] == ["ScriptsRefusedError"] * 4
    assert "skyfan aws deploy --script-image URI" in found["cause"]


def test_a_stack_without_an_image_refuses_before_anything_is_claimed(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, LEAVE)
    found = run(machine, arn, payload)
    assert (found["status"], found["error"]) == ("FAILED", "ScriptsRefusedError")
    assert "this stack runs none" in found["cause"]
    assert [name for name, _ in machine.calls] == ["Initialize"]
    assert bucket.list(keys.result_path) == []


@pytest.mark.parametrize("said", [None, "no", "", "true"])
def test_only_yes_lets_scripts_run(
    in_folder: Path, payload_in_folder: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        monkeypatch.setenv(SCRIPTS_VARIABLE, said)
    with pytest.raises(ScriptsRefusedError):
        begin(payload_in_folder)
    monkeypatch.setenv(SCRIPTS_VARIABLE, "yes")
    assert begin(payload_in_folder)["pending"] == 4


@pytest.fixture
def payload_in_folder(in_folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """A payload for a script that takes longer than it may."""
    code = "import time\nprint('begun', flush=True)\ntime.sleep(300)\n"
    Store(str(in_folder)).bucket("sky").put("scripts/slow.py", code.encode())
    del asked["model"]
    return asked | {"S3_object_name": "scripts", "script": "slow.py"}


@dataclass(frozen=True)
class Context:
    """What Lambda tells a function of its invocation."""

    left_ms: int
    aws_request_id: str = "one"

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


def test_a_script_is_ended_while_its_function_can_still_say_so(
    in_folder: Path, payload_in_folder: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRIPTS_VARIABLE, "yes")
    store, keys = Store(str(in_folder)), RunKeys("results/one")
    item = items(begin(payload_in_folder), store)[0]
    left_ms = round(1000 * (handlers.REPORTING_S + 1.5))
    with pytest.raises(ScriptError, match=r"slow\.py"):
        handlers.infer(item, Context(left_ms))
    report = decode_report(store.bucket("sky").get(keys.failure(0)))
    assert report is not None
    assert report.ending is not None
    assert 1.0 < report.ending.wall_s < 30
    assert report.ending.last_lines == ["begun"]


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("scripted", [True, False], ids=["of a script's run", "of a model's run"])
def test_a_task_that_was_changed_in_the_store_runs_no_other_code(
    bucket: Bucket, payload: dict[str, Any], asked: dict[str, Any], keys: RunKeys, *, scripted: bool
) -> None:
    """Whoever may write to the result path must not decide what runs with the function's rights."""
    put_script(bucket, "print('mine')")
    bucket.put(f"{keys.result_path}/evil/e.py", b"raise SystemExit('evil ran')")
    begun = begin(payload if scripted else asked | {"result_path": keys.result_path})
    item = items(begun, Store("s3://"))[0]
    evil = f"{keys.result_path}/evil"
    script = {"folder": evil, "file": f"{evil}/e.py", "said": "e.py", "object_type": "folder", "sha256": "0" * 64}
    setting = {"world_size": 4, "data_prefix": "25MB", "limits": {}}
    item["task"] |= {"model": None, "script": script, "setting": setting}
    with pytest.raises(CodeError, match="runs another script than Initialize planned"):
        handlers.infer(item, None)
    report = decode_report(bucket.get(keys.failure(0)))
    assert report is not None
    assert report.error is not None
    assert report.error.ends_run
    assert bucket.list(keys.logs) == []
