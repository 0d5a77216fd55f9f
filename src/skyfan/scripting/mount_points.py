"""Which folders below the real /tmp a script must see all the same, and the empty folders that they are mounted on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from skyfan.errors import InputError
from skyfan.scripting.temporary import explained

_TMP = Path("/tmp")  # noqa: S108
_MOST_LINKS = 40
"""On one way: more, and the kernel takes it for a loop."""


@contextmanager
def mount_points(directory: Path, shown: Sequence[Path]) -> Iterator[list[str]]:
    """Make what is needed in `directory`, which is to be /tmp, for folders to be mounted; remove it after.

    Parameters
    ----------
    directory : Path
    shown : sequence of Path
        Folders; those that are not below /tmp need nothing, and /tmp itself is what a script must not see. Links lead
        where they do outside. What `directory` has of the same name is covered.

    Yields
    ------
    list of str
        The folders that are to be mounted, each where it is outside.

    Raises
    ------
    InputError
        If one is no folder, or its place in `directory` is taken by a file or a link.
    WorkerError
        If there is no room in `directory`.
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


def lie_below(paths: Sequence[Path], folder: Path) -> bool:
    """Return whether one of the paths, or what a link on its way leads to, is a folder or lies in it."""
    names = (folder, folder.resolve())
    return any(step.is_relative_to(name) for path in paths for step in _steps(path) for name in names)


def _below_tmp(shown: Sequence[Path]) -> list[Path]:
    """Return the folders below /tmp by name or by what the name leads to; those within another are left out."""
    names = {step for path in shown for step in _steps(path)}
    real = _TMP.resolve()
    names |= {_TMP / path.relative_to(real) for path in names if path.is_relative_to(real)}
    below = sorted(path for path in names if _TMP in path.parents)
    for path in below:
        if not os.path.isdir(path):  # noqa: PTH112  as below
            raise InputError(
                f"{path}, which a script needs, cannot be shown to it in its own {_TMP}; expected a folder: put it in "
                f"one outside of {_TMP}, or take it out of PYTHONPATH if that is where it comes from"
            )
    return [path for path in below if not any(other in path.parents for other in below)]


def _steps(path: Path) -> list[Path]:
    """Return a path, without its links followed, then as it is after each of them, to the last."""
    steps = [Path(os.path.abspath(path))]  # noqa: PTH100  without following links
    while len(steps) <= _MOST_LINKS:
        parts = (*reversed(steps[-1].parents), steps[-1])
        link = next((part for part in parts if os.path.islink(part)), None)  # noqa: PTH114  never an error
        if link is None:
            break
        steps.append(Path(os.path.normpath(link.parent / link.readlink() / steps[-1].relative_to(link))))
    return [*steps, Path(os.path.realpath(path))]


def _make(directory: Path, place: Path, made: list[Path]) -> None:
    folder = directory
    for part in place.parts:
        folder /= part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder} is no folder; the script must see {_TMP / place}: rename one of them")
        if not folder.exists():
            with explained(f"the place of {_TMP / place} in a script's own {_TMP}"):
                folder.mkdir()
            made.append(folder)
