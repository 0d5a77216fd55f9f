"""A run on AWS from its start to its end, as its user sees it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, command, executions_of, slowed
from aws.states import Machine
from skyfan.aws.following import CLOCKS_S
from skyfan.errors import RunFailedError, StoreError
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Bucket, Store
from skyfan.task import decode_report
from skyfan.watching import Billed, Ended, Planned, Priced, RunEvent, TaskDone, TaskGivenUp, TaskRetried, Ticked


def test_a_run_gives_the_same_bytes_as_the_local_engine(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], root: Path
) -> None:
    seen, here = Seen(), skyfan.run(asked, store=root, workers=1)
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert seen.names == ["Priced", "Started", "Planned", *["TaskDone"] * 4, "Ended", "Billed"]
    assert sorted(event.report.rank for event in seen.of(TaskDone)) == [0, 1, 2, 3]
    local, remote = here.part_keys(), run.part_keys()
    assert len(local) == len(remote) == 4
    assert [bucket.get(key) for key in remote] == [(root / "sky" / key).read_bytes() for key in local]
    (bill,) = seen.of(Billed)
    assert bill.is_whole
    assert run.bill == bill
    assert bill.cost.total_usd < seen.of(Priced)[0].estimate.high.total_usd


def test_a_finished_run_is_found_finished_and_nothing_starts(arn: str, asked: dict[str, Any]) -> None:
    skyfan.run(asked, engine="aws")
    seen = Seen()
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.names == ["Ended"]
    assert seen.of(Ended)[0].found_finished
    assert len(executions_of(arn)) == 1


def test_a_failed_partition_fails_the_run_as_it_does_locally_and_resume_does_only_that_task(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    whole = bucket.get("25MB/2.safetensors")
    assert whole is not None
    bucket.put("25MB/2.safetensors", b"no partition")
    seen = Seen()
    with pytest.raises(
        RunFailedError, match=r"^sky/results/\w+: 3 of 4 tasks done.*2\.safetensors.*Run the same"
    ) as at:
        skyfan.run(asked, engine="aws", watch=seen)
    assert at.value.exit_code == 2
    assert "stackTrace" not in str(at.value)
    assert [event.rank for event in seen.of(TaskGivenUp)] == [1]
    assert seen.names[-2:] == ["Ended", "Billed"]
    assert read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]

    bucket.put("25MB/2.safetensors", whole)
    machine.calls.clear()
    seen = Seen()
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert machine.called("Infer") == 1
    assert [event.report.rank for event in seen.of(TaskDone)] == [1]
    assert seen.of(Planned)[0].tasks_done == 3
    assert "speed as in 3 tasks of this run" in seen.of(Priced)[0].basis[0]


def test_a_tolerated_failure_ends_incomplete(arn: str, bucket: Bucket, asked: dict[str, Any]) -> None:
    bucket.put("25MB/2.safetensors", b"no partition")
    run = skyfan.run(asked, engine="aws", tolerated_failure_count=1)
    assert run.summary is not None
    assert (run.summary.complete, run.summary.tasks_ok) == (False, 3)


def test_a_retry_is_told(machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from skyfan import stages

    original, told = stages.infer, threading.Event()

    def infer(task: Any, store: Store, attempt: int = 1, **options: Any) -> Any:
        if task.rank == 1 and attempt == 1:
            error = StoreError("the store failed")
            stages.record_failure(task, store.bucket(task.bucket), attempt, error)
            raise error
        if task.rank == 1:
            told.wait(60)
        return original(task, store, attempt, **options)

    monkeypatch.setattr(stages, "infer", infer)
    seen = Seen()

    def watch(event: RunEvent) -> None:
        seen(event)
        if isinstance(event, TaskRetried):
            told.set()

    skyfan.run(asked, engine="aws", watch=watch)
    (retried,) = seen.of(TaskRetried)
    assert (retried.rank, retried.attempt, retried.error.message) == (1, 1, "the store failed")
    assert seen.of(Ended)[0].summary.complete
    assert any("invocation" in note for note in seen.of(Billed)[0].notes)


def test_reports_of_a_run_that_is_overwritten_are_not_taken_for_the_new_one_s(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    skyfan.run(asked, engine="aws")
    first = bucket.get(keys.report(0))
    time.sleep(1.5 * CLOCKS_S)
    go = slowed(machine, "Initialize")  # the earlier reports are there while it starts
    seen, looks = Seen(), iter(range(3))

    def watch(event: RunEvent) -> None:
        seen(event)
        if isinstance(event, Ticked) and next(looks, None) is None:  # once after each look
            go.set()

    skyfan.run(asked, engine="aws", overwrite=True, watch=watch)
    assert len(seen.of(TaskDone)) == 4
    assert bucket.get(keys.report(0)) != first
    assert all(event.report.started_at > decode_report(first).started_at for event in seen.of(TaskDone))


def test_the_command_line_shows_price_progress_and_bill(
    machine: Machine, arn: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    job = tmp_path / "payload.json"
    job.write_text(json.dumps(asked))
    done = command(machine, "run", job, "--engine", "aws")
    assert done.returncode == 0, done.stderr
    assert "will cost about" in done.stderr
    assert "Lambda infer: compute, arm64" in done.stderr
    assert "34 of 34 rows" in done.stderr
    assert "REPORT lines of 6 invocations" in done.stdout
    assert "total" in done.stdout
    again = command(machine, "run", job, "--engine", "aws", "--result-path", "results/two", "--detach", "--json")
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["event"] for line in again.stdout.splitlines()] == ["Priced", "Started"]
    watched = command(machine, "run", job, "--engine", "aws", "--result-path", "results/two", "--json")
    assert watched.returncode == 0, watched.stderr
    last = json.loads(watched.stdout.splitlines()[-1])
    assert last["event"] in {"Billed", "Ended"}
    dry = command(machine, "run", job, "--engine", "aws", "--result-path", "results/3", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "will cost about" in dry.stderr
    assert "plan of sky/results/3" in dry.stdout
    refused = command(machine, "run", job, "--engine", "aws", "--result-path", "results/3", "--max-cost", "0.000001")
    assert refused.returncode == 2
    assert "--max-cost" in refused.stderr
