"""An execution that is stopped: its run ends, is free, and goes on when it is asked for again."""

import json
import threading
import time
from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, command, executions_of, slowed
from aws.stacks import client
from aws.states import Machine
from skyfan import api
from skyfan.errors import RunStoppedError
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Bucket
from skyfan.watching import Ended, Planned, RunEvent, Started


def test_stop_ends_the_execution_and_frees_the_run(
    machine: Machine,
    arn: str,
    bucket: Bucket,
    asked: dict[str, Any],
    keys: RunKeys,
    run_id: str,
    at_stop: list[threading.Event],
) -> None:
    go = slowed(machine)
    at_stop.append(go)
    skyfan.run(asked, engine="aws", detach=True)
    until = time.monotonic() + 20
    while machine.called("Infer") == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    standing = skyfan.open_run(run_id, store="s3://").status()
    assert standing.state == "running"
    assert standing.driver is not None
    assert standing.driver.startswith("arn:aws:states:us-east-1:")
    said = api.stop(run_id, store="s3://")
    assert "stopped; running the same payload again goes on" in said
    assert executions_of(arn)[0]["status"] == "ABORTED"
    assert read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]
    assert "nobody drives it" in api.stop(run_id, store="s3://")
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete


def test_whoever_watches_learns_that_it_was_stopped(
    machine: Machine, arn: str, asked: dict[str, Any], run_id: str, at_stop: list[threading.Event]
) -> None:
    go = slowed(machine)
    at_stop.append(go)

    def watch(event: RunEvent) -> None:
        if isinstance(event, Planned):
            api.stop(run_id, stack="skyfan", region="us-east-1")

    with pytest.raises(RunStoppedError, match="the execution was stopped"):
        skyfan.run(asked, engine="aws", watch=watch)


def test_the_lease_of_an_execution_that_ended_without_a_word_is_given_up(
    run_id: str,
    machine: Machine,
    arn: str,
    bucket: Bucket,
    asked: dict[str, Any],
    keys: RunKeys,
    at_stop: list[threading.Event],
) -> None:
    go = slowed(machine)
    at_stop.append(go)
    skyfan.run(asked, engine="aws", detach=True)
    until = time.monotonic() + 20
    while read_lease(bucket, keys) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    client("stepfunctions").stop_execution(executionArn=executions_of(arn)[0]["executionArn"])
    assert not read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]
    said = command(machine, "status", run_id, "--store", "s3://", "--json")
    standing = json.loads(said.stdout)
    assert (said.returncode, standing["state"], standing["driver"]) == (3, "interrupted", None)
    assert "has ended (ABORTED)" in standing["problems"][0]
    seen = Seen()
    skyfan.run(asked, engine="aws", watch=seen)
    assert not seen.of(Started)[0].attached
    assert seen.of(Ended)[0].summary.complete
