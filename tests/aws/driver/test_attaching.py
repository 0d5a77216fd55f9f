"""A run that is under way: found and watched again, or left to the one who drives it."""

import os
import threading
import time
from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, executions_of, interrupt_at, slowed
from aws.states import Machine
from skyfan.errors import ClaimedError, RunStoppedError
from skyfan.keys import RunKeys
from skyfan.lease import hold, read_lease
from skyfan.storage import Bucket
from skyfan.watching import Billed, Planned, Started, TaskDone


def test_ctrl_c_leaves_the_run_going_and_the_same_call_watches_it_again(
    machine: Machine, arn: str, asked: dict[str, Any]
) -> None:
    go = slowed(machine)
    with pytest.raises(RunStoppedError, match=r"no longer watched, but the run goes on.*skyfan stop") as at:
        skyfan.run(asked, engine="aws", watch=interrupt_at(Planned))
    assert at.value.exit_code == 130
    seen = Seen(go)
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert seen.names[:2] == ["Started", "Planned"]
    assert seen.of(Started)[0].attached
    assert len(seen.of(TaskDone)) == 4
    assert run.summary is not None
    assert run.summary.complete
    assert len(executions_of(arn)) == 1
    assert machine.called("Infer") == 4


def test_an_execution_that_has_no_lease_yet_is_found_too(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    go = slowed(machine, "Initialize")
    skyfan.run(asked, engine="aws", detach=True)
    assert read_lease(bucket, keys) is None
    seen = Seen(go)
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.of(Started)[0].attached
    assert len(executions_of(arn)) == 1


def test_a_second_run_on_the_stack_is_not_taken_for_the_first(
    machine: Machine, arn: str, asked: dict[str, Any]
) -> None:
    go = slowed(machine)
    skyfan.run(asked, engine="aws", detach=True)
    seen = Seen()
    skyfan.run(asked | {"result_path": asked["result_path"] + "-two"}, engine="aws", watch=seen, detach=True)
    go.set()
    assert not seen.of(Started)[0].attached
    for end in ("", "-two"):
        run = skyfan.run(asked | {"result_path": asked["result_path"] + end}, engine="aws")
        assert run.summary is not None
        assert run.summary.complete
    assert len(executions_of(arn)) == 2


def test_what_is_done_before_it_is_watched_counts(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    handler, go = machine.handlers["Infer"], threading.Event()

    def last_waits(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] == 3:
            go.wait(60)
        return handler(event, context)

    machine.handlers["Infer"] = last_waits
    with pytest.raises(RunStoppedError):
        skyfan.run(asked, engine="aws", watch=interrupt_at(TaskDone))
    until = time.monotonic() + 30
    while len(bucket.list(keys.reports)) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    seen = Seen(go)
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.of(Planned)[0].tasks_done == 3
    assert len(seen.of(TaskDone)) == 1
    assert "6 invocations" in seen.of(Billed)[0].notes[0]


def test_a_process_that_drives_the_run_is_named(arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys) -> None:
    with hold(bucket, keys), pytest.raises(ClaimedError, match=f"process {os.getpid()} on .* drives this run"):
        skyfan.run(asked, engine="aws")
    assert executions_of(arn) == []


def test_a_run_under_way_is_not_overwritten(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine)
    skyfan.run(asked, engine="aws", detach=True)
    with pytest.raises(ClaimedError, match="is under way; expected none to overwrite"):
        skyfan.run(asked, engine="aws", overwrite=True)
    go.set()
    skyfan.run(asked, engine="aws")


def test_an_execution_of_another_payload_is_not_watched(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine, "Initialize")
    skyfan.run(asked, engine="aws", detach=True)
    with pytest.raises(ClaimedError, match="with another payload, of which batch_size differ"):
        skyfan.run(asked | {"batch_size": 7}, engine="aws")
    go.set()
    skyfan.run(asked, engine="aws")
