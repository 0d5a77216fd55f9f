"""Temporary files and folders; where there is no place for them, the error says what to do."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from skyfan.errors import WorkerError

_NO_PLACE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EIO),
}


def temporary_folder(prefix: str) -> Path:
    """Return a new folder in the system's temporary directory, which is the caller's to remove.

    Raises
    ------
    WorkerError
        If that directory is full, cannot be written to, or is not there.
    """
    with explained("a temporary folder"):
        return Path(tempfile.mkdtemp(prefix=prefix))


def temporary_file() -> IO[bytes]:
    """Return a new open file without a name.

    Raises
    ------
    WorkerError
        As `temporary_folder`.
    """
    with explained("a temporary file"):
        return tempfile.TemporaryFile()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Have an error of the file system say what it kept from being made, and what to do.

    Parameters
    ----------
    what : str
        What is made in the system's temporary directory. An error that has nothing to do with it passes as it is.

    Raises
    ------
    WorkerError
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        place = f" at {error.filename}" if error.filename else ""
        raise WorkerError(
            f"{what} cannot be made{place} ({error.strerror}); expected a temporary directory with room that can be "
            "written to: make room, or name another by the variable TMPDIR"
        ) from error
