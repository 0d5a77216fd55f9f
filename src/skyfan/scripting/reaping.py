"""Waiting for the processes of a box, and ending those that are left."""

import os
import resource
import select
import signal
import time
from contextlib import suppress

from skyfan.scripting.family import members

_AGAIN_S = 0.002
_AT_ONCE = 1000


def noted_signals() -> int:
    """Return a descriptor from which the numbers of signals can be read that a box must not miss."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return read


def reap_until(child: int, caller: int, signals: int) -> tuple[int, resource.struct_rusage] | None:
    """Wait for a child, and for any other on the way; None if the caller or a signal says to end before."""
    while True:
        ready, _, _ = select.select([caller, signals], [], [])
        came = os.read(signals, 512) if signals in ready else b""
        if caller in ready or signal.SIGTERM in came:
            return None
        for pid, status, usage in _ended():
            if pid == child:
                return status, usage


def end_descendants() -> None:
    """Kill until there is no child; as orphans become children of the box, there is no descendant then."""
    while True:
        for pid in members(os.getpid(), _AT_ONCE):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_AGAIN_S)


def _ended() -> list[tuple[int, int, resource.struct_rusage]]:
    ended = []
    with suppress(ChildProcessError):
        while (child := os.wait4(-1, os.WNOHANG))[0]:
            ended.append(child)
    return ended
