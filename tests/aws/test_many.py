"""Many tasks, and executions at once: every row comes out once, whatever else is under way."""

import json
import threading
import time
from typing import Any

import pytest

from aws.executions import (
    ROWS,
    check_whole,
    ended,
    history,
    ids_in,
    largest,
    put_partitions,
    ranks_of,
    run,
    start,
    summary_of,
)
from aws.states import Machine, Map
from skyfan.aws import handlers
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Bucket

TASKS = 1_200
"""More than a page of S3's list holds, 1,000 keys, and than a state's input does, 763 of the original system's."""
STATE_BYTES = 256 * 1024
HISTORY_EVENTS = 25_000


@pytest.fixture
def of_children(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The history of a map's children, which moto forgets with its end."""
    events: list[dict[str, Any]] = []
    original = Map._map_run

    def run(self: Any, env: Any, eval_input: Any) -> None:
        try:
            original(self, env=env, eval_input=eval_input)
        finally:
            events.extend(env.event_manager._history_event_list)  # its own method would copy all of it in depth

    monkeypatch.setattr(Map, "_map_run", run)
    return events


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
