"""How much memory this machine can give to workers now."""

import os
from collections.abc import Iterator
from pathlib import Path

_MB = 1024 * 1024


def free_memory_mb(
    meminfo: Path = Path("/proc/meminfo"),
    cgroups: Path = Path("/sys/fs/cgroup"),
    member: Path = Path("/proc/self/cgroup"),
) -> float | None:
    """Return what programs may still take, MiB: as Linux says, or what a container has left if less; None if unknown.

    Parameters
    ----------
    meminfo, cgroups, member : Path
        What the kernel tells: of the machine, of control groups (version 2), and of which group this process is.
    """
    found = [_available_mb(meminfo), *_left_mb(cgroups, member)]
    known = [value for value in found if value is not None]
    if known:
        return max(0.0, min(known))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _MB
    except (OSError, ValueError):
        return None


def _available_mb(meminfo: Path) -> float | None:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _left_mb(cgroups: Path, member: Path) -> Iterator[float]:
    """Yield what is left of each limit that holds for this process: its group's, and those of the groups around it."""
    try:
        paths = [line.removeprefix("0::") for line in member.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        paths = []
    own = Path(os.path.normpath("/" + (paths[0] if paths else "").lstrip("/"))).relative_to("/")
    for folder in (own, *own.parents):
        try:
            limit = int((cgroups / folder / "memory.max").read_text())
            yield (limit - int((cgroups / folder / "memory.current").read_text())) / _MB
        except (OSError, ValueError):  # not in a container, or without a limit: 'max'
            continue
