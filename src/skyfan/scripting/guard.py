"""Looks at what a script takes, every now and then, and says when that is more than its limits."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from skyfan.scripting.family import members, proportional_mb
from skyfan.scripting.limits import Limits

_MB = 1024 * 1024
_LOOK_S = 0.1
_LOOK_AT_DISK_S = 1.0
_IN_VAIN = 3
"""Sums of shares that are thrown away, one after another."""
_SHARE = 0.05
"""Of the time, that looking may take: what takes long is done less often."""


class Guard:
    """What a script and its descendants take, and the most that they took so far.

    Parameters
    ----------
    limits : Limits
    directory : Path
        Where it may write.
    root : int
        The process that all of them descend from; it does not count itself.
    before_bytes : int
        What lay in the directory before they began.
    """

    def __init__(self, limits: Limits, directory: Path, root: int, before_bytes: int = 0) -> None:
        self.peak_mb = 0.0
        """Resident memory of all of them at once: of one process all of its pages, of several each page that is shared
        once. What is taken and given back between two looks is missed."""
        self._limits = limits
        self._directory = directory
        self._root = root
        self._before_bytes = before_bytes
        self._processes = _Pace(_LOOK_S)
        self._shares = _Pace(_LOOK_S)
        self._disk = _Pace(_LOOK_AT_DISK_S)
        self._in_vain = 0

    def look(self) -> str | None:
        """Return what is more than permitted, in words; None if nothing is, or it is too early to look again."""
        excess = None
        if self._processes.due():
            excess = self._look_at_processes()
            self._processes.done()
        if excess is None and self._limits.disk_mb is not None and self._disk.due():
            excess = self.look_at_disk()
            self._disk.done()
        return excess

    def look_at_disk(self) -> str | None:
        """Return by how much the directory has grown, in words; None if that is permitted."""
        limit_mb = self._limits.disk_mb
        if limit_mb is None:
            return None
        wrote_mb = (used_bytes(self._directory) - self._before_bytes) / _MB
        return f"it wrote {wrote_mb:,.0f} MiB (script_disk_mb {limit_mb:,.10g})" if wrote_mb > limit_mb else None

    def _look_at_processes(self) -> str | None:
        most = self._limits.processes
        family = members(self._root, most + 1)
        if len(family) > most:
            return f"it had more than {most:,} processes (script_processes {most:,})"
        self._measure(family)
        limit_mb = self._limits.memory_mb
        if limit_mb is not None and self.peak_mb > limit_mb:
            return f"it took {self.peak_mb:,.0f} MiB of memory (script_memory_mb {limit_mb:,.10g})"
        return None

    def _measure(self, family: Mapping[int, float]) -> None:
        """Raise the peak if this is more; share by share only if the plain sum, which is never less, is."""
        resident_mb = sum(family.values())
        if len(family) > 1 and resident_mb > self.peak_mb:
            if not self._shares.due():
                return
            resident_mb = self._sum_of_shares(family)
            self._shares.done()
        self.peak_mb = max(self.peak_mb, resident_mb)

    def _sum_of_shares(self, family: Mapping[int, float]) -> float:
        """Return the memory of several; 0 if one ended meanwhile, since its shares went to others that came later.

        Where one ends all the time, that is not waited for: such a sum is then too large by what they share.
        """
        shares = {pid: proportional_mb(pid) for pid in family}
        after = members(self._root, self._limits.processes)
        ended = any(taken and not after.get(pid) for pid, taken in family.items())
        self._in_vain = self._in_vain + 1 if ended else 0
        if 0 < self._in_vain <= _IN_VAIN:
            return 0.0
        return sum(after.get(pid, 0.0) if share is None else share for pid, share in shares.items())


class _Pace:
    """When to do a thing again: not before `least_s`, and later if it takes long."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._began = 0.0
        self._next = 0.0

    def due(self) -> bool:
        self._began = time.monotonic()
        return self._began >= self._next

    def done(self) -> None:
        now = time.monotonic()
        self._next = now + max(self._least_s, (now - self._began) / _SHARE)


def used_bytes(directory: Path) -> int:
    """Return what the files below a directory take of its disk, in bytes.

    Links are not followed, other disks are left out, a file with several names counts once.
    """
    total = 0
    seen: set[int] = set()
    unseen = [str(directory)]
    device = directory.stat().st_dev if directory.exists() else None
    while unseen:
        for status, path, is_folder in _entries(unseen.pop()):
            if status.st_dev != device or status.st_ino in seen:
                continue
            if is_folder:
                unseen.append(path)
                continue
            if status.st_nlink > 1:
                seen.add(status.st_ino)
            total += status.st_blocks * 512
    return total


def _entries(folder: str) -> list[tuple[os.stat_result, str, bool]]:
    entries = []
    try:
        with os.scandir(folder) as listed:
            for entry in listed:
                try:
                    entries.append((entry.stat(follow_symlinks=False), entry.path, entry.is_dir(follow_symlinks=False)))
                except OSError:
                    continue  # removed just now
    except OSError:
        pass  # removed just now, or the script shut itself out: then it cannot write there either
    return entries
