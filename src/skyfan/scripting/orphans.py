"""What a box leaves should it be killed itself, where the kernel does not end that: it is found, and ended."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from skyfan.scripting import namespaces
from skyfan.scripting.family import members

_MOST = 4096
_GIVE_UP_S = 10.0
_AGAIN_S = 0.002


@contextmanager
def orphans_ended(variable: str) -> Iterator[None]:
    """Adopt the orphans of this process's descendants for a while; at the end, end those that are of one script.

    Linux alone permits it; elsewhere they stay.

    Parameters
    ----------
    variable : str
        A variable with its value, as in `NAME=value`, that no process but the script's has. What is started without it
        is known as long as what started it lives.
    """
    did_before = namespaces.adopts_orphans()
    namespaces.adopt_orphans()
    try:
        yield
    finally:
        _end(b"\0" + os.fsencode(variable) + b"\0")
        namespaces.adopt_orphans(did_before)


def _end(variable: bytes) -> None:
    ended: set[int] = set()
    until = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < until:
        alive = {pid for pid in members(os.getpid(), _MOST) if _has(pid, variable)}
        for pid in alive.union(*(members(pid, _MOST) for pid in alive)):
            ended.add(pid)
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in tuple(ended):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    ended.discard(pid)
        if not alive:
            return
        time.sleep(_AGAIN_S)


def _has(pid: int, variable: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return variable in b"\0" + file.read()
    except OSError:
        return False
