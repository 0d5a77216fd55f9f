"""Workers that die and answers that are lost: rows in = rows out, or what is missing is named."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import skyfan
from aws.executions import ROWS, check_whole, put_partitions, ranks_of, reports, run, summary_of
from aws.states import DiedError, Handler, Machine
from skyfan import stages
from skyfan.aws import handlers
from skyfan.aws.execution import _attempt
from skyfan.aws.messages import Item, parse
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Bucket, Store
from skyfan.task import Report, decode_report

Lose = Callable[[dict[str, Any], Bucket], None]


def once(function: Handler, fail: Callable[[dict[str, Any]], None], rank: int | None = None) -> Handler:
    """Have a function end as `fail` does the first time that it is called, for one task or for any."""
    left = [True]

    def call(event: dict[str, Any], context: object) -> Any:
        if left and rank in (None, event.get("task", {}).get("rank")):
            left.clear()
            fail(event)
        return function(event, context)

    return call


def nothing(event: dict[str, Any], bucket: Bucket) -> None:
    """Die before anything is done."""


def its_report(event: dict[str, Any], bucket: Bucket) -> None:
    """Die between the part and its report."""
    handlers.infer(event, None)
    task = event["task"]
    bucket.delete([RunKeys(task["result_path"]).report(task["rank"])])


def its_answer(event: dict[str, Any], bucket: Bucket) -> None:
    """Die when all is done but the answer."""
    handlers.infer(event, None)


@pytest.mark.parametrize(("lose", "attempt"), [(nothing, 2), (its_report, 2), (its_answer, 1)])
def test_a_worker_that_dies_loses_nothing_wherever_it_was(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys, lose: Lose, attempt: int
) -> None:
    def die(event: dict[str, Any]) -> None:
        lose(event, bucket)
        raise DiedError("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: signal: killed")

    machine.handlers["Infer"] = once(handlers.infer, die, rank=1)
    found = run(machine, arn, payload)
    assert found["status"] == "SUCCEEDED", found
    assert ranks_of(machine, "Infer") == [0, 1, 2, 3]
    assert ranks_of(machine, "InferLarge") == [1]
    attempts = {rank: report.attempt for rank, report in reports(bucket, keys).items()}
    assert attempts == {0: 1, 1: attempt, 2: 1, 3: 1}
    summary = check_whole(payload)
    assert (summary.drive.tasks, summary.drive.rows, summary.drive.retries) == (4, ROWS, attempt - 1)


def test_a_task_that_runs_out_of_memory_succeeds_on_the_larger_worker(
    machine: Machine,
    arn: str,
    bucket: Bucket,
    payload: dict[str, Any],
    keys: RunKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = stages.predict_task

    def greedy(task: Any, data_bucket: Bucket, result_bucket: Bucket, attempt: int, meter: Any) -> Report:
        if task.rank == 2 and attempt == 1:
            raise MemoryError("std::bad_alloc")
        return original(task, data_bucket, result_bucket, attempt, meter)

    monkeypatch.setattr(stages, "predict_task", greedy)
    found = run(machine, arn, payload)
    assert found["status"] == "SUCCEEDED", found
    (larger,) = [event for name, event in machine.calls if name == "InferLarge"]
    assert (larger["task"]["rank"], larger["retry_count"], larger["caught"]["Error"]) == (2, 0, "MemoryError")
    assert {rank: report.attempt for rank, report in reports(bucket, keys).items()} == {0: 1, 1: 1, 2: 2, 3: 1}
    failed = decode_report(bucket.get(keys.failure(2)))
    assert failed is not None
    assert failed.error is not None
    assert (failed.attempt, failed.error.kind) == (1, "MemoryError")
    assert check_whole(payload).drive.retries == 1


def dying(*ranks: int) -> Handler:
    """Die of these tasks without a word."""

    def infer(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] in ranks:
            raise DiedError("Sandbox.Timedout", "Task timed out after 90.00 seconds")
        return handlers.infer(event, context)

    return infer


def dying_inside(silent: int, *ranks: int) -> Handler:
    """Die of one task before a line of ours is run, and of others once it has noted how the usual worker ended."""

    def infer(event: dict[str, Any], context: object) -> Any:
        rank = event["task"]["rank"]
        if rank in ranks:
            _attempt(parse(event, Item), Store("s3://").bucket("sky"))
        if rank in (silent, *ranks):
            raise DiedError("Runtime.OutOfMemory", "RequestId: 2 Error: Runtime.OutOfMemory")
        return handlers.infer(event, context)

    return infer


@pytest.fixture
def failed(
    machine: Machine, arn: str, payload: dict[str, Any], bucket: Bucket
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    """A run of twelve tasks whose tasks 4 and 9 died on both workers: its payload, its rows, how it ended."""
    rows = len(put_partitions(range(1, 13)))
    asked = payload | {"data_prefix": "many"}
    machine.handlers |= {"Infer": dying(4, 9), "InferLarge": dying_inside(4, 9)}
    found = run(machine, arn, asked, "failed")
    machine.handlers |= {"Infer": handlers.infer, "InferLarge": handlers.infer}
    return asked, rows, found


def test_a_task_that_dies_on_both_workers_is_missed_by_name(
    machine: Machine, failed: tuple[dict[str, Any], int, dict[str, Any]], bucket: Bucket, keys: RunKeys
) -> None:
    asked, rows, found = failed
    lost = [1 + number % 3 for number in (5, 10)]  # rows of the partitions of the tasks 4 and 9
    assert (found["status"], found["error"]) == ("FAILED", "RunFailedError")
    assert ranks_of(machine, "InferLarge") == [4, 9]
    summary = summary_of(bucket, keys)
    assert (summary.complete, summary.tasks, summary.tasks_ok) == (False, 12, 10)
    assert (summary.tasks_failed, summary.tasks_missing) == (1, 1)
    assert summary.rows_in == summary.rows_out == rows - sum(lost)
    of_failed, of_missing = summary.problems
    assert of_failed.startswith("1 of 12 tasks failed (task 9);")
    assert of_missing.startswith("1 of 12 tasks without a valid report or part (task 4);")
    assert of_failed in found["cause"]
    assert of_missing in found["cause"]
    (failure,) = summary.failures
    assert (failure.rank, failure.attempts, failure.partitions) == (9, 1, ("many/10.safetensors",))
    assert "Task timed out after 90.00 seconds" in failure.error.message
    proof = skyfan.open_run(asked, store="s3://").verify()
    assert (proof.complete, proof.tasks_proven, proof.rows) == (False, 10, rows - sum(lost))


def test_after_a_failure_the_same_payload_does_what_is_missing_and_no_more(
    machine: Machine,
    arn: str,
    failed: tuple[dict[str, Any], int, dict[str, Any]],
    bucket: Bucket,
    keys: RunKeys,
) -> None:
    """A redrive of an execution that ended in its Fail state repeats that state only; a new one takes its place."""
    asked, rows, _ = failed
    before = {entry.key: bucket.get(entry.key) for entry in bucket.list(keys.reports)}
    machine.calls.clear()
    found = run(machine, arn, asked, "again")
    assert found["status"] == "SUCCEEDED", found
    assert ranks_of(machine, "Infer") == [4, 9]
    assert machine.called("InferLarge") == 0
    assert len(before) == 10
    assert {key: bucket.get(key) for key in before} == before
    summary = check_whole(asked, rows)
    assert (summary.tasks, summary.drive.tasks, summary.drive.retries) == (12, 2, 0)
    assert summary.failures == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_initialize_may_lose_its_answer(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys, overwrite: bool
) -> None:
    if overwrite:
        assert run(machine, arn, payload | {"file_limit": 2}, "earlier")["status"] == "SUCCEEDED"
        machine.calls.clear()

    def lose(event: dict[str, Any]) -> None:
        handlers.initialize(event, None)
        raise DiedError("Lambda.ServiceException", "Service error.")

    machine.handlers["Initialize"] = once(handlers.initialize, lose)
    found = run(machine, arn, payload, overwrite=overwrite)
    assert found["status"] == "SUCCEEDED", found
    assert machine.called("Initialize") == 2
    assert ranks_of(machine, "Infer") == [0, 1, 2, 3]
    lease = read_lease(bucket, keys)
    assert lease is not None
    assert (lease.execution, lease.lapsed()) == (found["executionArn"], True)
    assert [entry.key for entry in bucket.list(keys.leases)] == [keys.lease(3 if overwrite else 2)]
    check_whole(payload)


def test_summarize_may_lose_its_answer(machine: Machine, arn: str, payload: dict[str, Any]) -> None:
    def lose(event: dict[str, Any]) -> None:
        handlers.summarize(event, None)
        raise DiedError("Lambda.SdkClientException", "Connection reset")

    machine.handlers["Summarize"] = once(handlers.summarize, lose)
    found = run(machine, arn, payload)
    assert found["status"] == "SUCCEEDED", found
    assert (machine.called("Summarize"), json.loads(found["output"])["status"]) == (2, "complete")
    assert check_whole(payload).drive.tasks == 4
