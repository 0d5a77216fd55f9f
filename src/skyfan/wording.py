"""Numbers, and what there is to install, as a person reads them."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str]) -> str:
    """Return `a`, or `a and 2 more`."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def duration(seconds: float) -> str:
    """Return `1:02` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(number: float) -> str:
    """Return a number of bytes as `512 B`, `1.5 KiB`, `25.0 MiB`, `12.6 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def with_extra(name: str) -> str:
    """Return what to do where what an extra brings is missing."""
    return f"install skyfan with its extra {name!r}, as in pip install '.[{name}]' in the folder of its repository"
