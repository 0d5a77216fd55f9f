"""A deployment package that is there already: whether it can be one, and what it is."""

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from skyfan.aws.package import LIMIT_BYTES
from skyfan.errors import InputError

HANDLERS = "skyfan/aws/handlers.py"
"""What a package must have; the functions' handlers are named after it."""

_MACHINES = {183: "arm64", 62: "x86_64"}  # of an ELF header
_VERSION = re.compile(rb'^__version__ = "([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Archive:
    """A deployment package on disk."""

    path: Path
    sha256: str
    size_bytes: int
    unzipped_bytes: int
    architecture: str
    version: str
    """Of skyfan in it; empty if it does not say."""


def read_archive(path: Path, architecture: str) -> Archive:
    """Read a package, and check that it can run on an architecture.

    Raises
    ------
    InputError
        If it cannot be read, is no package of skyfan, is for another architecture, or too large unzipped.
    """
    expected = f"expected a zip that 'skyfan aws package --architecture {architecture}' wrote"
    try:
        with zipfile.ZipFile(path) as content:
            members = {member.filename: member.file_size for member in content.infolist()}
            if HANDLERS not in members:
                raise InputError(f"{path}: has no {HANDLERS}; {expected}")
            found = _architecture(content, members)
            version = _VERSION.search(content.read("skyfan/__init__.py")) if "skyfan/__init__.py" in members else None
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a package ({error}); {expected}") from error
    if found not in {"", architecture}:
        raise InputError(f"{path}: is for {found}, but the functions are {architecture}; {expected}")
    total = sum(members.values())
    if total > LIMIT_BYTES:
        raise InputError(
            f"{path}: {total / 2**20:.0f} MiB unzipped; expected at most {LIMIT_BYTES / 2**20:.0f}, which Lambda "
            "takes: keep models in the bucket"
        )
    size_bytes = path.stat().st_size
    return Archive(path, sha256, size_bytes, total, architecture, version[1].decode() if version else "")


def _architecture(content: zipfile.ZipFile, members: dict[str, int]) -> str:
    """Return what the first compiled module is for; empty if there is none."""
    library = next((name for name in members if name.endswith(".so")), None)
    if library is None:
        return ""
    with content.open(library) as file:
        header = file.read(20)
    return _MACHINES.get(int.from_bytes(header[18:20], "little"), "another processor")
