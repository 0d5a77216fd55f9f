"""Which folders below the real /tmp a script must see all the same, and the empty folders that they are mounted on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from skyfan.errors import InputError

_TMP = Path("/tmp")  # noqa: S108


@contextmanager
def mount_points(directory: Path, shown: Sequence[Path]) -> Iterator[list[str]]:
    """Make what is needed in `directory`, which is to be /tmp, for folders to be mounted; remove it after.

    Parameters
    ----------
    directory : Path
    shown : sequence of Path
        Folders; those that are not below /tmp need nothing. What `directory` has of the same name is covered.

    Yields
    ------
    list of str
        The folders that are to be mounted, each where it is outside.

    Raises
    ------
    InputError
        If one is no folder, or its place in `directory` is taken by a file or a link.
    """
    made: list[Path] = []
    try:
        below = _below_tmp(shown)
        for path in below:
            _make(directory, path.relative_to(_TMP), made)
        yield [str(path) for path in below]
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # the script put something of its own beside: then it is the script's
                folder.rmdir()


def _below_tmp(shown: Sequence[Path]) -> list[Path]:
    """Return the folders below /tmp by name or by what the name leads to; those within another are left out."""
    names = [Path(os.path.abspath(path)) for path in shown]  # noqa: PTH100  without following links
    real = _TMP.resolve()
    names += [_TMP / path.resolve().relative_to(real) for path in names if path.resolve().is_relative_to(real)]
    below = sorted({path for path in names if path.is_relative_to(_TMP)})
    for path in below:
        if path == _TMP or not path.is_dir():
            raise InputError(f"{path} cannot be shown to a script; expected a folder below {_TMP}")
    return [path for path in below if not any(other in path.parents for other in below)]


def _make(directory: Path, place: Path, made: list[Path]) -> None:
    folder = directory
    for part in place.parts:
        folder /= part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder} is no folder; the script must see {_TMP / place}: rename one of them")
        if not folder.exists():
            folder.mkdir()
            made.append(folder)
