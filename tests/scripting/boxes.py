"""Running commands in boxes, and looking at what is left of them from outside."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from skyfan.scripting.boxing import Ending, run_boxed
from skyfan.scripting.limits import Limits

TMP = Path("/tmp")
SOMEBODY = 54321
"""The number of a user that this system does not have."""
PYTHON = (sys.executable, "-S", "-c")
THIS_PYTHON = (Path(sys.prefix), Path(sys.base_prefix))
Run = Callable[..., Ending]


def boxed(*command: str, directory: Path, **others: Any) -> Ending:
    """Run a command; a variable says which directory is its own."""
    given = {
        "cwd": "/tmp",
        "environment": {"PATH": os.environ["PATH"], "BOX_OF": str(directory)},
        "limits": Limits(timeout_s=60),
        "shown": THIS_PYTHON,
    }
    return run_boxed(command, directory=directory, **(given | others))


def left_of(directory: Path) -> list[psutil.Process]:
    """Return the processes whose variable names this directory, those aside that only wait to be reaped."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BOX_OF") == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait, but not for ever."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, f"in vain: {what}"
        time.sleep(0.01)


def as_somebody(code: str, directory: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run Python as a user who is not root, and who knows from DIRECTORY where to work."""
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("only root can become somebody else, who needs a Python that all may run")
    source = str(Path(__file__).parents[2] / "src")
    somebody: dict[str, Any] = {
        "user": SOMEBODY,
        "group": SOMEBODY,
        "extra_groups": [],
        "cwd": "/",
        "capture_output": True,
    }
    probe = [python, "-c", "import sys, skyfan; sys.exit(sys.version_info < (3, 11))"]
    if subprocess.run(probe, env={"PYTHONPATH": source}, check=False, **somebody).returncode:
        pytest.skip("there is no Python that somebody else could run this with")
    environment = {"PYTHONPATH": source, "DIRECTORY": str(directory)}
    return subprocess.run([python, "-c", code], env=environment, check=False, **somebody)
