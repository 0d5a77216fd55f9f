"""What a user wants of a run, and what stands in the way of one."""

import re
from typing import Literal

from msgspec import Struct

from skyfan.errors import InputError

Goal = Literal["cost", "time", "balanced"]
GOALS: tuple[Goal, ...] = ("cost", "time", "balanced")

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?|(\d+(?:\.\d+)?)", re.ASCII
)


class Wish(Struct, frozen=True, kw_only=True):
    """What is wanted."""

    goal: Goal
    deadline_s: float | None = None
    """Wall clock of the run, nine times in ten."""
    budget_usd: float | None = None
    """Cost of the run, nine times in ten."""

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InputError(f"goal: got {self.goal!r}; expected one of {', '.join(GOALS)}")
        for name, value in (("deadline", self.deadline_s), ("budget", self.budget_usd)):
            if value is not None and not 0 < value < 1e12:
                raise InputError(f"{name}: got {value:g}; expected more than 0")


def parse_duration(text: str) -> float:
    """Return the seconds that a text as `600`, `90s`, `10m`, `1h30m` says: only seconds alone need no unit.

    Raises
    ------
    InputError
        If it says none.
    """
    match = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    if match is None or not any(match.groups()):
        raise InputError(f"deadline {text!r}: is no duration; expected seconds, or as in 90s, 10m, 1h30m")
    hours, minutes, seconds, alone = (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds + alone
    if not 0 < total < 1e9:
        raise InputError(f"deadline {text!r}: expected more than 0 s, and less than 30 years")
    return total
