"""Many tasks, executions at once, workers that die, answers that are lost: rows in = rows out, or what is missing."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from moto.s3.models import s3_backends

import skyfan
from aws.states import DiedError, Handler, Machine, Map, filled
from factories import make_rows
from skyfan import stages
from skyfan.aws import handlers
from skyfan.aws.execution import _attempt
from skyfan.aws.messages import Item, parse
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Bucket, Store
from skyfan.summary import Summary, decode_summary
from skyfan.task import Report, decode_report

TASKS = 1_200
"""More than a page of S3's list holds, 1,000 keys, and than a state's input does, 763 of the original system's."""
STATE_BYTES = 256 * 1024
HISTORY_EVENTS = 25_000
ROWS = 7 + 8 + 9 + 10
"""Of the four partitions below 25MB."""

Lose = Callable[[dict[str, Any], Bucket], None]


@pytest.fixture
def arn(machine: Machine, definition: str) -> str:
    return machine.create(filled(definition))


@pytest.fixture
def bucket(machine: Machine) -> Bucket:
    return Store("s3://").bucket("sky")


@pytest.fixture
def payload(event: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = event["payload"]
    return asked


@pytest.fixture
def keys(payload: dict[str, Any]) -> RunKeys:
    return RunKeys(payload["result_path"])


@pytest.fixture
def of_children(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The history of a map's children, which moto forgets with its end."""
    events: list[dict[str, Any]] = []
    original = Map._map_run

    def run(self: Any, env: Any, eval_input: Any) -> None:
        try:
            original(self, env=env, eval_input=eval_input)
        finally:
            events.extend(env.event_manager.get_event_history())

    monkeypatch.setattr(Map, "_map_run", run)
    return events


def start(machine: Machine, arn: str, payload: dict[str, Any], name: str = "one", **request: Any) -> str:
    found = machine.client.start_execution(
        stateMachineArn=arn, name=name, input=json.dumps({"payload": payload, **request})
    )
    return str(found["executionArn"])


def ended(machine: Machine, execution: str, within_s: float = 60) -> dict[str, Any]:
    """Wait for an execution's end; moto answers in the process that runs it, so that asking often slows it down."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found: dict[str, Any] = machine.client.describe_execution(executionArn=execution)
        if found["status"] != "RUNNING":
            return found
        time.sleep(0.05 if within_s <= 60 else 1)
    raise AssertionError(f"the execution does not end in {within_s} s")


def run(machine: Machine, arn: str, payload: dict[str, Any], name: str = "one", **request: Any) -> dict[str, Any]:
    return ended(machine, start(machine, arn, payload, name, **request))


def history(machine: Machine, execution: str) -> list[dict[str, Any]]:
    pages = machine.client.get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def largest(told: list[Any]) -> int:
    """Bytes of the largest of these as JSON: of an event's own input or output they are an upper bound."""
    return max(len(json.dumps(one, default=str).encode()) for one in told)


def summary_of(bucket: Bucket, keys: RunKeys) -> Summary:
    summary = decode_summary(bucket.get(keys.summary))
    assert summary is not None
    return summary


def reports(bucket: Bucket, keys: RunKeys) -> dict[int, Report]:
    found = (decode_report(bucket.get(entry.key)) for entry in bucket.list(keys.reports))
    return {report.rank: report for report in found if report is not None}


def check_whole(payload: dict[str, Any], rows: int = ROWS) -> Summary:
    """Check that a run is complete: every part is read, hashed and counted again."""
    run = skyfan.open_run(payload, store="s3://")
    proof, summary = run.verify(), run.summary
    assert proof.problems == []
    assert (proof.complete, proof.rows) == (True, rows)
    assert summary is not None
    assert summary.complete
    assert summary.rows_in == summary.rows_out == rows
    return summary


def in_moto() -> Any:
    """Return moto's store itself: by its server each of a thousand objects takes 5 ms."""
    return s3_backends["123456789012"]["aws"]


def ids_in(part: str) -> list[int]:
    """Return the ids of a part's rows."""
    ids: list[int] = pq.read_table(pa.BufferReader(in_moto().get_object("sky", part).value))["object_id"].to_pylist()
    return ids


def put_partitions(numbers: range) -> list[int]:
    """Put partitions of one to three rows below many/; return the ids of their rows, in the catalogue's order."""
    ids: list[int] = []
    for number in numbers:
        rows = make_rows(1 + number % 3, seed=number)
        in_moto().put_object("sky", f"many/{number}.safetensors", safetensors.numpy.save(rows))
        ids += rows["object_id"].tolist()
    return ids


def ranks_of(machine: Machine, function: str, path: str | None = None) -> list[int]:
    """Ranks of the tasks that a function was called for, of one run or of all."""
    tasks = [event["task"] for name, event in machine.calls if name == function]
    return sorted(task["rank"] for task in tasks if path in (None, task["result_path"]))


def once(function: Handler, fail: Callable[[dict[str, Any]], None], rank: int | None = None) -> Handler:
    """Have a function end as `fail` does the first time that it is called, for one task or for any."""
    left = [True]

    def call(event: dict[str, Any], context: object) -> Any:
        if left and rank in (None, event.get("task", {}).get("rank")):
            left.clear()
            fail(event)
        return function(event, context)

    return call


def test_twelve_hundred_tasks_pass_through_no_state(
    machine: Machine,
    arn: str,
    bucket: Bucket,
    payload: dict[str, Any],
    keys: RunKeys,
    of_children: list[dict[str, Any]],
) -> None:
    ids = put_partitions(range(1, TASKS + 1))
    asked = payload | {"data_prefix": "many", "max_concurrency": 16}
    found = ended(machine, start(machine, arn, asked), within_s=400)
    assert found["status"] == "SUCCEEDED", found
    verdict = json.loads(found["output"])
    assert (verdict["status"], verdict["tasks"], verdict["tasks_ok"]) == ("complete", TASKS, TASKS)
    assert ranks_of(machine, "Infer") == list(range(TASKS))
    assert machine.called("InferLarge") == 0

    summary = summary_of(bucket, keys)
    assert summary.complete
    assert summary.rows_in == summary.rows_out == verdict["rows_out"] == len(ids)
    parts = [entry.key for entry in bucket.list(keys.predictions)]
    assert sorted(parts) == [keys.part(rank) for rank in range(TASKS)]
    assert [number for key in sorted(parts) for number in ids_in(key)] == ids

    # the tasks do not fit into a state, so that what is small has not got them
    assert len(bucket.get(keys.pending) or b"") > STATE_BYTES
    told = history(machine, found["executionArn"])
    assert [event["type"] for event in told].count("MapRunSucceeded") == 1
    assert [event["type"] for event in of_children].count("TaskSucceeded") == TASKS
    assert len(told) < HISTORY_EVENTS / 100
    sizes = [largest(told), largest(of_children), largest([event for _, event in machine.calls]), len(found["output"])]
    assert max(sizes) < STATE_BYTES / 16, sizes


def test_two_runs_at_once_on_one_state_machine(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    both = threading.Barrier(2)

    def meet(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] == 0:
            both.wait(60)
        return handlers.infer(event, context)

    machine.handlers["Infer"] = meet
    other = payload | {"result_path": payload["result_path"] + "-two", "file_limit": 3}
    started = [start(machine, arn, asked, f"run-{number}") for number, asked in enumerate((payload, other))]
    assert [ended(machine, execution)["status"] for execution in started] == ["SUCCEEDED"] * 2
    check_whole(payload)
    check_whole(other, ROWS - 10)
    theirs = RunKeys(other["result_path"])
    assert ranks_of(machine, "Infer", keys.result_path) == [0, 1, 2, 3]
    assert ranks_of(machine, "Infer", theirs.result_path) == [0, 1, 2]
    assert [bucket.get(keys.part(rank)) for rank in range(3)] == [bucket.get(theirs.part(rank)) for rank in range(3)]


def test_a_second_execution_of_a_run_is_refused_and_the_first_goes_on(
    machine: Machine, arn: str, bucket: Bucket, payload: dict[str, Any], keys: RunKeys
) -> None:
    go = threading.Event()

    def wait(event: dict[str, Any], context: object) -> Any:
        go.wait(60)
        return handlers.infer(event, context)

    machine.handlers["Infer"] = wait
    first = start(machine, arn, payload, "first")
    until = time.monotonic() + 60
    while machine.called("Infer") == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    second = run(machine, arn, payload, "second")
    lease = read_lease(bucket, keys)
    go.set()
    assert (second["status"], second["error"]) == ("FAILED", "ClaimedError")
    assert f"the execution {first} drives this run" in second["cause"]
    assert lease is not None
    assert (lease.execution, lease.lapsed()) == (first, False)
    assert ended(machine, first)["status"] == "SUCCEEDED"
    assert ranks_of(machine, "Infer") == [0, 1, 2, 3]
    check_whole(payload)


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
    assert of_failed.startswith("1 of 12 tasks failed: 9;")
    assert of_missing.startswith("1 of 12 tasks without a valid report or part: 4;")
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
    assert [entry.key for entry in bucket.list(keys.leases)] == [keys.lease(2 if overwrite else 1)]
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
