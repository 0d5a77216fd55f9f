"""A stack of CloudFormation: what it is now, what has to be done about that, and what happens to it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skyfan.aws.session import Cloud, code_of, explained
from skyfan.errors import StackError

POLL_S = 2.0
"""Seconds between two looks at what happens."""

NEVER_LIVED = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
"""Its creation failed: it can only be deleted."""

_ADVICE = {
    "REVIEW_IN_PROGRESS": "it was planned and never made; make it: {deploy}",
    "ROLLBACK_COMPLETE": "its creation failed, and nothing runs; deploy it again, which replaces it: {deploy}",
    "ROLLBACK_FAILED": "its creation failed, and not all could be taken back; delete what is left: {destroy}",
    "CREATE_FAILED": "its creation failed; delete what is left: {destroy}",
    "DELETE_FAILED": "not all of it could be deleted; go on: {destroy}",
    "DELETE_IN_PROGRESS": "it is being deleted; wait for the end: {destroy}",
    "DELETE_COMPLETE": "it is deleted; deploy it: {deploy}",
    "UPDATE_FAILED": "an update failed; deploy it again: {deploy}",
    "UPDATE_ROLLBACK_FAILED": "an update failed and could not be taken back; mend what it names, then "
    "'aws cloudformation continue-update-rollback --stack-name {name} --region {region}', then {deploy}",
}
_BUSY = "CloudFormation is at work on it; wait until '{status_command}' says that it ended, then do the same again"


@dataclass(frozen=True)
class Stack:
    """A stack, as CloudFormation describes it."""

    name: str
    region: str
    account: str
    id: str
    """Its ARN, by which it is known even when it is deleted."""
    status: str
    reason: str
    """Why it is in that status, if CloudFormation says."""
    changed_at: str
    """ISO 8601, of the last update or the creation."""
    outputs: dict[str, str]
    parameters: dict[str, str]

    @property
    def state_machine_arn(self) -> str:
        """What a run is started on."""
        return self._output("StateMachineArn")

    @property
    def bucket(self) -> str:
        """Bucket that runs write to."""
        return self._output("BucketName")

    @property
    def data_bucket(self) -> str:
        """Bucket of the partitions."""
        return self._output("DataBucketName")

    @property
    def made_bucket(self) -> str | None:
        """The results bucket, if the stack made it; a bucket given by a parameter is its owner's."""
        return self.outputs.get("BucketName") if not self.parameters.get("Bucket") else None

    @property
    def busy(self) -> bool:
        """Whether CloudFormation is at work on it, so that it takes no other order."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def usable(self) -> bool:
        """Whether it is whole, so that runs can be started."""
        if self.status.endswith("_CLEANUP_IN_PROGRESS"):
            return True
        return self.status.endswith("_COMPLETE") and self.status not in {"ROLLBACK_COMPLETE", "DELETE_COMPLETE"}

    @property
    def advice(self) -> str:
        """What has to be done before it is usable; empty if it is."""
        if self.usable:
            return ""
        options = f"--stack {self.name} --region {self.region}"
        text = _ADVICE.get(self.status, _BUSY).format(
            name=self.name,
            region=self.region,
            deploy=f"skyfan aws deploy {options}",
            destroy=f"skyfan aws destroy {options}",
            status_command=f"skyfan aws status {options}",
        )
        return f"stack {self.name}: is {self.status}: {text}"

    def _output(self, name: str) -> str:
        if name not in self.outputs:
            raise StackError(
                f"stack {self.name}: has no output {name}; expected a stack of this skyfan, whole: deploy it again, "
                f"or name another with --stack: skyfan aws deploy --stack {self.name}"
            )
        return self.outputs[name]


@dataclass(frozen=True)
class ResourceEvent:
    """Something that happened to a resource of a stack, or to the stack itself."""

    id: str
    at: str
    """ISO 8601."""
    resource: str
    """Its name in the template; the stack's own name for the stack."""
    kind: str
    """As AWS::Lambda::Function."""
    physical_id: str
    status: str
    reason: str


@dataclass(frozen=True)
class Note:
    """A line on what is done outside the stack."""

    text: str


Watch = Callable[[Any], None]
"""Is told each `ResourceEvent`, `Note` and `changes.Changes`, as it happens."""


