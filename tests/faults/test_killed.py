"""Runs that are interrupted, killed, or robbed of their workers: nothing that a report names is lost."""

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from running import ROWS, TASKS, Start, reports, verify, wait_for_reports, workers_of
from skyfan.task import decode_report


def finish(start: Start) -> dict[str, object]:
    """Run to the end; return the summary."""
    out, err = start().communicate(timeout=120)
    assert err == ""
    last = json.loads(out.splitlines()[-1])
    summary: dict[str, object] = last["summary"]
    return summary


@pytest.mark.parametrize("when", [0, 1, 4, TASKS - 1])
def test_a_run_killed_at_any_moment_goes_on_where_it_was(job: Path, start: Start, when: int) -> None:
    process = start()
    if when:
        wait_for_reports(job, when)
    time.sleep(random.uniform(0, 0.3))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stored = {path: path.read_bytes() for path in reports(job)}
    for path, data in stored.items():
        report = decode_report(data)
        assert report is not None, f"{path.name} is half written"
        assert report.part is not None
        assert (job.parent / "store" / "sky" / report.part.key).stat().st_size == report.part.bytes
    summary = finish(start)
    assert summary["complete"] is True
    assert summary["rows_out"] == TASKS * ROWS
    assert {path: path.read_bytes() for path in stored} == stored, "a task that was done was done again"
    assert verify(job) == 0


def test_workers_end_when_their_driver_is_killed(job: Path, start: Start) -> None:
    process = start()
    wait_for_reports(job, 1)
    workers = workers_of(process)
    assert workers
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_leaves_nothing_behind(
    job: Path, start: Start, number: signal.Signals
) -> None:
    process = start()
    wait_for_reports(job, 2)
    workers = workers_of(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "run the same payload again to go on" in err
    assert "Traceback" not in err
    assert not any(worker.is_running() for worker in workers)
    assert b'"until":0.0' in (job.parent / "store" / "sky" / "out" / "lease" / "00001.json").read_bytes()
    assert finish(start)["complete"] is True


def test_a_killed_worker_fails_its_task_only_which_is_done_again(job: Path, start: Start) -> None:
    process = start()
    wait_for_reports(job, 2)
    workers_of(process)[0].kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    retried = [event for event in events if event["event"] == "TaskRetried"]
    assert len(retried) == 1
    assert "SIGKILL" in retried[0]["error"]["message"]
    assert events[-1]["summary"]["complete"] is True
    assert verify(job) == 0


def test_the_second_of_two_runs_at_once_is_refused(job: Path, start: Start) -> None:
    first = start()
    wait_for_reports(job, 1)
    second = start()
    _, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert f"process {first.pid}" in err
    assert "drives this run" in err
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 0
    assert json.loads(out.splitlines()[-1])["summary"]["complete"] is True
