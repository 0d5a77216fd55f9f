"""The processes that descend from one, and what memory they take."""

import os

_CHILDREN = "/proc/thread-self/children"
"""Linux lists a thread's children, where it is built to: to follow these costs far less than to read all of /proc."""
_MB = 1024 * 1024


def members(root: int, enough: int) -> dict[int, float]:
    """Return the processes that descend from `root`, which is not one of them, with their resident memory.

    The processes are not held while they are counted: one that is starting or ending just then may be missed.

    Parameters
    ----------
    root : int
        The number of a process.
    enough : int
        When so many are found, no more are looked for: to count a bomb to its end may take for ever.

    Returns
    -------
    dict of int to float
        MiB by the process's number; none if `root` has ended. One that has ended and was not waited for takes 0.
    """
    return _by_lists(root, enough) if os.path.exists(_CHILDREN) else _by_ps(root)  # noqa: PTH110  pathlib is slow to import


def proportional_mb(pid: int) -> float | None:
    """Return a process's memory in MiB, a page that n processes share counted as 1/n; None if it cannot be known.

    The kernel walks all pages for it: some milliseconds a GiB.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def _by_lists(root: int, enough: int) -> dict[int, float]:
    found: dict[int, float] = {}
    unseen = _children(root)
    while unseen and len(found) < enough:
        pid = unseen.pop()
        if pid not in found:
            found[pid] = _resident_mb(pid)
            unseen += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    except OSError:
        pass  # it has ended
    return children


def _resident_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MB
    except OSError:
        return 0.0


def _by_ps(root: int) -> dict[int, float]:
    import subprocess

    command = ["/bin/ps", "-axo", "pid=,ppid=,rss="]
    listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found: dict[int, float] = {}
    parents = {root}
    while parents:
        below = {pid: kib / 1024 for pid, parent, kib in rows if parent in parents and pid not in found}
        found |= below
        parents = set(below)
    return found
