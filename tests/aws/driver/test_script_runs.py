"""A run of scripts as its user sees it: refused or priced before it starts, told as it goes, billed by its function."""

from decimal import Decimal
from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, executions_of
from aws.stacks import IMAGE, deploy
from aws.states import Machine
from bills import quantity, usd
from skyfan.aws import handlers
from skyfan.aws.script_image import SCRIPTS_VARIABLE
from skyfan.errors import BudgetError, PayloadError, RunFailedError, ScriptsRefusedError
from skyfan.keys import RunKeys
from skyfan.storage import Bucket
from skyfan.watching import Billed, Planned, Priced, TaskDone

LIMIT_S = 10 + 60 + 10
"""Of an attempt that may take a minute: its start, the script, its report."""


@pytest.fixture
def asked(asked: dict[str, Any]) -> dict[str, Any]:
    """With a script in the place of the model."""
    script = {"S3_object_name": "Anomaly Detection", "script": "/tmp/Anomaly Detection/run.py", "task_timeout_s": 60}
    return {key: value for key, value in asked.items() if key != "model"} | script


@pytest.fixture
def arn(machine: Machine, definition: str, often: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stack with an image, whose scripts lie where the original system's do."""
    monkeypatch.setenv(SCRIPTS_VARIABLE, "yes")
    machine.handlers["Script"] = handlers.infer
    return deploy(machine, definition, ScriptImage=IMAGE, ScriptPrefix="Anomaly Detection")


def put_script(bucket: Bucket, code: str) -> None:
    bucket.put("Anomaly Detection/run.py", code.encode())


def test_a_run_is_priced_followed_and_billed(machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any]) -> None:
    put_script(bucket, "print('hello')")
    seen = Seen()
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert seen.names == ["Priced", "Started", "Planned", *["TaskDone"] * 4, "Ended", "Billed"]
    assert {event.report.ending.exit_code for event in seen.of(TaskDone)} == {0}
    assert machine.called("Script") == 4
    (bill,) = seen.of(Billed)
    assert bill.is_whole, bill.notes
    assert "Lambda by the REPORT lines of 6 invocations" in bill.notes
    assert quantity(bill.cost, "Lambda script: requests") == 4
    assert usd(bill.cost, "Lambda script: /tmp above 512 MB") > 0
    assert not [line for line in bill.cost.lines if line.what.startswith("Lambda infer")]
    assert any("what scripts ask for by themselves and storage are not in it" in note for note in bill.notes)
    assert bill.cost.total_usd < seen.of(Priced)[0].estimate.high.total_usd


def test_what_is_not_known_is_priced_by_the_time_that_it_may_take(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, "")
    seen = Seen()
    planned = skyfan.plan(asked, engine="aws", watch=seen)
    (price,) = seen.of(Priced)
    assert "how long the script takes is not known before a task of this run is done" in price.basis[0]
    assert f"all the time that it may, {LIMIT_S} s with 20 at most for its start and its report" in price.basis[0]
    assert "an upper bound, with 3 attempts a task" in price.basis[1]
    for cost, seconds in ((price.estimate.typical, 4 * LIMIT_S), (price.estimate.high, 3 * 4 * LIMIT_S)):
        assert quantity(cost, "Lambda script: compute") == Decimal(seconds) * 3008 / 1024
        assert quantity(cost, "Lambda script: /tmp above 512 MB") == Decimal(seconds) * (2048 - 512) / 1024
    assert quantity(price.estimate.low, "Lambda script: compute") == 0
    assert not planned.warnings, "three attempts of 80 s fit into an EXPRESS child"


def test_a_limit_below_the_upper_bound_is_refused(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    put_script(bucket, "")
    seen = Seen()
    skyfan.plan(asked, engine="aws", watch=seen)
    high = seen.of(Priced)[0].estimate.high.total_usd
    with pytest.raises(BudgetError, match=r"or give a smaller --task-timeout-s\. Nothing was started") as at:
        skyfan.run(asked, engine="aws", max_cost=high - Decimal("0.0001"))
    assert at.value.exit_code == 2
    assert executions_of(arn) == []
    assert bucket.get(keys.payload) is None
    run = skyfan.run(asked, engine="aws", max_cost=high + Decimal("0.0001"))
    assert run.summary is not None
    assert run.summary.complete


def test_once_tasks_are_done_their_time_is_what_is_reckoned_with(
    arn: str, bucket: Bucket, asked: dict[str, Any]
) -> None:
    put_script(bucket, "import os\nif os.environ['RANK'] == '1': raise SystemExit('no such band')\n")
    with pytest.raises(RunFailedError, match="no such band"):
        skyfan.run(asked, engine="aws", max_attempts=1)
    seen = Seen()
    planned = skyfan.plan(asked, engine="aws", watch=seen)
    assert len(planned.pending) == 1
    (price,) = seen.of(Priced)
    assert "time as in 3 tasks of this run that are done, by bytes" in price.basis[0]
    assert 0 < quantity(price.estimate.high, "Lambda script: compute") < Decimal(LIMIT_S) * 3008 / 1024


def test_a_script_that_outlasts_an_express_child_is_warned_of(arn: str, bucket: Bucket, asked: dict[str, Any]) -> None:
    put_script(bucket, "")
    planned = skyfan.plan(asked | {"task_timeout_s": 900}, engine="aws")
    (warning,) = planned.warnings
    assert "a task may take 2730 s with all its attempts, and its EXPRESS child is ended after 300 s" in warning


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"S3_object_name": "Detection"},
            "'S3_object_name' is 'Detection'; expected it in the folder 'Anomaly Detection/'",
        ),
        (
            {"object_type": "file"},
            "'S3_object_name' is 'Anomaly Detection'; expected it in the folder.*another ScriptPrefix",
        ),
    ],
)
def test_code_that_the_stack_may_not_read_is_said_before_anything_starts(
    arn: str, asked: dict[str, Any], changed: dict[str, str], message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        skyfan.run(asked | changed, engine="aws")
    assert executions_of(arn) == []


def test_code_below_the_stack_s_folder_and_a_slash_at_its_end_are_taken(
    arn: str, bucket: Bucket, asked: dict[str, Any]
) -> None:
    bucket.put("Anomaly Detection/new/run.py", b"")
    below = {"S3_object_name": "Anomaly Detection/new/", "script": "run.py"}
    assert len(skyfan.plan(asked | below, engine="aws").pending) == 4
    file = {"S3_object_name": "Anomaly Detection/new/run.py", "script": "run.py", "object_type": "file"}
    assert len(skyfan.plan(asked | file, engine="aws").pending) == 4


def test_a_stack_without_an_image_refuses_and_says_what_deploys_one(
    machine: Machine, definition: str, asked: dict[str, Any]
) -> None:
    arn, seen = deploy(machine, definition), Seen()
    for call in (skyfan.run, skyfan.plan):
        with pytest.raises(ScriptsRefusedError, match="skyfan aws deploy --stack skyfan --script-image URI") as at:
            call(asked, engine="aws", watch=seen)
        assert at.value.exit_code == 2
    assert executions_of(arn) == []
    assert not seen.of(Planned)
