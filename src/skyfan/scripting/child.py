"""The process of a box as its caller has it: what to tell it, what it tells, what the script prints."""

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from skyfan.errors import WorkerError

_ROOT = str(Path(__file__).parents[2])
"""Where `skyfan` can be imported from."""
_BOX = "import sys; sys.path.append(sys.argv[1]); from skyfan.scripting.box import main; main(int(sys.argv[2]))"
_INHERITED = ("LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPYCACHEPREFIX")
"""What the box's own Python may need of this environment; the script can see what the box has, so it gets no more."""
_PIPE_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 18
_GONE_S = 60.0
_AGAIN_S = 0.005


class Child:
    """A started box. Leaving the context ends it, and waits until all that ran in it is gone.

    Parameters
    ----------
    orders : dict
        See `skyfan.scripting.box`; who the caller is and where to write notes is added here.

    Raises
    ------
    WorkerError
        If it cannot be started, or at the end if it cannot be ended.
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self.notes: dict[str, list[Any]] = {}
        """What it told so far: what follows a note's first word, by that word."""
        self._partial_note = b""
        self._undo = ExitStack()
        try:
            with ExitStack() as undo:
                self._start(orders, undo)
                self._undo = undo.pop_all()
        except OSError as error:
            raise WorkerError(
                f"a process for the script cannot be started ({error.strerror}); expected room for it: use fewer "
                "--workers, or raise the limits of open files and processes (ulimit -n, ulimit -u)"
            ) from error

    def _start(self, orders: dict[str, Any], undo: ExitStack) -> None:
        with ExitStack() as theirs:
            stdin, self._to_box = _pipe(theirs, undo)
            self.printed, stdout = _pipe(undo, theirs)
            self.told, notes = _pipe(undo, theirs)
            with suppress(OSError, AttributeError):  # fewer turns for a script that prints a lot; elsewhere as it is
                fcntl.fcntl(self.printed, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            os.set_blocking(self.printed, False)
            self._process = subprocess.Popen(
                # -S: no package but skyfan is needed; -P: a file in the working directory must not pass for a module
                [sys.executable, "-S", "-P", "-c", _BOX, _ROOT, str(notes)],
                stdin=stdin,
                stdout=stdout,
                stderr=stdout,
                pass_fds=(notes, *orders["keep"]),
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                start_new_session=True,
            )
        undo.callback(self._wait)
        undo.callback(self.end)
        self._send(json.dumps(orders | {"parent": os.getpid()}).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def end(self) -> None:
        """Have it end, and all that is in it. This does not wait."""
        self._send(b"\n")

    def read_printed(self) -> bytes | None:
        """Return what was printed since, of a certain size at most; nothing at its end, None if there is none yet."""
        try:
            return os.read(self.printed, _CHUNK_BYTES)
        except BlockingIOError:
            return None

    def read_notes(self) -> bool:
        """Read what it told since, into `notes`; return False if it is gone."""
        text = os.read(self.told, _CHUNK_BYTES)
        *lines, self._partial_note = (self._partial_note + text).split(b"\n")
        for line in lines:
            word, *rest = json.loads(line)
            self.notes[word] = rest
        return bool(text)

    def _send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it is gone already
            while data:
                data = data[os.write(self._to_box, data) :]

    def _wait(self) -> None:
        """Wait until it is gone. Where it was killed itself, the kernel ends the rest, which may be a moment later."""
        until = time.monotonic() + _GONE_S
        try:
            code = self._process.wait(_GONE_S)
            while code < 0 and self._first_is_there() and time.monotonic() < until:
                time.sleep(_AGAIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise WorkerError(f"a process of the script was killed {_GONE_S:g} s ago and has not ended") from None

    def _first_is_there(self) -> bool:
        """Whether the first process of the namespace is left: it ends when all others have."""
        first = self.notes.get("first", [self._process.pid])[0]
        try:
            state = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return first != self._process.pid and state != "Z"


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Return both ends of a pipe, each closed with its stack."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write
