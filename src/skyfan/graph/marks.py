"""What an execution did with a state, to be shown on its box."""

import difflib
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.graph.machine import Machine

Status = Literal["succeeded", "failed", "skipped", "running"]
STATUSES: tuple[str, ...] = get_args(Status)


class StateMark(Struct, frozen=True):
    """What became of one state in an execution."""

    status: Status
    text: str = ""
    """A few words beside the sign: `12.3 s`, `41 of 41 tasks`."""


def check_marks(machine: Machine, marks: Mapping[str, StateMark]) -> None:
    """Check that each mark is of a state that there is.

    Raises
    ------
    InputError
        If not, so that nothing that an execution did is left out in silence.
    """
    names = [state.name for state in machine.every_state()]
    for name, mark in marks.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            near = f" - perhaps {close[0]!r}" if close else ""
            raise InputError(f"a mark is of the state {name!r}, which is not in the machine; expected one of it{near}")
        if mark.status not in STATUSES:
            raise InputError(
                f"the mark of the state {name!r} has the status {mark.status!r}; expected one of {', '.join(STATUSES)}"
            )
