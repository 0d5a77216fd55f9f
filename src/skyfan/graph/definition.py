"""Where a definition comes from: the one that ships with skyfan, or a file."""

import json
import re
from pathlib import Path
from typing import Any

from skyfan.aws.template import definition_text, parameter_defaults
from skyfan.errors import InputError
from skyfan.graph.machine import Machine
from skyfan.graph.parsing import parse_machine

MAX_BYTES = 4 * 1024 * 1024
"""AWS takes a definition of 1 MiB; indented, or inside of an answer of AWS, it is longer."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def own_machine() -> Machine:
    """Return skyfan's own state machine, as it is deployed without options."""
    defaults = parameter_defaults()
    filled = _PLACEHOLDER.sub(lambda found: defaults.get(found[1]) or found[0], definition_text())
    return parse_machine(json.loads(filled))


def read_machine(path: Path) -> Machine:
    """Return the state machine that a file defines.

    Parameters
    ----------
    path : Path
        A definition, or what `aws stepfunctions describe-state-machine` answers, which has one inside.

    Raises
    ------
    InputError
        If it cannot be read, or is no definition; the text names the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a file with a definition") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES:,} bytes; expected a definition, which is 1 MiB at most")
    try:
        content = _loads(data.decode("utf-8-sig"))
        if isinstance(content, dict) and "States" not in content and isinstance(content.get("definition"), str):
            content = _loads(content["definition"])
        return parse_machine(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: is not JSON ({error}); expected a definition in the Amazon States Language"
        ) from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two of one name, JSON would keep the last and lose a state."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError(f"the name {name[:80]!r} is there twice in one object; expected it once: rename one")
        found[name] = value
    return found
