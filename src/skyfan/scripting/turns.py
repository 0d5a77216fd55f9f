"""Where a private /tmp is not permitted: one script at a time, its names linked into the real /tmp."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from skyfan.errors import InputError, WorkerError

TMP = Path("/tmp")  # noqa: S108  scripts spell it out, so it is what must be linked into


class Turn(NamedTuple):
    """What whoever goes on when this process is killed must know."""

    lock: int
    """A descriptor. A child that inherits it has the turn too, until it ends."""
    links: dict[str, str]
    """In /tmp, each with what it says: to be taken away at the end."""


@contextmanager
def turn(directory: Path) -> Iterator[Turn]:
    """Wait for all others of this user on this machine; then let `/tmp/<name>` be what `directory` has, for a while.

    Parameters
    ----------
    directory : Path
        Each entry that it has now is linked into /tmp. The links are gone at the end; those that were left behind
        by a process that was killed are taken away first.

    Yields
    ------
    Turn

    Raises
    ------
    InputError
        If /tmp has a file or folder of such a name, or a lock that is another user's. It is not touched.
    WorkerError
        If /tmp is full or cannot be written to.
    """
    lock = _lock(TMP / f"skyfan-scripts-{os.getuid()}.lock")
    try:
        _unlink(_listed(lock))
        links = {str(TMP / entry.name): str(entry) for entry in directory.absolute().iterdir()}
        _list(lock, links)
        made: dict[str, str] = {}
        try:
            for link, target in links.items():
                _link(link, target)
                made[link] = target
            yield Turn(lock, links)
        finally:
            _unlink(made)
            _list(lock, {})
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """Open the file and wait until no other process has it locked."""
    while True:
        lock = _open(path)
        try:
            if os.fstat(lock).st_uid != os.getuid():
                raise _not_ours(path)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock)):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was cleaned away while this process waited: another may lock the new one


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if os.path.lexists(path) and path.lstat().st_uid != os.getuid():
            raise _not_ours(path, f" ({error.strerror})") from error
        raise _no_place(str(path), error) from error


def _not_ours(path: Path, why: str = "") -> InputError:
    return InputError(
        f"{path} cannot be used{why}: it belongs to user {path.lstat().st_uid}; expected a file of user {os.getuid()}, "
        "which skyfan locks while a script runs: have its owner, or root, remove it"
    )


def _listed(lock: int) -> dict[str, str]:
    """Return the links that the last process with a turn left behind."""
    text = os.pread(lock, os.fstat(lock).st_size, 0)
    try:
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {}  # it was killed while it wrote, and wrote before it linked


def _list(lock: int, links: dict[str, str]) -> None:
    try:
        os.ftruncate(lock, 0)
        if links:
            os.pwrite(lock, json.dumps(links).encode(), 0)
    except OSError as error:
        raise _no_place(f"the list of a script's links in {TMP}", error) from error


def _link(link: str, target: str) -> None:
    try:
        Path(link).symlink_to(target)
    except FileExistsError:
        raise InputError(
            f"{link} exists already; the script's own {Path(link).name} must be seen there while it runs, since this "
            "system permits no private /tmp: move it away, or run the script where user namespaces are permitted"
        ) from None
    except OSError as error:
        raise _no_place(link, error) from error


def _no_place(path: str, error: OSError) -> WorkerError:
    return WorkerError(
        f"{path} cannot be made ({error.strerror}); expected room in {TMP}, and permission to write there: this system "
        "permits no private /tmp to a script, so that no other place will do"
    )


def _unlink(links: dict[str, str]) -> None:
    """Remove those that are still the links that were made."""
    for link, target in links.items():
        with suppress(OSError):
            if os.readlink(link) == target:  # noqa: PTH115  as it is written, not as a path has it
                Path(link).unlink()
