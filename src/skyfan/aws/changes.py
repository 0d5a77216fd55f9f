"""Change sets: planning what a deployment does to a stack, doing it, and telling why it failed."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skyfan.aws import stack as stacks
from skyfan.aws.session import Cloud, code_of, explained
from skyfan.aws.stack import Note, ResourceEvent, Stack, Watch
from skyfan.aws.template import parameter_defaults, template_text
from skyfan.errors import AwsError, InputError, StackError
from skyfan.wording import counted

_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_CONSEQUENCES = ("cancelled", "canceled")
_LEFT = {
    "ROLLBACK_COMPLETE": "nothing runs; the same command replaces what is left of the stack",
    "UPDATE_ROLLBACK_COMPLETE": "the stack is as it was before",
}


@dataclass(frozen=True)
class Change:
    """What a change set would do to one resource."""

    action: str
    """Add, Modify, Remove, ..."""
    resource: str
    kind: str
    replacement: str
    """True, False or Conditional; empty where it does not apply."""
    because: tuple[str, ...]
    """Names of the parameters that cause it, where CloudFormation tells."""


@dataclass(frozen=True)
class Changes:
    """All that a change set would do."""

    changes: tuple[Change, ...]


@dataclass(frozen=True)
class ChangeSet:
    """A change set of a stack, by their ids: a deployer's permissions name the stack."""

    id: str
    stack_id: str

    @property
    def names(self) -> dict[str, str]:
        return {"ChangeSetName": self.id, "StackName": self.stack_id}


def create_change_set(cloud: Cloud, name: str, stack: Stack | None, values: Mapping[str, str]) -> ChangeSet | None:
    """Create a change set; return None if nothing would change.

    Raises
    ------
    InputError
        If the template does not take a value.
    AwsError
        If AWS does not answer.
    """
    new = stacks.to_be_made(stack)
    kept = {} if stack is None or new else stack.parameters
    parameters = [
        {"ParameterKey": key, "ParameterValue": values[key]}
        if key in values
        else {"ParameterKey": key, "UsePreviousValue": True}
        for key in parameter_defaults()
        if key in values or key in kept
    ]
    cloudformation = cloud.client("cloudformation")
    with explained(f"stack {name}"):
        body = template_text()
        capabilities = cloudformation.validate_template(TemplateBody=body).get("Capabilities") or ["CAPABILITY_IAM"]
        try:
            made = cloudformation.create_change_set(
                StackName=name,
                ChangeSetName=f"skyfan-{secrets.token_hex(8)}",
                ChangeSetType="CREATE" if new else "UPDATE",
                TemplateBody=body,
                Parameters=parameters,
                Capabilities=capabilities,
            )
        except cloudformation.exceptions.ClientError as error:
            said = str(error.response["Error"].get("Message", ""))
            if code_of(error) != "ValidationError":
                raise
            if any(text in said for text in _NO_CHANGES):
                return None
            raise InputError(f"stack {name}: {said}; expected settings that the template takes: see --set") from error
    return ChangeSet(made["Id"], made["StackId"])


def read_changes(cloud: Cloud, change_set: ChangeSet | None) -> tuple[Change, ...] | None:
    """Wait for a change set; return what it would do to resources, None if it would do nothing at all.

    A change of the outputs alone is none of a resource, and yet one.

    Raises
    ------
    StackError
        If CloudFormation cannot make it.
    """
    if change_set is None:
        return None
    cloudformation = cloud.client("cloudformation")
    with explained("change set"):
        while True:
            found = cloudformation.describe_change_set(**change_set.names)
            if not found["Status"].endswith(("_PENDING", "_IN_PROGRESS")):
                break
            time.sleep(stacks.POLL_S)
        changes = [*found.get("Changes", [])]
        while found.get("NextToken"):
            found = cloudformation.describe_change_set(**change_set.names, NextToken=found["NextToken"])
            changes += found.get("Changes", [])
    reason = found.get("StatusReason") or ""
    if found["Status"] == "FAILED" and any(text in reason for text in _NO_CHANGES):
        return None
    if found["Status"] != "CREATE_COMPLETE":
        raise StackError(f"stack {found['StackName']}: CloudFormation cannot plan this: {reason}; nothing was changed")
    return tuple(_change(change["ResourceChange"]) for change in changes if "ResourceChange" in change)


def _change(found: dict[str, Any]) -> Change:
    causes = {
        detail["CausingEntity"].split(".")[0]
        for detail in found.get("Details", [])
        if detail.get("ChangeSource") == "ParameterReference" and detail.get("CausingEntity")
    }
    return Change(
        action=found["Action"],
        resource=found["LogicalResourceId"],
        kind=found.get("ResourceType", ""),
        replacement=found.get("Replacement") or "",
        because=tuple(sorted(causes)),
    )


def drop(cloud: Cloud, change_set: ChangeSet | None, stack: Stack | None) -> None:
    """Delete a change set, and the empty stack that it left if there was none before."""
    if change_set is None:
        return
    cloudformation = cloud.client("cloudformation")
    with explained("change set"):
        cloudformation.delete_change_set(**change_set.names)
        if stack is None:
            cloudformation.delete_stack(StackName=change_set.stack_id)


def execute(cloud: Cloud, name: str, change_set: ChangeSet, watch: Watch) -> None:
    """Do what a change set says, and tell what happens.

    Raises
    ------
    AwsError
        If it failed: which resource did, why, and what is left.
    """
    after = stacks.last_event(cloud, change_set.stack_id)
    with explained(f"stack {name}"):
        cloud.client("cloudformation").execute_change_set(**change_set.names)
    try:
        events = stacks.follow(cloud, change_set.stack_id, after, watch)
    except KeyboardInterrupt:
        watch(Note(f"the deployment of stack {name} goes on in AWS; see how it ends: skyfan aws status --stack {name}"))
        raise
    if events[-1].status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise AwsError(_failure(name, events))


def _failure(name: str, events: list[ResourceEvent]) -> str:
    """Return which resource failed first and why, and what is left."""
    end = events[-1]
    failed = [event for event in events[:-1] if event.status.endswith("_FAILED")]
    causes = [event for event in failed if not any(word in event.reason.lower() for word in _CONSEQUENCES)] or failed
    said = [f"{event.resource} ({event.kind}): {event.reason}" for event in causes[:3]] or [
        end.reason or "no reason told"
    ]
    more = f" and {counted(len(causes) - 3, 'more')}" if len(causes) > 3 else ""
    kept = sorted({event.physical_id for event in events if event.status == "DELETE_SKIPPED"})
    left = _LEFT.get(end.status, f"see what to do: skyfan aws status --stack {name}")
    left += f"; kept, and yours to delete: {', '.join(kept)}" if kept else ""
    return f"stack {name}: the deployment failed ({end.status}): {'; '.join(said)}{more}; {left}"
