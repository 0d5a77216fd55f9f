"""Where results lie: every combined_data.json of a folder, read from nowhere else, with names that can be printed."""

import os
from collections.abc import Iterator
from pathlib import Path

from skyfan.errors import InputError
from skyfan.keys import natural

FILE_NAME = "combined_data.json"
_DEPTH = 5  # of folders, as in 25MB/1GB/Batches/128/1


def result_files(place: Path, skipped: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield every file to read with the name it is shown by; note what is passed over."""
    try:
        root = place.resolve(strict=True)
        if root.is_file():
            yield plain(str(place)), root
            return
        if not root.is_dir():
            raise InputError(f"{plain(str(place))}: neither a folder nor a file; expected one with {FILE_NAME}")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{plain(str(place))}: cannot be read ({error}); expected a folder of results") from error
    found: list[Path] = []
    unread: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=unread.append):
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        skipped += [f"{_relative(Path(folder, name), root)}: a link to a folder is not followed" for name in linked]
        if FILE_NAME in names:
            found.append(Path(folder, FILE_NAME))
    skipped += [f"{_relative(Path(error.filename), root)}: {error.strerror}" for error in unread]
    for file in sorted(found, key=lambda file: natural(str(file))):
        name = _relative(file, root)
        if not file.resolve().is_relative_to(root):
            skipped.append(f"{name}: a link that leaves the folder is not followed")
        elif not file.is_file():
            skipped.append(f"{name}: not a file")
        else:
            yield name, file


def telling_path(place: Path, file: Path) -> str:
    """Return the folders that say what a result is of: as they were given, and below; what lies above says nothing."""
    root = place.resolve()
    if root.is_file():
        given = place.parent if not place.is_absolute() else Path(*place.parent.parts[-_DEPTH:])
        return str(given)
    given = Path(root.name) if place.is_absolute() or place == Path() else place
    return str(given / file.parent.relative_to(root))


def _relative(path: Path, root: Path) -> str:
    return plain(path.relative_to(root).as_posix())


def plain(text: str) -> str:
    """Return a text with a question mark for whatever cannot be printed, lone surrogates too."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
