"""What a run on AWS was allowed to do: the roles of its stack, as JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from skyfan.aws.iam import role_documents
from skyfan.errors import SkyfanError
from skyfan.report.document import Block, Code, Heading, Notice, Text
from skyfan.report.record import Record
from skyfan.wording import with_extra

if TYPE_CHECKING:
    from skyfan.aws.stack import Stack


def permissions(record: Record, stack: "Stack | None") -> list[Block]:
    """Return the roles of the stack that a run was on; nothing if it was not on AWS.

    Parameters
    ----------
    record : Record
    stack : Stack, optional
        As AWS describes it. Without, the roles are those of the template with its defaults.
    """
    place = _place(record.execution)
    if place is None:
        return []
    name, account, region = place
    settings: Mapping[str, str] = {}
    said = (
        f"The roles that 'skyfan aws iam' prints, with the template's defaults: what this stack, {name}, is set to was "
        f"not asked for. Make the report with --stack {name} to have its own."
    )
    if stack is not None:
        name, account, region = stack.name, stack.account, stack.region
        settings, said = (
            stack.parameters,
            f"The roles of the stack {name}, with its settings, as 'skyfan aws iam' prints them.",
        )
    try:
        roles = role_documents(settings, stack=name, account=account, region=region)
    except (SkyfanError, ModuleNotFoundError) as error:
        return [Notice("note", "The roles cannot be shown", (_reason(error),))]
    documents = [
        Code(msgspec.json.format(msgspec.json.encode(document), indent=2).decode(), "json", role)
        for role, document in roles.items()
    ]
    return [Heading("Permissions on AWS"), Text(said), *documents]


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed, and reading the template needs it; {with_extra('aws')}"
    return str(error)


def _place(execution: str | None) -> tuple[str, str, str] | None:
    """Return the stack, account and region of an execution's ARN; None if it is none."""
    parts = (execution or "").split(":")
    if len(parts) < 8 or parts[0] != "arn" or parts[2] != "states":
        return None
    return parts[6], parts[4], parts[3]
