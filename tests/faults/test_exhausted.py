"""Runs that get no more disk, no permission or no more memory."""

import json
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from running import SKYFAN, Start, verify, wait_for_reports, workers_of


def _private_mounts() -> bool:
    """Whether this system lets us mount a small disk of our own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    probe = [unshare, "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not _private_mounts(), reason="this system permits no private mounts (unshare -rm)")


def on_small_disk(job: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script with the run's result folder on a disk of 300 KiB; $run runs the job."""
    out = job.parent / "store" / "sky" / "out"
    out.mkdir()
    run = f"{' '.join(SKYFAN)} run {job} --store {job.parent / 'store'}"
    setup = f"mount -t tmpfs -o size=300k tmpfs {out}; run='{run}'; out={out}; {script}"
    return subprocess.run(["unshare", "-rm", "sh", "-c", setup], capture_output=True, text=True, check=False)


@needs_mounts
def test_a_full_disk_ends_the_run_at_once_and_room_lets_it_go_on(job: Path) -> None:
    grow = "mount -o remount,size=20m $out"
    prove = f"{' '.join(SKYFAN)} verify {job} --store {job.parent / 'store'} >&2"
    done = on_small_disk(job, f"$run; echo first $?; ls $out/predictions >&2; {grow}; $run; echo then $?; {prove}")
    assert "first 2" in done.stdout
    assert "no space is left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "then 0" in done.stdout, done.stderr
    assert "yes, proven" in done.stderr or "yes, proven" in done.stdout


@needs_mounts
def test_a_folder_without_write_permission_is_said_before_anything_starts(job: Path) -> None:
    done = on_small_disk(job, "mount -o remount,ro $out; $run; echo code $?; ls -A $out | wc -l")
    assert "code 2\n0" in done.stdout
    assert "the store refused" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_runs_out_of_memory_fails_its_task_only_which_is_done_again(job: Path, start: Start) -> None:
    process = start("--workers", "1")
    wait_for_reports(job, 1)
    (worker,) = workers_of(process)
    worker.rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20))  # it cannot even map the next partition
    out, err = process.communicate(timeout=120)
    events = [json.loads(line) for line in out.splitlines()]
    retried = [event for event in events if event["event"] == "TaskRetried"]
    assert process.returncode == 0, err
    assert retried
    said = retried[0]["error"]["message"].lower()
    assert "memory" in said or "null pointer" in said  # the latter is how the Parquet writer's compressor says it
    assert events[-1]["summary"]["complete"] is True
    assert verify(job) == 0
