"""A worker of the local engine: a process that reads an item, does it, writes the result, until there are no more.

It is started by a command of its own instead of a fork or multiprocessing: nothing of the driver is inherited, and a
script or notebook that calls skyfan needs no main guard.
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from skyfan.engines.base import ERROR, OK
from skyfan.engines.frames import read_frame, write_frame
from skyfan.measure import note_waiting
from skyfan.task import describe

_PARENT_CHECK_S = 1.0


def main(arguments: list[str]) -> None:
    """Serve until the driver closes the pipe: `worker IN_DESCRIPTOR OUT_DESCRIPTOR FUNCTION CONTEXT PARENT SCRATCH`."""
    incoming, outgoing, parent = int(arguments[0]), int(arguments[1]), int(arguments[4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with, args=(parent, arguments[5]), daemon=True).start()
    work = _load(arguments[2])(arguments[3])
    while (frame := _next_frame(incoming)) is not None:
        number, attempt, item = frame
        try:
            status, data = OK, work(item, attempt)
        except Exception as error:  # noqa: BLE001  whatever it was, it belongs to this item: the driver decides what follows
            status, data = ERROR, msgspec.json.encode(describe(error))
        write_frame(outgoing, number, status, data)


def _next_frame(incoming: int) -> tuple[int, int, bytes] | None:
    started = time.perf_counter()
    frame = read_frame(incoming)
    note_waiting(time.perf_counter() - started)
    return frame


def _load(function: str) -> Callable[[str], Callable[[bytes, int], bytes]]:
    module, _, name = function.partition(":")
    found: Any = getattr(importlib.import_module(module), name)
    return found  # type: ignore[no-any-return]


def _end_with(parent: int, scratch: str) -> None:
    """End this process when the driver is gone, even if it was killed in the middle of a task.

    What lies in the worker's temporary directory is removed by a process that outlives this one: the box of a script
    ends with this one, and only then does nobody write there.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    with suppress(OSError):
        remove = [sys.executable, "-P", "-m", "skyfan.scripting.using", scratch]
        subprocess.Popen(remove, start_new_session=True, stdin=subprocess.DEVNULL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
