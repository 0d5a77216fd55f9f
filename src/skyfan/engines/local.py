"""Worker processes on this machine. One that dies, or takes too long, fails its own item and is replaced."""

import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from skyfan.engines.base import OK, Outcome, Work
from skyfan.engines.frames import read_frame, write_frame
from skyfan.errors import WorkerError
from skyfan.host import ONE_THREAD, usable_cores
from skyfan.scripting.removing import remove_tree
from skyfan.scripting.temporary import temporary_file, temporary_folder
from skyfan.scripting.using import remove_when_unused
from skyfan.task import TaskError

_LAST_WORDS_BYTES = 2000
_PIPE_BYTES = 1 << 20
_GONE_S = 10.0


def default_workers(threads: int) -> int:
    """Return how many workers of so many threads fill the cores that this process may use."""
    return max(1, usable_cores() // threads)


@dataclass(eq=False)
class _Worker:
    """One process, its pipes, and the item that it is busy with."""

    process: "subprocess.Popen[bytes]"
    to_worker: int
    from_worker: int
    words: IO[bytes]
    """What it wrote to stdout and stderr; shown only if it dies."""
    scratch: Path
    """Its temporary directory, which goes with it."""
    number: int | None = None
    deadline: float = field(default=float("inf"))
    watched: bool = False

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: what it started goes with it
        self.process.wait()
        os.close(self.to_worker)
        os.close(self.from_worker)
        self.words.close()
        remove_when_unused(self.scratch, _GONE_S)  # a box ends by itself when its worker has, which takes a moment

    def last_words(self) -> str:
        size = self.words.seek(0, os.SEEK_END)
        self.words.seek(max(0, size - _LAST_WORDS_BYTES))
        text = self.words.read().decode(errors="replace").strip()
        return f"; its last words: {text}" if text else ""


class LocalEngine:
    """Runs items in `workers` processes of this machine.

    Parameters
    ----------
    work : Work
        What they do.
    workers : int
        How many processes.
    timeout_s : float
        Seconds after which an attempt is ended.
    grace_s : float
        Seconds more that pass before that: where work keeps the limit itself, and then says more of how it ended.
    """

    name = "local"

    def __init__(self, work: Work, workers: int, timeout_s: float, grace_s: float = 0.0) -> None:
        self._work = work
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._slots = workers
        try:
            for _ in range(workers):
                self._idle.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, number: int, attempt: int, item: bytes) -> None:
        worker = self._idle.pop()
        if not worker.watched or worker.process.poll() is not None:  # it died idle: that is not this item's doing
            worker = self._replaced(worker)
        worker.number, worker.deadline = number, time.monotonic() + self._timeout_s + self._grace_s
        self._busy.append(worker)
        try:
            write_frame(worker.to_worker, number, attempt, item)
        except BrokenPipeError:
            return  # it is dead: `wait` finds its other pipe closed and says so

    def wait(self, timeout_s: float | None) -> list[Outcome]:
        outcomes: list[Outcome] = []
        until = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
        while self._busy and not outcomes:
            now = time.monotonic()
            next_check = min(until, *(worker.deadline for worker in self._busy))
            ready = self._selector.select(None if next_check == float("inf") else max(0.0, next_check - now))
            for key, _ in ready:
                if key.data in self._busy:
                    outcomes.append(self._take(key.data))
                else:
                    self._unwatch(key.data)  # it died idle; `submit` replaces it
            outcomes += self._expire()
            if time.monotonic() >= until:
                break
        if not self._busy and not outcomes and timeout_s:
            time.sleep(timeout_s)
        return outcomes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every worker at once. What they have stored stays; what they were at is not stored."""
        for worker in self._idle + self._busy:
            worker.end()
        self._idle, self._busy = [], []
        self._selector.close()

    def _start(self) -> _Worker:
        try:
            with ExitStack() as undo:
                worker = self._spawn(undo)
                undo.pop_all()
        except OSError as error:
            raise WorkerError(
                f"a worker process cannot be started ({error.strerror}); expected room for {self._slots}: use fewer "
                "--workers, or raise the limits of open files and processes (ulimit -n, ulimit -u)"
            ) from error
        self._watch(worker)
        return worker

    def _spawn(self, undo: ExitStack) -> _Worker:
        """Start a process; what was opened for it is closed by `undo` if that fails."""
        incoming, to_worker = _pipe(undo)
        from_worker, outgoing = _pipe(undo)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # an item must not block on a worker that is still loading
            with suppress(OSError):
                fcntl.fcntl(to_worker, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        words = temporary_file()
        undo.callback(words.close)
        scratch = temporary_folder("skyfan-worker-")
        undo.callback(remove_tree, scratch)
        # -P: a file in the working directory must not pass for a module
        command = [sys.executable, "-P", "-m", "skyfan.engines.worker", str(incoming), str(outgoing)]
        process = subprocess.Popen(
            [*command, self._work.function, self._work.context, str(os.getpid()), str(scratch)],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            pass_fds=(incoming, outgoing),
            env=os.environ | ONE_THREAD | {"TMPDIR": str(scratch)},
            start_new_session=True,
        )
        os.close(incoming)
        os.close(outgoing)
        return _Worker(process, to_worker, from_worker, words, scratch)

    def _watch(self, worker: _Worker) -> None:
        self._selector.register(worker.from_worker, selectors.EVENT_READ, worker)
        worker.watched = True

    def _unwatch(self, worker: _Worker) -> None:
        self._selector.unregister(worker.from_worker)
        worker.watched = False

    def _take(self, worker: _Worker) -> Outcome:
        """Read a worker's answer; if there is none it has died."""
        number = worker.number if worker.number is not None else -1
        frame = read_frame(worker.from_worker)
        if frame is None:
            worker.process.wait()
            ending = _ending(worker.process.returncode)
            return self._replace(worker, f"the worker process {worker.process.pid} {ending}{worker.last_words()}")
        _, status, data = frame
        if status == OK:
            self._free(worker)
            return Outcome(number, data)
        error = msgspec.json.decode(data, type=TaskError)
        if error.kind == MemoryError.__name__:  # a fresh process has what this one could not give back
            self._renew(worker)
        else:
            self._free(worker)
        return Outcome(number, error=error)

    def _free(self, worker: _Worker) -> None:
        self._busy.remove(worker)
        self._idle.append(worker)
        worker.number, worker.deadline = None, float("inf")

    def _expire(self) -> list[Outcome]:
        now = time.monotonic()
        late = [worker for worker in self._busy if worker.deadline <= now]
        message = f"the task passed its time limit, task_timeout_s {self._timeout_s:g}, and was ended"
        return [self._replace(worker, message) for worker in late]

    def _replace(self, worker: _Worker, message: str) -> Outcome:
        number = worker.number if worker.number is not None else -1
        self._renew(worker)
        return Outcome(number, error=TaskError("WorkerError", message, may_pass=True))

    def _renew(self, worker: _Worker) -> None:
        self._busy.remove(worker)
        self._idle.append(self._replaced(worker))

    def _replaced(self, worker: _Worker) -> _Worker:
        if worker.watched:
            self._unwatch(worker)
        worker.end()
        return self._start()


def _pipe(undo: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"
