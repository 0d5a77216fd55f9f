"""The deployment package: one zip with the worker and all that it imports, from wheels for Lambda's platform.

Nothing is compiled and no Docker is needed: pip fetches the wheels of another platform on any machine.
"""

import hashlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from skyfan import __version__
from skyfan.aws.wheels import fetch_wheels, minor_version, readable_errors
from skyfan.errors import InputError, SkyfanError

LIMIT_BYTES = 200 * 2**20
"""Most that a package may take unzipped; Lambda's own limit is 250 MiB, with layers."""

REQUIREMENTS = ("arro3-core", "arro3-io", "msgspec", "numpy", "obstore", "onnxruntime")
"""What `skyfan.aws.handlers` imports. What these ask for besides is not needed to run a model; a test holds that."""

_KEPT = re.compile(r"\.py$|\.so(\.\d+)*$|\.dist-info/METADATA$|licen[cs]e|copying|notice", re.IGNORECASE)
_DROPPED = re.compile(
    r"""
    (^|/)(tests|testing|include)/
    | ^numpy/f2py/
    | ^numpy/_core/_\w+_tests\.
    | ^onnxruntime/(backend|datasets|quantization|tools|training|transformers)/
    | ^onnxruntime/capi/libonnxruntime\.so  # for programs in C: the Python module has all of it in itself
    """,
    re.VERBOSE,
)

# A zip has no time zone and starts in 1980; every file is readable by the user that Lambda runs as.
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644
_UNIX = 3
_COMPRESSION = 6  # 9 takes twice the time for 0.2 %


@dataclass(frozen=True)
class Package:
    """A deployment package on disk."""

    path: Path
    sha256: str
    """Of the zip. The same inputs give the same, as long as Python has the same zlib."""
    size_bytes: int
    unzipped_bytes: int
    architecture: str
    """As Lambda names it: arm64 or x86_64."""
    python: str
    """Of the Lambda runtime, as 3.13."""
    versions: dict[str, str]
    """Of skyfan and of every distribution inside, by name."""


@dataclass(frozen=True)
class _Source:
    """Where the bytes of one file of the package come from: a folder's file, or a wheel's member."""

    path: Path
    member: str | None
    size_bytes: int


def build(out: Path, architecture: str = "arm64", python: str = "3.13", *, cache: str | Path | None = None) -> Package:
    """Build the deployment package.

    It holds the versions that are installed here, so that what was tested is what runs, and skyfan whole with the
    models that ship: a list of the modules that a worker uses would be wrong one day, and all is 1 MB of sources.

    Parameters
    ----------
    out : Path
        The zip to write, over what was there, whole or not at all.
    architecture : str
        Lambda's: `arm64` or `x86_64`.
    python : str
        Of the Lambda runtime. 3.11 runs on Amazon Linux 2, which is too old for these wheels: for emulators only.
    cache : path, optional
        Folder that keeps the wheels; see `resolve_cache`.

    Raises
    ------
    InputError
        If the architecture or the version of Python is not one of Lambda's, or the package would be too large.
    SkyfanError
        If a wheel cannot be had, or the package cannot be written.
    """
    names = required(python)
    versions = {name: _installed_version(name) for name in names}
    wheels = fetch_wheels([f"{name}=={versions[name]}" for name in names], architecture, python, cache=cache)
    sources = {**_from_wheels(wheels), **_from_skyfan()}
    unzipped_bytes = _check_size(sources)
    with readable_errors(out, "the package"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            partial = Path(folder) / out.name
            _write(partial, sources)
            partial.replace(out)
        with out.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = out.stat().st_size
    return Package(
        path=out,
        sha256=sha256,
        size_bytes=size_bytes,
        unzipped_bytes=unzipped_bytes,
        architecture=architecture,
        python=python,
        versions={"skyfan": __version__, **versions},
    )


def required(python: str) -> tuple[str, ...]:
    """Return the distributions that a worker needs under a version of Python."""
    return REQUIREMENTS if minor_version(python) >= 13 else (*REQUIREMENTS, "typing-extensions")


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise SkyfanError(
            f"package: {name} is not installed here; expected it, since the package gets the version that is: "
            f"pip install {name}"
        ) from error


def _from_wheels(wheels: Iterable[Path]) -> dict[str, _Source]:
    """Return what a worker needs of the wheels, by its name in the package."""
    sources: dict[str, _Source] = {}
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as content:
                members = content.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise SkyfanError(_damaged(wheel, error)) from error
        for member in members:
            name = member.filename
            if not member.is_dir() and _KEPT.search(name) and not _DROPPED.search(name):
                sources[name] = _Source(wheel, name, member.file_size)
    return sources


def _from_skyfan() -> dict[str, _Source]:
    """Return skyfan's own modules and models, by their names in the package."""
    folder = Path(str(resources.files("skyfan")))
    files = [path for path in folder.rglob("*") if path.suffix in {".py", ".onnx"}]
    return {f"skyfan/{path.relative_to(folder).as_posix()}": _Source(path, None, path.stat().st_size) for path in files}


def _check_size(sources: dict[str, _Source]) -> int:
    total = sum(source.size_bytes for source in sources.values())
    if total > LIMIT_BYTES:
        by_origin: dict[str, int] = {}
        for source in sources.values():
            origin = source.path.name.split("-")[0] if source.member else "skyfan"
            by_origin[origin] = by_origin.get(origin, 0) + source.size_bytes
        largest = sorted(by_origin.items(), key=lambda item: -item[1])[:3]
        raise InputError(
            f"package: {total / 2**20:.0f} MiB unzipped; expected at most {LIMIT_BYTES / 2**20:.0f}: "
            f"{', '.join(f'{name} {size / 2**20:.0f}' for name, size in largest)}; install smaller versions, or keep "
            "models in the bucket"
        )
    return total


def _write(path: Path, sources: dict[str, _Source]) -> None:
    """Write the zip so that the same content gives the same bytes: sorted names, fixed times, modes and compression."""
    with ExitStack() as stack, zipfile.ZipFile(path, "x") as out:
        wheels = {
            wheel: stack.enter_context(zipfile.ZipFile(wheel))
            for wheel in {source.path for source in sources.values() if source.member is not None}
        }
        for name, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE << 16
            out.writestr(entry, _content(source, wheels), zipfile.ZIP_DEFLATED, _COMPRESSION)


def _content(source: _Source, wheels: Mapping[Path, zipfile.ZipFile]) -> bytes:
    if source.member is None:
        return source.path.read_bytes()
    try:
        return wheels[source.path].read(source.member)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SkyfanError(_damaged(source.path, error)) from error


def _damaged(wheel: Path, error: Exception) -> str:
    return f"{wheel}: this wheel is damaged ({error}); delete the folder {wheel.parent}, and build again"
