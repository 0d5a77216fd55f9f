"""Run one program in a box: start it, watch it, say how it ended, leave nothing of it running."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from skyfan.errors import InputError, WorkerError
from skyfan.scripting.child import Child
from skyfan.scripting.guard import Guard, used_bytes
from skyfan.scripting.limits import Limits
from skyfan.scripting.mount_points import lie_below, mount_points
from skyfan.scripting.orphans import orphans_ended
from skyfan.scripting.output import Output
from skyfan.scripting.removing import remove_tree
from skyfan.scripting.temporary import temporary_folder
from skyfan.scripting.turns import TMP, turn
from skyfan.scripting.using import in_use

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
_TICK_S = 0.1
_GIVE_UP_S = 60.0
_LAST_CHUNKS = 8
"""So many are read when the box is gone: what the pipe held then, and no more if something prints on for ever."""
_LAST_WORDS_BYTES = 1000
_KILLED = 128 + signal.SIGKILL
_MB = 1024 * 1024
_WAY_OUT = "; with the variable SKYFAN_NAMESPACES set to no, scripts run one at a time, without a /tmp of their own"


class Ending(NamedTuple):
    """How a script ended, and what it took."""

    exit_code: int
    """As a shell has it: 128 + the number of the signal that ended it, 127 if there is no such program."""
    why: str | None
    """Why it did not end well, in words; None if it ended by itself, with 0."""
    wall_s: float
    """From its start to its end."""
    peak_memory_mb: float
    """Of all its processes at once, resident, in MiB. A page that several share counts once: the sum of their resident
    sets counts it for each. It is looked at every 0.1 s: a shorter peak of several processes may be missed, that of
    the largest single one is not. One smaller than the process that starts it (about 10 MiB) shows as that."""
    output: bytes
    """What it wrote to stdout and stderr, as it came, at most `skyfan.scripting.output.MAX_OUTPUT_BYTES`."""


def run_boxed(
    command: Sequence[str],
    *,
    directory: Path,
    cwd: str,
    environment: Mapping[str, str],
    limits: Limits,
    shown: Sequence[Path] = (),
    private: bool,
) -> Ending:
    """Run a program whose `/tmp` is a directory of its own; return when it and all that it started have ended.

    It keeps scripts out of each other's way, it does not keep a hostile one from the rest of the machine. When the
    calling process is killed, so is the script.

    Parameters
    ----------
    command : sequence of str
    directory : Path
        What stands for `/tmp`.
    cwd : str
        Where it starts, by its name inside.
    environment : mapping of str to str
        All of its environment.
    limits : Limits
    shown : sequence of Path
        Folders below the real `/tmp` that must be seen at the same path all the same, also if a link on the way lies
        there; others need nothing.
    private : bool
        Whether it gets mounts and process numbers of its own, see `can_be_private`, and a `/dev/shm` of its own, unless
        `directory` or what is shown lies there. Files in that take memory that the limit does not count, but for what a
        process maps; they may take as much as it permits once more. If not private, it waits until it is the only one
        of this user on this machine, which no limit counts; each entry of `directory` is linked into the real `/tmp`
        while it runs, and TMPDIR is `directory`. Whatever else it makes in `/tmp` is left there.

    Raises
    ------
    InputError
        If `cwd` or a folder to be shown is none, or the names of `directory` are taken in the real `/tmp`.
    WorkerError
        If there is no room for the box, or it cannot be made, is killed, or cannot be ended.
    """
    orders: dict[str, Any] = {
        "command": list(command),
        "environment": dict(environment),
        "cwd": cwd,
        "directory": str(directory.absolute()),
        "private": private,
        "shown": [],
        "links": {},
        "shared_memory": not lie_below([directory, *shown], _SHARED_MEMORY),
        "memory_bytes": None if limits.memory_mb is None else max(1, int(limits.memory_mb * _MB)),
        "file_bytes": None if limits.disk_mb is None else int(limits.disk_mb * _MB),
        "processes": limits.processes,
    }
    with ExitStack() as undo:
        orders["keep"] = [undo.enter_context(in_use(directory))]
        if private:
            orders["shown"] = undo.enter_context(mount_points(directory, shown))
        else:
            lock, orders["links"] = undo.enter_context(turn(directory))
            orders["keep"].append(lock)
            orders["environment"]["TMPDIR"] = orders["directory"]
            orders["cwd"] = orders["directory"] if Path(cwd) == TMP else cwd
            undo.enter_context(orphans_ended(f"TMPDIR={orders['directory']}"))
        return _Watch(directory, limits).run(orders)


def can_be_private() -> bool:
    """Return whether this system permits a `/tmp` of its own to each script: it is tried, once in each process.

    False anywhere but on Linux, and where the variable SKYFAN_NAMESPACES is `no`.

    Raises
    ------
    WorkerError
        If there is no temporary directory to try it in.
    """
    return sys.platform == "linux" and os.environ.get("SKYFAN_NAMESPACES") != "no" and _tried_private()


@cache
def _tried_private() -> bool:
    command = ("/bin/sh", "-c", "echo here > /tmp/here")
    directory, limits = temporary_folder("skyfan-"), Limits(timeout_s=30)
    try:
        run_boxed(command, directory=directory, cwd="/", environment={}, limits=limits, private=True)
        return (directory / "here").exists()
    except WorkerError:
        return False
    finally:
        remove_tree(directory)


class _Watch:
    """One script from its start to its end, as seen from outside."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._guard: Guard | None = None
        self._before_bytes = 0 if limits.disk_mb is None else used_bytes(directory)
        self._output = Output()
        self._excess: str | None = None
        self._started = time.monotonic()
        self._until = self._started + limits.timeout_s

    def run(self, orders: dict[str, Any]) -> Ending:
        """Do it, whatever way it ends."""
        with Child(orders) as child:
            self._follow(child)
        notes = child.notes
        if "failed" in notes:
            raise WorkerError(f"the script cannot be started: {notes['failed'][0]}{_WAY_OUT * orders['private']}")
        if "no folder" in notes:
            raise InputError(f"the script cannot start in {orders['cwd']}: {notes['no folder'][0]}")
        return self._ending(notes)

    def _follow(self, child: Child) -> None:
        """Take what comes until the box is gone; have it end if the script takes too much."""
        with selectors.DefaultSelector() as selector:
            selector.register(child.told, selectors.EVENT_READ)
            selector.register(child.printed, selectors.EVENT_READ)
            there = True
            while there and time.monotonic() < self._until + _GIVE_UP_S:
                for key, _ in selector.select(_TICK_S):
                    if key.fd == child.told:
                        there = child.read_notes()
                    elif self._take_printed(child) == b"":
                        selector.unregister(child.printed)
                if self._excess is None:
                    self._look(child)
        for _ in range(_LAST_CHUNKS):  # what it wrote last
            if not self._take_printed(child):
                break

    def _take_printed(self, child: Child) -> bytes | None:
        chunk = child.read_printed()
        self._output.add(chunk or b"")
        return chunk

    def _look(self, child: Child) -> None:
        """End the script if it takes too much."""
        if self._guard is None and "first" in child.notes:
            self._guard = Guard(self._limits, self._directory, child.notes["first"][0], self._before_bytes)
        if time.monotonic() >= self._until:
            self._excess = f"it ran longer than {self._limits.timeout_s:,.10g} s (task_timeout_s)"
        elif self._guard is not None:
            self._excess = self._guard.look()
        if self._excess is not None:
            self._until = time.monotonic()
            child.end()

    def _ending(self, notes: Mapping[str, list[Any]]) -> Ending:
        peak_mb = 0.0 if self._guard is None else self._guard.peak_mb
        output = self._output.value()
        if "ended" in notes:  # it may have, just before it was to be
            code, wall_s, largest_mb = notes["ended"]
            why = f"could not be started: {notes['not started'][0]}" if "not started" in notes else self._why(code)
            return Ending(code if code >= 0 else 128 - code, why, wall_s, max(peak_mb, largest_mb), output)
        if self._excess is None:
            last = output[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
            words = f"; the last words: {last}" if last else ""
            raise WorkerError(f"the process that ran the script ended before it, as when memory runs out{words}")
        return Ending(_KILLED, f"was ended: {self._excess}", time.monotonic() - self._started, peak_mb, output)

    def _grown(self) -> str | None:
        """Look at what it wrote once more: it may have ended before it was seen."""
        return None if self._guard is None else self._guard.look_at_disk()

    def _why(self, code: int) -> str | None:
        if code >= 0:
            return f"exit code {code}" if code else self._grown()
        if -code == signal.SIGXFSZ and self._limits.disk_mb is not None:
            limit = f"{self._limits.disk_mb:,.10g}"
            return f"was ended: it wrote more than {limit} MiB to a file (script_disk_mb {limit})"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"ended by {name}{', as when memory runs out' if -code == signal.SIGKILL else ''}"
