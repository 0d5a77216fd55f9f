"""Removing a folder with all that is in it, however deep it is and whatever it permits."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; links are not followed. This never raises.

    What cannot be removed stays, as does the way to it. A script may nest folders deeper than a path can be long,
    than calls can be nested, and than files can be open: of a folder below, only its own name is ever used.

    Parameters
    ----------
    path : Path
        It need not exist.
    """
    try:
        top = open_folder(str(path))
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            path.unlink()
        return
    with suppress(OSError):
        _Emptying(top).run()
    with suppress(OSError):
        path.rmdir()


def open_folder(name: str, above: int | None = None) -> int:
    """Return a descriptor of a folder, which is made one that its owner may read and change.

    Parameters
    ----------
    name : str
    above : int, optional
        Descriptor of the folder that it lies in.

    Raises
    ------
    OSError
        If it is none, is a link, or belongs to another user who does not permit it.
    """
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        _permit(name, above)
        folder = os.open(name, _FOLDER, dir_fd=above)
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):
            os.fchmod(folder, mode | stat.S_IRWXU)
    return folder


def _permit(name: str, above: int | None) -> None:
    if not hasattr(os, "O_PATH"):
        os.chmod(name, stat.S_IRWXU, dir_fd=above, follow_symlinks=False)
        return
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)  # Linux cannot chmod but by a link
    try:
        Path(f"/proc/self/fd/{folder}").chmod(stat.S_IRWXU)
    finally:
        os.close(folder)


@dataclass
class _Level:
    """A folder on the way down."""

    name: str
    """In the one above."""
    identity: tuple[int, int]
    """Its device and number: to be sure, on the way up, that it is the one that was left."""
    folders: list[str]
    """What is still to be emptied in it."""


class _Emptying:
    """A walk through all folders with one of them open at a time."""

    def __init__(self, top: int) -> None:
        self._here = top
        self._way: list[_Level] = []

    def run(self) -> None:
        try:
            self._arrive("")
            while self._way:
                if self._way[-1].folders:
                    self._descend(self._way[-1].folders.pop())
                else:
                    self._ascend()
        finally:
            os.close(self._here)

    def _arrive(self, name: str) -> None:
        """Remove what is no folder; note what is one."""
        folders: list[str] = []
        self._way.append(_Level(name, _identity(os.fstat(self._here)), folders))
        with os.scandir(self._here) as entries:
            for entry in list(entries):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        os.unlink(entry.name, dir_fd=self._here)

    def _descend(self, name: str) -> None:
        with suppress(OSError):
            below = open_folder(name, self._here)
            try:
                back = _identity(os.stat("..", dir_fd=below))
            except OSError:
                back = None
            if back != self._way[-1].identity:  # there would be no way back
                os.close(below)
                return
            os.close(self._here)
            self._here = below
            self._arrive(name)

    def _ascend(self) -> None:
        left = self._way.pop()
        if not self._way:
            return
        above = os.open("..", _FOLDER, dir_fd=self._here)
        os.close(self._here)
        self._here = above
        if _identity(os.fstat(above)) != self._way[-1].identity:
            self._way.clear()  # somebody has moved it
            return
        with suppress(OSError):
            os.rmdir(left.name, dir_fd=above)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
