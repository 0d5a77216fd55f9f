"""Running commands in boxes, and looking at what is left of them from outside."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from skyfan.scripting.boxing import Ending, run_boxed
from skyfan.scripting.limits import Limits

TMP = Path("/tmp")
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
