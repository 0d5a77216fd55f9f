"""The image that scripts run in on AWS: whose it must be, and the refusal where a stack has none."""

import os
import re
from typing import NamedTuple

from skyfan.errors import InputError, ScriptsRefusedError

SCRIPTS_VARIABLE = "SKYFAN_ALLOW_SCRIPTS"
"""Of a function: `yes` where scripts may run."""

_IMAGE = re.compile(
    r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9][a-z0-9._/-]*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})"
)


class ScriptImage(NamedTuple):
    """Where an image lies in ECR."""

    account: str
    region: str
    repository: str


def scripts_allowed() -> bool:
    """Whether the function that this runs in belongs to a stack with an image for scripts."""
    return os.environ.get(SCRIPTS_VARIABLE) == "yes"


def read_image(uri: str) -> ScriptImage:
    """Return what the URI of an image says.

    Raises
    ------
    InputError
        If it is none of ECR, or names neither tag nor digest.
    """
    found = _IMAGE.fullmatch(uri)
    if found is None:
        raise InputError(
            f"script image: {uri!r} is no image of ECR; expected its URI with a tag or digest, as in "
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts:1: push it there first"
        )
    return ScriptImage(*found.groups())


def check_image(uri: str, account: str, region: str) -> None:
    """Check that an image is one that a stack in this account and region can use.

    Raises
    ------
    InputError
        If not.
    """
    image = read_image(uri)
    if (image.account, image.region) != (account, region):
        raise InputError(
            f"script image: {uri} lies in account {image.account}, region {image.region}; expected one in account "
            f"{account}, region {region}, where the stack is: push it there, or deploy there"
        )


def refusal(script: str, stack: str | None = None) -> ScriptsRefusedError:
    """Return what a payload with a script is refused with on a stack without an image.

    Parameters
    ----------
    script : str
        As the payload has it.
    stack : str, optional
        Its name, where it is known.
    """
    named, option = (f"stack {stack}", f"--stack {stack} ") if stack else ("this stack", "")
    return ScriptsRefusedError(
        f"payload: 'script' is {script!r}, and {named} runs none; expected a stack with an image of what the script "
        f"needs, deployed by whoever trusts it: skyfan aws deploy {option}--script-image URI"
    )
