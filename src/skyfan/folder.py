"""What a listing of a folder would leave out or stumble over: links that lead nowhere, and names that are no keys."""

import os
from collections.abc import Iterator
from pathlib import Path

from skyfan.errors import SurveyError
from skyfan.keys import has_control


def check_listable(root: Path) -> None:
    """Check that a listing shows all that lies below a folder.

    The storage library leaves out links that lead nowhere, without a word: what a link farm to a disk that is not
    mounted would hold is then missed by nobody.

    Raises
    ------
    SurveyError
        If there is something that it would not show, or under another name.
    """
    for path, why in _faults(root, {_identity(root)}):
        raise SurveyError(
            f"{str(path)!r}: {why}; expected files and folders, or links to them, with names in UTF-8 on one line: "
            "mend it or take it away"
        )


def _faults(folder: Path, above: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing is below it: a listing is empty
    for entry in entries:
        path = Path(entry.path)
        if has_control(entry.name):
            yield path, "its name is not UTF-8, or holds a control character"
        elif entry.is_symlink() and not path.exists():
            yield path, f"is a link to {str(path.readlink())!r}, which is not there"
        elif entry.is_dir():
            identity = _identity(path)
            if identity in above:
                yield path, "is a link to a folder that it lies in"
            else:
                yield from _faults(path, above | {identity})


def _identity(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, 0)
    return (state.st_dev, state.st_ino)
