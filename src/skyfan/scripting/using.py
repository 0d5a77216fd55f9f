"""Who still writes in a directory: a lock on it is held by a box, and gone with it however it ends."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skyfan.errors import WorkerError
from skyfan.scripting.removing import open_folder, remove_tree

GONE_S = 60.0
"""How long a box may take to end, once it is to."""
_AGAIN_S = 0.005


@contextmanager
def in_use(directory: Path) -> Iterator[int]:
    """Have `remove_when_unused` leave a directory alone for a while.

    Yields
    ------
    int
        A descriptor to hand to a process that writes there: the directory is in use until that has ended too.

    Raises
    ------
    WorkerError
        If the directory cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise WorkerError(
            f"{directory}, which is to be a script's /tmp, cannot be opened ({error.strerror}); expected a folder that "
            "is the script's alone: if it was cleaned away, name another place by the variable TMPDIR"
        ) from error
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def remove_when_unused(path: Path, wait_s: float = GONE_S) -> None:
    """Remove a folder as `remove_tree` does, once no folder that lies in it is in use, or after a while.

    Parameters
    ----------
    path : Path
        Of a process that has ended, so that no other folder in it comes into use.
    wait_s : float
        The longest to wait.
    """
    until = time.monotonic() + wait_s
    while _is_used(path) and time.monotonic() < until:
        time.sleep(_AGAIN_S)
    remove_tree(path)


def _is_used(path: Path) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(_is_locked(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return False


def _is_locked(folder: str) -> bool:
    try:
        descriptor = open_folder(folder)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


if __name__ == "__main__":
    remove_when_unused(Path(sys.argv[1]))
