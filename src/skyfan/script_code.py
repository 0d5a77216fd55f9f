"""The code of a script task: found by its name, checked by its hash, brought to a worker once, given to each task."""

import atexit
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from skyfan.errors import CodeError, KeyNameError, PayloadError
from skyfan.keys import check_key, check_prefix
from skyfan.payload import Payload
from skyfan.scripting.removing import remove_tree
from skyfan.scripting.temporary import explained, temporary_folder
from skyfan.storage import Bucket
from skyfan.task import ScriptRef

TMP = PurePosixPath("/tmp")  # noqa: S108  where the original system's scripts expect their code; a task has one of its own

SMALL_BYTES = 1 << 18
"""Files up to that size are fetched several at a time."""

_STAGED: dict[str, Path] = {}
_staging = threading.Lock()


def resolve_script(payload: Payload, bucket: Bucket) -> ScriptRef:
    """Find the script that a payload asks for, and hash its code.

    Parameters
    ----------
    payload : Payload
        With a `script`.
    bucket : Bucket
        That of the run.

    Raises
    ------
    PayloadError
        If the script lies outside of the code.
    CodeError
        If there is no such code, or it cannot be laid out in a folder.
    """
    folder = payload.s3_object_name
    if folder is None or payload.script is None:
        raise PayloadError(
            f"payload: 'script' is {payload.script!r}, but no 'S3_object_name' says where its code lies; expected a "
            f"folder of bucket {payload.bucket!r}, or a model, by --model, in place of the script"
        )
    file = _file(payload.script, folder, payload.object_type)
    digests = {}
    for path, content in _files(folder, payload.object_type, bucket):
        digests[path] = hashlib.sha256(content).hexdigest()
    if file not in digests:
        raise CodeError(
            f"script {payload.script!r}: there is no such file among the {len(digests)} of "
            f"{bucket.name}/{folder}; expected one of them, as in {_example(digests)!r}"
        )
    return ScriptRef(folder, file, payload.script, payload.object_type, _joined(digests))


def stage_code(ref: ScriptRef, bucket: Bucket) -> Path:
    """Return the folder that holds the code, as it must lie below `/tmp`; fetched once a process.

    Raises
    ------
    CodeError
        If it is gone, is another than when the run was planned, or cannot be laid out in a folder.
    """
    with _staging:  # threads of one worker must not fetch the same code at once
        return _staged(ref, bucket)


def _staged(ref: ScriptRef, bucket: Bucket) -> Path:
    if ref.sha256 not in _STAGED or not _STAGED[ref.sha256].is_dir():
        root = temporary_folder("skyfan-code-")
        try:
            _lay_out(ref, bucket, root)
        except BaseException:
            remove_tree(root)
            raise
        atexit.register(remove_tree, root)
        _STAGED[ref.sha256] = root
    return _STAGED[ref.sha256]


def give_code(ref: ScriptRef, bucket: Bucket, directory: Path) -> None:
    """Copy the code into a task's directory: what its script changes there, no other task sees.

    Raises
    ------
    CodeError
        As `stage_code`.
    WorkerError
        If the temporary directory has no room for it.
    """
    staged = stage_code(ref, bucket)
    with explained("a copy of the code"):
        directory.mkdir(exist_ok=True)
        for source in sorted(staged.rglob("*")):
            target = directory / source.relative_to(staged)
            if source.is_dir():
                target.mkdir()
            else:
                shutil.copyfile(source, target)


def _lay_out(ref: ScriptRef, bucket: Bucket, root: Path) -> None:
    digests = {}
    for path, content in _files(ref.folder, ref.object_type, bucket):
        digests[path] = hashlib.sha256(content).hexdigest()
        target = root / path
        try:
            with explained("a copy of the code"):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.write(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise CodeError(
                f"{bucket.name}/{path}: a folder holds a file or a folder of that name, not both; expected code that "
                "lay in a folder once: rename one of the two"
            ) from error
    found = _joined(digests)
    if found != ref.sha256 or ref.file not in digests:
        raise CodeError(other_code(ref, found, bucket))


def other_code(ref: ScriptRef, found_sha256: str, bucket: Bucket) -> str:
    """Say that the code is not that of the plan."""
    return (
        f"code {bucket.name}/{ref.folder}: its hash is {found_sha256[:12]}, expected {ref.sha256[:12]} as when the run "
        "was planned; put the old code back, or start the run anew with --overwrite"
    )


def _files(folder: str, object_type: str, bucket: Bucket) -> Iterator[tuple[str, bytes]]:
    """Yield the path below `/tmp` and the content of every file of the code, in order."""
    check_prefix(folder, "payload key 'S3_object_name'")  # a manifest may have been changed by hand
    _check_links(folder, bucket)
    single = bucket.head(folder) if object_type == "file" else None
    listed = [single] if single else bucket.list(folder) if object_type == "folder" else []
    files = [entry for entry in listed if not entry.key.endswith("/")]  # what a console leaves for an empty folder
    if not files:
        raise CodeError(
            f"code {bucket.name}/{folder}: there is no such {object_type} in the store ({bucket.where}); expected the "
            f"code that the script lies in; check S3_object_name and object_type ('folder' or 'file')"
        )
    for entry in files:
        try:
            check_key(entry.key, "code")
        except KeyNameError as error:
            raise CodeError(f"{bucket.name}: {error}; rename it, or delete it") from error
    small = [entry.key for entry in files if entry.bytes <= SMALL_BYTES]
    large = [entry.key for entry in files if entry.bytes > SMALL_BYTES]
    yield from _present(zip(small, bucket.get_many(small), strict=True))
    yield from _present((key, bucket.get(key)) for key in large)  # one at a time, so that they are not all held at once


def _present(contents: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, bytes]]:
    return ((key, content) for key, content in contents if content is not None)


def _check_links(folder: str, bucket: Bucket) -> None:
    """Refuse code in a folder store with links that lead out of it: what they lead to would be copied as code."""
    root = bucket.local_path(folder)
    if root is None:
        return
    inside = root.resolve()
    for parent, folders, files in os.walk(root, followlinks=False):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(inside)):
                raise CodeError(
                    f"{path}: is a link {'to a folder' if path.is_dir() else 'out of the code'}; expected files: put a "
                    "copy in its place"
                )


def _file(script: str, folder: str, object_type: str) -> str:
    """Return where the script lies below `/tmp`."""
    path = PurePosixPath(script)
    if path.is_absolute():
        inside = path.is_relative_to(TMP / folder)
        found = path.relative_to(TMP) if inside else path
    elif object_type == "file":
        found = PurePosixPath(folder)
        inside = path in {found, PurePosixPath(found.name)}
    else:
        inside, found = True, path if path.is_relative_to(folder) else PurePosixPath(folder) / path
    if not inside or ".." in path.parts:
        raise PayloadError(
            f"payload: 'script' is {script!r}, outside of the code that is staged; expected a Python file in "
            f"'{TMP / folder}', as in '{TMP / folder / 'inference.py' if object_type == 'folder' else TMP / folder}'"
        )
    return str(found)


def _example(digests: dict[str, str]) -> str:
    scripts = sorted(path for path in digests if path.endswith(".py"))
    return (scripts or sorted(digests))[0]


def _joined(digests: dict[str, str]) -> str:
    """Return one hash of many; a name holds no line break, so that a line is a file."""
    lines = "".join(f"{digest} {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
