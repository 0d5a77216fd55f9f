"""What Linux alone can do for a box: namespaces, mounts, who gets orphans, who dies with whom. Elsewhere, nothing.

By ctypes, since Python has no mount at all and unshare only from 3.12 on.
"""

import ctypes
import errno
import os
import sys
from contextlib import suppress

_LINUX = sys.platform == "linux"

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 37, 38
_SHARED_MEMORY = "/dev/shm"  # noqa: S108

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal: int) -> None:
    """Have this process sent a signal when the thread that started it ends. A child does not inherit it."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def adopt_orphans(adopt: bool = True) -> None:
    """Have every descendant whose parent has ended become a child of this process, or no longer have it so."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def adopts_orphans() -> bool:
    """Return whether `adopt_orphans` holds."""
    adopts = ctypes.c_int(0)
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(adopts))
    return bool(adopts.value)


def gain_no_privileges() -> None:
    """Have no program that this process or a descendant starts gain privileges, not even one that is set-user-ID."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def separate() -> bool:
    """Give this process mounts of its own, and its children process numbers of their own; return if as another user.

    A user needs a user namespace for it, in which only the user itself is known. Root needs none, and without one keeps
    its rights to the files of others; if it may not (in a container it may not), it tries as a user does. A root that
    may not name root in a user namespace (CAP_SETFCAP, from Linux 5.12 on) gets one in which nobody is known: it sees
    itself as nobody, and its files are root's as before.

    Raises
    ------
    OSError
        If this system does not permit it.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        with suppress(PermissionError):
            _unshare(_CLONE_NEWNS | _CLONE_NEWPID)
            return False
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID)
    _write("/proc/self/setgroups", "deny")
    try:
        _write("/proc/self/uid_map", f"{user} {user} 1")
    except PermissionError:
        if user != 0:
            raise
    _write("/proc/self/gid_map", f"{group} {group} 1")
    return True


def hide_mounts() -> None:
    """Have no mount that follows be seen outside of this process's namespace."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)


def bind(folder: int, target: str) -> None:
    """Show a folder, given as a descriptor that was opened in this namespace, at `target` too."""
    # a tree with mounts that the user may not undo can only be bound whole
    _mount(f"/proc/self/fd/{folder}", target, None, _MS_BIND | _MS_REC)


def mount_proc() -> None:
    """Have /proc list the processes of this namespace only."""
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def mount_shared_memory(size_bytes: int | None) -> None:
    """Mount shared memory of this namespace's own, which is gone with it.

    Parameters
    ----------
    size_bytes : int or None
        The most that it may hold; None: half of the machine's memory, as is usual.

    Raises
    ------
    OSError
        If this system has none, does not permit it, or knows no user who could own files there.
    """
    with open("/proc/self/uid_map") as known:  # noqa: PTH123
        if not known.read().strip():
            raise OSError(errno.EPERM, f"mount on {_SHARED_MEMORY}: no user is known here")
    options = "mode=1777" if size_bytes is None else f"mode=1777,size={size_bytes}"
    _mount("tmpfs", _SHARED_MEMORY, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        _check(_libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))), "prctl")


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    names = [os.fsencode(name) if name is not None else None for name in (source, target, kind, options)]
    _check(_libc.mount(*names[:3], ctypes.c_ulong(flags), names[3]), f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123  pathlib is slow to import
        file.write(text)
