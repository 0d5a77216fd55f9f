"""The Lambda functions called directly: the same run as the local engine's, nothing large returned, errors by name."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import skyfan
from aws.events import EXECUTION, begin, items
from s3 import listening
from skyfan.aws import execution, handlers
from skyfan.aws.execution import most_at_once
from skyfan.errors import ClaimedError, InputError, PartitionError, PayloadError, SurveyError
from skyfan.keys import RunKeys
from skyfan.lease import EXECUTION_LIFETIME_S, hold, read_lease
from skyfan.manifest import decode_tasks
from skyfan.storage import Store
from skyfan.summary import decode_summary

KEYS = RunKeys("results/one")


def drive(event: dict[str, Any], store: Store) -> tuple[list[Any], dict[str, Any]]:
    """Do what the state machine does; return what Infer returned, and the verdict."""
    begun = json.loads(json.dumps(begin(**event)))
    done = [handlers.infer(item, None) for item in items(begun, store)]
    verdict = handlers.summarize({"begun": begun, "map_ended_at": "2100-01-01T00:00:00.000Z"}, None)
    return done, json.loads(json.dumps(verdict))


@pytest.fixture
def store(in_folder: Path) -> Store:
    return Store(str(in_folder))


def test_a_run_gives_the_same_bytes_as_the_local_engine(store: Store, asked: dict[str, Any]) -> None:
    local = skyfan.run(asked | {"result_path": "results/local"}, store=store.url, workers=1)
    done, verdict = drive({"payload": asked}, store)
    assert done == [{"rank": rank, "rows": rows} for rank, rows in enumerate([7, 8, 9, 10])]
    assert (verdict["status"], verdict["tasks_ok"], verdict["rows_out"]) == ("complete", 4, 34)
    bucket, other = store.bucket("sky"), RunKeys("results/local")
    assert local.summary.complete
    for rank in range(4):
        assert bucket.get(KEYS.part(rank)) == bucket.get(other.part(rank))
    assert skyfan.open_run(asked, store=store.url).verify().problems == []


def test_a_memory_store_does_as_well(
    root: Path, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_store: None
) -> None:
    memory = Store(f"memory://{tmp_path}")
    for path in (root / "sky").rglob("*"):
        if path.is_file():
            memory.bucket("sky").put(str(path.relative_to(root / "sky")), path.read_bytes())
    monkeypatch.setenv("SKYFAN_STORE", memory.url)
    assert drive({"payload": asked}, memory)[1]["status"] == "complete"


def test_what_initialize_returns_does_not_grow_with_the_tasks(store: Store, asked: dict[str, Any]) -> None:
    few = len(json.dumps(begin(asked | {"file_limit": 1, "result_path": "results/1"})))
    many = len(json.dumps(begin(asked | {"file_limit": 4, "result_path": "results/4"})))
    assert few == many < 2000


def test_what_initialize_returns_is_the_state_machines_contract(store: Store, asked: dict[str, Any]) -> None:
    begun = begin(asked | {"max_concurrency": "7", "tolerated_failure_percentage": 50})
    assert begun["pending_key"] == "results/one/pending.json"
    assert (begun["bucket"], begun["tasks"], begun["pending"]) == ("sky", 4, 4)
    assert (begun["max_concurrency"], begun["max_attempts"], begun["task_timeout_s"]) == (7, 3, 900)
    assert (begun["tolerated_failure_count"], begun["tolerated_failure_percentage"]) == (2, 100.0)
    bucket = store.bucket("sky")
    assert bucket.get(KEYS.pending) == bucket.get(KEYS.manifest)


def test_a_resume_has_only_what_is_not_done_to_do(store: Store, asked: dict[str, Any]) -> None:
    begun = begin(asked)
    for item in items(begun, store)[:3]:
        handlers.infer(item, None)
    again = begin(asked)
    assert (again["tasks"], again["pending"]) == (4, 1)
    pending = decode_tasks(store.bucket("sky").get(KEYS.pending) or b"", "pending")
    assert [task.rank for task in pending] == [3]


def test_overwrite_does_everything_again(store: Store, asked: dict[str, Any]) -> None:
    drive({"payload": asked}, store)
    assert begin(asked)["found_finished"]
    assert begin(asked, overwrite=True)["pending"] == 4


def test_a_summary_of_a_finished_run_is_kept(store: Store, asked: dict[str, Any]) -> None:
    drive({"payload": asked}, store)
    first = store.bucket("sky").get(KEYS.summary)
    assert drive({"payload": asked}, store)[1]["status"] == "complete"
    assert store.bucket("sky").get(KEYS.summary) == first


def test_a_lost_summary_of_a_finished_run_is_written_anew(store: Store, asked: dict[str, Any]) -> None:
    drive({"payload": asked}, store)
    store.bucket("sky").delete([KEYS.summary])
    assert drive({"payload": asked}, store)[1]["status"] == "complete"
    assert decode_summary(store.bucket("sky").get(KEYS.summary)) is not None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({}, "missing required field `payload`"),
        ([], "expected a JSON object with payload, overwrite"),
        ({"payload": {}, "overwrit": True}, "unknown field `overwrit`"),
        ({"payload": {}, "overwrite": "no"}, "Expected `bool`"),
    ],
)
def test_an_event_of_another_kind_is_refused(in_folder: Path, event: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        handlers.initialize({"request": event, "execution": EXECUTION}, None)


def test_a_payload_is_checked_as_everywhere(in_folder: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match="did you mean 'data_prefix'"):
        begin(asked | {"data_prefx": "x"})
    with pytest.raises(SurveyError, match="no partition below sky/empty/"):
        begin(asked | {"data_prefix": "empty"})


def test_more_attempts_than_the_state_machine_makes_are_refused(in_folder: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match="max_attempts is 4; expected at most 3 on AWS"):
        begin(asked | {"max_attempts": 4})


def test_a_task_too_large_for_a_state_is_refused_before_the_path_is_claimed(
    store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "MAX_ITEM_BYTES", 300)
    with pytest.raises(PayloadError, match="task 0 with its 4 partitions takes"):
        begin(asked | {"world_size": 1})
    assert store.bucket("sky").get(KEYS.payload) is None


def test_a_path_with_a_driver_elsewhere_is_refused(store: Store, asked: dict[str, Any]) -> None:
    with (
        hold(store.bucket("sky"), KEYS),
        pytest.raises(ClaimedError, match="drives this run; expected no other driver"),
    ):
        begin(asked)


def test_an_execution_drives_its_run_until_it_is_summed_up(store: Store, asked: dict[str, Any]) -> None:
    begun = begin(asked)
    bucket = store.bucket("sky")
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert (holder.execution, holder.lapsed()) == (EXECUTION, False)
    with pytest.raises(ClaimedError, match=f"the execution {EXECUTION} drives this run"):
        begin(asked, execution="arn:another")
    with pytest.raises(ClaimedError, match="skyfan stop sky/results/one"):
        skyfan.run(asked, store=store.url, workers=1)
    assert begin(asked)["pending"] == 4, "an Initialize that is tried again is the same driver"
    handlers.summarize({"begun": begun, "map_ended_at": "2100-01-01T00:00:00.000Z"}, None)
    assert read_lease(bucket, KEYS).lapsed()
    assert begin(asked, execution="arn:another")["pending"] == 4


def test_an_execution_that_cannot_begin_leaves_the_path_to_others(store: Store, asked: dict[str, Any]) -> None:
    drive({"payload": asked}, store)
    with pytest.raises(ClaimedError, match="belongs to another payload"):
        begin(asked | {"batch_size": 7}, execution="arn:another")
    assert begin(asked, execution="arn:a-third", overwrite=True)["pending"] == 4


def test_the_lease_lasts_as_long_as_an_execution_may(definition: str) -> None:
    assert json.loads(definition)["TimeoutSeconds"] == EXECUTION_LIFETIME_S


def test_every_invocation_says_which_run_it_is_of(
    store: Store, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    begun = begin(asked)
    handlers.infer(items(begun, store)[0], SimpleNamespace(aws_request_id="one-two"))
    assert "skyfan run sky/results/one RequestId: one-two\n" in capsys.readouterr().out


def test_concurrency_is_the_stacks_at_most(
    in_folder: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert begin(asked)["max_concurrency"] == execution.DEFAULT_CONCURRENCY
    monkeypatch.setenv("SKYFAN_MAX_CONCURRENCY", "5")
    begun = begin(asked | {"max_concurrency": 50})
    assert begun["max_concurrency"] == 5
    assert any("max_concurrency is 50, but this stack starts 5" in warning for warning in begun["warnings"])


def test_a_bad_partition_keeps_its_name(store: Store, asked: dict[str, Any]) -> None:
    item = items(begin(asked), store)[1]
    store.bucket("sky").put("25MB/2.safetensors", b"no partition")
    with pytest.raises(PartitionError):
        handlers.infer(item, None)


@pytest.mark.parametrize(("tolerated", "status"), [(0, "failed"), (1, "incomplete")])
def test_the_verdict_on_a_run_with_a_failed_task(
    store: Store, asked: dict[str, Any], tolerated: int, status: str
) -> None:
    begun = begin(asked | {"tolerated_failure_count": tolerated})
    for item in items(begun, store)[1:]:
        handlers.infer(item, None)
    verdict = handlers.summarize({"begun": begun, "map_ended_at": begun["planned_at"]}, None)
    assert (verdict["status"], verdict["tasks_ok"]) == (status, 3)
    assert "1 of 4 tasks without a valid report" in verdict["message"]


def test_a_map_that_could_not_run_is_a_failed_run(store: Store, asked: dict[str, Any]) -> None:
    begun = begin(asked | {"tolerated_failure_count": 4})
    begun["map_error"] = {"Error": "States.ItemReaderFailed", "Cause": "no access"}
    verdict = handlers.summarize({"begun": begun, "map_ended_at": begun["planned_at"]}, None)
    assert verdict["status"] == "failed"
    assert "the map ended with States.ItemReaderFailed" in verdict["message"]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [([], 0), (["ab"], 1), (["ab", "bc"], 1), (["ac", "bd"], 2), (["ad", "bc", "bd"], 3)],
)
def test_workers_are_counted_by_what_they_did_at_the_same_time(spans: list[str], expected: int) -> None:
    assert most_at_once([(span[0], span[1]) for span in spans]) == expected


def test_no_handler_needs_boto3(in_folder: Path) -> None:
    code = "import sys, skyfan.aws.handlers; print(sorted({'boto3', 'botocore', 'torch', 'pandas'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_store_is_s3_and_opened_once(monkeypatch: pytest.MonkeyPatch, fresh_store: None) -> None:
    assert handlers._store().url == "s3://"
    assert handlers._store() is handlers._store()


def test_the_credentials_of_a_lambda_are_used(monkeypatch: pytest.MonkeyPatch, fresh_store: None) -> None:
    with listening() as (address, seen):
        for name, value in {
            "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_SESSION_TOKEN": "a-session",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_S3": address,
        }.items():
            monkeypatch.setenv(name, value)
        assert handlers._store().bucket("sky").get("x") == b"{}"
    headers = seen[0]
    assert headers["x-amz-security-token"] == "a-session"
    assert "ASIAEXAMPLE" in headers["authorization"]
    assert "/eu-west-1/s3/" in headers["authorization"]


def test_results_are_json(in_folder: Path, asked: dict[str, Any]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(begin(asked)))
