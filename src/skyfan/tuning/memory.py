"""How much memory this machine can give to workers now."""

import os
from pathlib import Path

_MB = 1024 * 1024
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def free_memory_mb(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> float | None:
    """Return what programs may still take, MiB: as Linux says, or a container's limit if that is less; None if unknown.

    Parameters
    ----------
    meminfo, cgroup : Path
        What the kernel tells.
    """
    found = [_available_mb(meminfo), _limit_mb(cgroup)]
    known = [value for value in found if value is not None]
    if known:
        return min(known)
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


def _limit_mb(cgroup: Path) -> float | None:
    try:
        return int(cgroup.read_text()) / _MB
    except (OSError, ValueError):  # not in a container, or without a limit: 'max'
        return None