def find_stack(cloud: Cloud, name: str) -> Stack | None:
    """Return a stack by its name, or its id if it may be deleted; None if there is none.

    Raises
    ------
    AwsError
        If AWS does not answer.
    """
    cloudformation = cloud.client("cloudformation")
    with explained(f"stack {name}"):
        try:
            (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        except cloudformation.exceptions.ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
    return _stack(found)


def describe_stack(cloud: Cloud, name: str) -> Stack:
    """Return a stack that runs can be started on.

    Raises
    ------
    StackError
        If there is none, or it is not whole.
    AwsError
        If AWS does not answer.
    """
    stack = existing_stack(cloud, name)
    if not stack.usable:
        raise StackError(stack.advice)
    return stack


def existing_stack(cloud: Cloud, name: str) -> Stack:
    """Return a stack in whatever status it is.

    Raises
    ------
    StackError
        If there is none.
    AwsError
        If AWS does not answer.
    """
    stack = find_stack(cloud, name)
    if stack is None:
        raise StackError(
            f"stack {name}: there is none in account {cloud.account}, region {cloud.region}; deploy it: skyfan aws "
            f"deploy --stack {name}, or name the place where it is: --region, --profile"
        )
    return stack


def former_stack(cloud: Cloud, name: str) -> Stack | None:
    """Return the last stack of that name that was deleted; CloudFormation remembers it for 90 days."""
    with explained(f"stack {name}"):
        pages = (
            cloud.client("cloudformation").get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
        )
        found = [summary for page in pages for summary in page["StackSummaries"] if summary["StackName"] == name]
    if not found:
        return None
    return find_stack(cloud, max(found, key=lambda summary: summary["CreationTime"])["StackId"])


def users_of(cloud: Cloud, bucket: str, apart_from: str) -> list[str]:
    """Return the names of the other stacks that were given a bucket by parameter."""
    with explained(f"bucket {bucket}"):
        pages = cloud.client("cloudformation").get_paginator("describe_stacks").paginate()
        stacks = [_stack(found) for page in pages for found in page["Stacks"]]
    return [
        stack.name
        for stack in stacks
        if stack.id != apart_from and bucket in {stack.parameters.get("Bucket"), stack.parameters.get("DataBucket")}
    ]


def to_be_made(stack: Stack | None) -> bool:
    """Whether a deployment makes the stack, and keeps nothing of what there is."""
    return stack is None or stack.status == "REVIEW_IN_PROGRESS" or stack.status in NEVER_LIVED


def last_event(cloud: Cloud, stack_id: str) -> str | None:
    """Return the id of the newest event, after which `follow` begins."""
    with explained("events of the stack"):
        events = cloud.client("cloudformation").describe_stack_events(StackName=stack_id)["StackEvents"]
    return events[0]["EventId"] if events else None


def follow(cloud: Cloud, stack_id: str, after: str | None, watch: Watch) -> list[ResourceEvent]:
    """Tell what happens to a stack until CloudFormation is done with it.

    Parameters
    ----------
    after : str, optional
        Id of the newest event before the order was given.

    Returns
    -------
    list of ResourceEvent
        In order; the last one says how it ended.
    """
    events: list[ResourceEvent] = []
    while True:
        for event in _events_after(cloud, stack_id, after):
            events.append(event)
            watch(event)
            if event.physical_id == stack_id and not event.status.endswith("_IN_PROGRESS"):
                return events
        after = events[-1].id if events else after
        time.sleep(POLL_S)


def _events_after(cloud: Cloud, stack_id: str, after: str | None) -> list[ResourceEvent]:
    """Return the events after one, in order; CloudFormation lists the newest first."""
    events: list[ResourceEvent] = []
    with explained("events of the stack"):
        for page in cloud.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id):
            for found in page["StackEvents"]:
                if found["EventId"] == after:
                    return events[::-1]
                events.append(_event(found))
    return events[::-1]


def _event(found: dict[str, Any]) -> ResourceEvent:
    return ResourceEvent(
        id=found["EventId"],
        at=found["Timestamp"].isoformat(timespec="seconds"),
        resource=found["LogicalResourceId"],
        kind=found.get("ResourceType", ""),
        physical_id=found.get("PhysicalResourceId", ""),
        status=found["ResourceStatus"],
        reason=found.get("ResourceStatusReason") or "",
    )


def _stack(found: dict[str, Any]) -> Stack:
    region, account = found["StackId"].split(":")[3:5]
    return Stack(
        name=found["StackName"],
        region=region,
        account=account,
        id=found["StackId"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason") or "",
        changed_at=(found.get("LastUpdatedTime") or found["CreationTime"]).isoformat(timespec="seconds"),
        outputs={output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])},
        parameters={pair["ParameterKey"]: pair["ParameterValue"] for pair in found.get("Parameters", [])},
    )
