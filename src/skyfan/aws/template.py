"""The CloudFormation template: its text, its parameters, and the settings that a deployment gives them."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from skyfan.errors import InputError

SET_BY_DEPLOY = ("CodeKey", "DefinitionKey")
"""Parameters that name what a deployment uploads."""

_SECTION = re.compile(r"^Parameters:\n((?:^(?:[ #].*)?\n)+)", re.MULTILINE)
_PARAMETER = re.compile(r"^  (\w+):\n((?:^    .*\n)+)", re.MULTILINE)
_DEFAULT = re.compile(r"^    Default: (.*)$", re.MULTILINE)


def template_text() -> str:
    """Return the template."""
    return (files("skyfan.aws") / "template.yaml").read_text()


def definition_text() -> str:
    """Return the state machine's definition."""
    return (files("skyfan.aws") / "statemachine.asl.json").read_text()


@cache
def parameter_defaults() -> dict[str, str | None]:
    """Return the template's parameters and their defaults, None where one has to be given.

    The file is ours, and read here without a YAML library, which nothing else in skyfan needs.
    """
    section = _SECTION.search(template_text())
    found: dict[str, str | None] = {}
    for name, body in _PARAMETER.findall(section[1] if section else ""):
        default = _DEFAULT.search(body)
        found[name] = default[1].strip().strip('"') if default else None
    return found


def check_settings(settings: Mapping[str, str]) -> None:
    """Check the names of settings.

    Raises
    ------
    InputError
        If one is no parameter of the template, or is not for a person to set.
    """
    known = [name for name in parameter_defaults() if name not in SET_BY_DEPLOY]
    for name in settings:
        if name in SET_BY_DEPLOY:
            raise InputError(f"--set {name}: is what a deployment uploads; expected another name: leave it out")
        if name not in known:
            lowered = {candidate.lower(): candidate for candidate in known}
            near = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), lowered, 1, 0.5)
            hint = f"did you mean {lowered[near[0]]!r}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"--set {name}: the template has no such parameter; {hint}")
