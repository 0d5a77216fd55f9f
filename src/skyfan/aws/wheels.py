"""Fetching the wheels of Lambda's platform, whatever this machine is; each set is downloaded once."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skyfan.errors import InputError, SkyfanError

CACHE_VARIABLE = "SKYFAN_CACHE"
DEFAULT_CACHE = "~/.cache/skyfan"

_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
_NEWEST_GLIBC = 34  # 2.34, of Amazon Linux 2023; see PEP 600 for the tags
_OLDEST_GLIBC = 17  # 2.17, of manylinux2014
_PYTHON = re.compile(r"3\.(1[1-9])")

_NO_PIP = re.compile(r"No module named pip")
_DISK_FULL = re.compile(r"No space left|Disk quota exceeded", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"connection broken by|ConnectionError|NewConnectionError|Max retries|name resolution|Proxy ?Error|timed out",
    re.IGNORECASE,
)
_NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")


def resolve_cache(folder: str | Path | None) -> Path:
    """Return where downloads are kept: the argument, else `SKYFAN_CACHE`, else `~/.cache/skyfan`."""
    return Path(folder or os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser()


def fetch_wheels(
    requirements: Sequence[str], architecture: str, python: str, *, cache: str | Path | None = None
) -> list[Path]:
    """Return the wheels of these requirements, of nothing that they depend on, for a Lambda platform.

    They are downloaded once: the folder that keeps them is named by the hash of what was asked for.

    Raises
    ------
    InputError
        If the architecture or the version of Python is not one of Lambda's.
    SkyfanError
        If a wheel cannot be had, or there is no room for it.
    """
    asked = [*_platform(architecture, python), *sorted(requirements)]
    digest = hashlib.sha256("\n".join(asked).encode()).hexdigest()
    kept = resolve_cache(cache) / "wheels" / f"{architecture}-{python}-{digest[:16]}"
    if not kept.is_dir():
        with readable_errors(kept, "the wheels"):
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=kept.parent, prefix="."))
        try:
            _download(asked, partial, f"{architecture} and Python {python}")
            with readable_errors(kept, "the wheels"):
                _keep(partial, kept)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sorted(kept.glob("*.whl"))


def _keep(partial: Path, kept: Path) -> None:
    """Move a finished download to its place, unless another process was faster."""
    try:
        partial.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def minor_version(python: str) -> int:
    """Return 13 for 3.13.

    Raises
    ------
    InputError
        If it is no version that skyfan runs on.
    """
    found = _PYTHON.fullmatch(python)
    if found is None:
        raise InputError(f"package: Python is {python!r}; expected the version of a Lambda runtime, as in 3.13")
    return int(found[1])


def _platform(architecture: str, python: str) -> list[str]:
    """Return pip's arguments that name Lambda's platform instead of this machine's."""
    if architecture not in _MACHINES:
        raise InputError(f"package: the architecture is {architecture!r}; expected one of {', '.join(_MACHINES)}")
    minor_version(python)  # for its error
    machine = _MACHINES[architecture]
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)]
    platforms = [f"--platform={tag}" for tag in [*tags, f"manylinux2014_{machine}"]]
    return ["--only-binary=:all:", "--no-deps", "--implementation=cp", f"--python-version={python}", *platforms]


def _download(asked: Sequence[str], folder: Path, platform: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries=2", *asked]  # the retries tell why
    done = subprocess.run([*command, f"--dest={folder}"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SkyfanError(f"package: {_why(done.stderr + done.stdout, folder, platform)}")


def _why(said: str, folder: Path, platform: str) -> str:
    """Return what to do about pip's failure; without a network it also says that there is no wheel."""
    if _NO_PIP.search(said):
        return f"{sys.executable} has no pip, which fetches the wheels; install it: python -m ensurepip"
    if _DISK_FULL.search(said):
        return (
            f"no space is left for the wheels in {folder.parent}, or in the temporary folder; make room for "
            f"200 MB, or name another folder with {CACHE_VARIABLE}"
        )
    if _NO_NETWORK.search(said):
        return (
            "the package index cannot be reached; expected a network for the first build, later ones take the "
            f"wheels from {CACHE_VARIABLE}; behind a proxy, set what pip needs: HTTPS_PROXY or PIP_INDEX_URL"
        )
    missing = _NO_WHEEL.search(said)
    if missing:
        return (
            f"there is no wheel of {missing[1]} for {platform}; expected one on the package index: install a version "
            "here that has one, or build for another architecture or version of Python"
        )
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:]
    return f"pip cannot fetch the wheels: {' '.join(lines) or 'it says nothing'}; see 'python -m pip download'"


@contextmanager
def readable_errors(path: Path, what: str) -> Iterator[None]:
    """Say what to do where a file cannot be written."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise SkyfanError(
            f"{path}: {what} cannot be written ({error.strerror or error}); "
            + ("make room there for 200 MB" if full else "expected a folder that may be written to: name another")
        ) from error
