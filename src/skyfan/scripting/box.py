"""The process that a script runs below: it makes the box, starts the script in it, and ends with all that is inside.

Its orders come on stdin as one line of JSON; one more byte there, or its end, means to end at once. What becomes of the
script goes to a descriptor, a line of JSON for each event. It imports little, since each script waits for it.

caller ── box ── first process of the namespace ── script ── ...      private: the first process ends with the script,
caller ── box ── script ── ...                                        and the kernel then kills all that it left
"""

import errno
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from skyfan.scripting import namespaces
from skyfan.scripting.reaping import end_descendants, noted_signals, reap_until

_TMP = "/tmp"  # noqa: S108  that it stands for it is the point
_NO_FILE, _NOT_EXECUTABLE = 127, 126
"""What a shell exits with if a command cannot be started."""
_THREADS = 4096
"""The kernel counts threads where it is told to limit processes: so many more are not held against a script."""
_MORE_LIKELY = "500"
"""How much more the kernel should like to kill the script than what runs it, when the machine's memory runs out."""


def main(notes: int) -> None:
    """Do as ordered until the script has ended and nothing that it started is left."""
    namespaces.die_with_parent(signal.SIGKILL)
    os.set_inheritable(notes, False)
    signals = noted_signals()
    orders, caller = _take_orders()
    for kept in orders["keep"]:
        os.set_inheritable(kept, False)
    box = _Box(orders, notes)
    try:
        if orders["private"]:
            box.run_private(caller, signals)
        else:
            box.run_shared(caller, signals)
    except OSError as error:
        box.note("failed", str(error))
    os._exit(0)  # there is nothing to tidy up, which takes some milliseconds


class _Box:
    """One script, and the way to tell what becomes of it."""

    def __init__(self, orders: dict[str, Any], notes: int) -> None:
        self._orders = orders
        self._notes = notes
        self._own_user = False

    def note(self, *words: object) -> None:
        with suppress(BrokenPipeError):  # the caller is gone, so nobody asks
            os.write(self._notes, json.dumps(words).encode() + b"\n")

    def run_private(self, caller: int, signals: int) -> None:
        """Run it where /tmp is its directory and the processes are its own."""
        self._own_user = namespaces.separate()
        namespaces.die_with_parent(signal.SIGKILL)  # again: other credentials than before
        self._end_without_caller()
        self._mount()
        alive, held = os.pipe()
        first = self._fork(lambda: self._be_first(alive, held))
        self.note("first", first)
        if reap_until(first, caller, signals) is None:
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)  # returns when all in the namespace are gone

    def run_shared(self, caller: int, signals: int) -> None:
        """Run it among all others; at the end, end its descendants one by one."""
        namespaces.adopt_orphans()
        namespaces.die_with_parent(signal.SIGTERM)  # there is something to do before
        self._end_without_caller()
        started = time.monotonic()
        script = self._fork(self._be_script)
        self.note("first", os.getpid())
        usage = reap_until(script, caller, signals)
        if usage is not None:
            self._note_end(usage, started)
        end_descendants()
        self._unlink()

    def _fork(self, work: Callable[[], None]) -> int:
        """Return the number of a new process that does `work`, and nothing else."""
        pid = os.fork()
        if pid:
            return pid
        try:
            work()
        except BaseException as error:  # noqa: BLE001  it must not go on as its parent
            self.note("failed", f"{type(error).__name__}: {error}")
        finally:
            os._exit(1)

    def _end_without_caller(self) -> None:
        if os.getppid() != self._orders["parent"]:
            self._unlink()
            os._exit(1)

    def _unlink(self) -> None:
        """Remove the links that the caller made in /tmp: it may have been killed. Another's turn begins after this."""
        for link, target in self._orders["links"].items():
            with suppress(OSError):
                if os.readlink(link) == target:  # noqa: PTH115  pathlib is slow to import
                    os.unlink(link)  # noqa: PTH108

    def _mount(self) -> None:
        """Put the directory in the place of /tmp, and show in it what must be seen all the same."""
        namespaces.hide_mounts()
        folder = os.O_PATH | os.O_DIRECTORY
        shown = [(os.open(path, folder), path) for path in self._orders["shown"]]
        namespaces.bind(os.open(self._orders["directory"], folder), _TMP)
        for descriptor, path in shown:
            namespaces.bind(descriptor, path)
        if self._orders["shared_memory"]:
            with suppress(OSError):  # there is none, or it is not permitted: it goes on seeing that of all
                namespaces.mount_shared_memory(self._orders["memory_bytes"])

    def _be_first(self, alive: int, held: int) -> None:
        """Start the script, reap whatever ends, end with it."""
        signal.set_wakeup_fd(-1)
        _signals_at_default()  # the first process of a namespace is then immune to what is inside
        namespaces.die_with_parent(signal.SIGKILL)
        os.close(held)
        if select.select([alive], [], [], 0)[0]:
            return  # the box ended before it could be asked to take this process with it
        with suppress(OSError):
            namespaces.mount_proc()  # a container may forbid it; its own /proc goes on showing all processes then
        started = time.monotonic()
        script = self._fork(self._be_script)
        while True:
            pid, status, usage = os.wait4(-1, 0)
            if pid == script:
                self._note_end((status, usage), started)
                return

    def _be_script(self) -> None:
        """Become the script."""
        os.setsid()  # a signal to its own process group must not reach the box
        namespaces.die_with_parent(signal.SIGKILL)
        namespaces.gain_no_privileges()
        self._limit()
        try:
            os.chdir(self._orders["cwd"])
        except OSError as error:
            self.note("no folder", error.strerror)
            return
        _signals_at_default()
        try:
            command = self._orders["command"]
            os.execvpe(command[0], command, self._orders["environment"])  # noqa: S606  that is what it is for
        except OSError as error:
            self.note("not started", error.strerror)
            os._exit(_NO_FILE if error.errno in {errno.ENOENT, errno.ENOTDIR} else _NOT_EXECUTABLE)

    def _limit(self) -> None:
        _lower(resource.RLIMIT_CORE, 0)
        if self._orders["file_bytes"] is not None:
            _lower(resource.RLIMIT_FSIZE, self._orders["file_bytes"])
        if self._own_user and _counts_by_namespace():
            _lower(resource.RLIMIT_NPROC, self._orders["processes"] + _THREADS)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
            file.write(_MORE_LIKELY)

    def _note_end(self, ended: tuple[int, resource.struct_rusage], started: float) -> None:
        status, usage = ended
        peak_mb = usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
        self.note("ended", os.waitstatus_to_exitcode(status), time.monotonic() - started, peak_mb)


def _take_orders() -> tuple[dict[str, Any], int]:
    """Return the orders, and the descriptor on which the caller says to end."""
    caller = os.dup(0)
    text = b""
    while b"\n" not in text:
        chunk = os.read(caller, 1 << 16)
        if not chunk:
            os._exit(1)  # the caller is gone
        text += chunk
    line, _, more = text.partition(b"\n")
    if more:
        os._exit(1)  # it is to end already
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    orders: dict[str, Any] = json.loads(line)
    return orders, caller


def _signals_at_default() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError):  # some are the C library's own
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _lower(what: int, most: int) -> None:
    """Lower a limit, for good; one that is lower already stays."""
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _counts_by_namespace() -> bool:
    """Whether a user's processes outside of the namespace do not count: from Linux 5.14 on."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14)
