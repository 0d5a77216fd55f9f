"""Starting real runs in processes of their own, and looking at them from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import skyfan
from skyfan.summary import Summary

TASKS = 12
ROWS = 3000

Start = Callable[..., "subprocess.Popen[str]"]
SKYFAN = (sys.executable, "-m", "skyfan")


def reports(job: Path) -> list[Path]:
    """Return the reports stored so far."""
    return sorted((job.parent / "store" / "sky" / "out" / "reports").glob("*.json"))


def wait_for_reports(job: Path, count: int) -> None:
    """Wait until that many tasks have reported."""
    until = time.monotonic() + 60
    while len(reports(job)) < count:
        assert time.monotonic() < until, "the run did not come so far"
        time.sleep(0.005)


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the worker processes of a run."""
    return [child for child in psutil.Process(process.pid).children() if "worker" in " ".join(child.cmdline())]


def verify(job: Path) -> int:
    """Return the exit code of `skyfan verify`."""
    command = [*SKYFAN, "verify", str(job), "--store", str(job.parent / "store")]
    return subprocess.run(command, capture_output=True, check=False, env=os.environ).returncode


def check_run(run: skyfan.Run, rows: int) -> Summary:
    """Check that a run is complete: every part is read, hashed and counted again; return its summary."""
    proof, summary = run.verify(), run.summary
    assert proof.problems == []
    assert (proof.complete, proof.rows) == (True, rows)
    assert summary is not None
    assert summary.complete
    assert summary.rows_in == summary.rows_out == rows
    return summary
