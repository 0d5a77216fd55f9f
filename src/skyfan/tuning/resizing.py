"""Gives the worker of a stack another memory for a while, and puts back what it had, whatever happens."""

import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skyfan.aws import stack as stacks
from skyfan.aws.changes import ChangeSet, drop, execute, read_changes
from skyfan.aws.session import Cloud, explained
from skyfan.aws.stack import Stack
from skyfan.errors import RunStoppedError, StackError

MEMORY = "InferMemory"

Watch = Callable[[str], None]


@contextmanager
def lent_memory(
    cloud: Cloud, stack: Stack, watch: Watch, *, profile: str | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield what sets the memory of a stack's worker, in MB; put back at the end what it was.

    Nothing else of the stack is changed: its template stays the one that it has. An interrupt puts it back too; a
    second one meanwhile leaves it, and says how to put it back by hand, with the `profile` of AWS that is named.

    Raises
    ------
    StackError, AwsError
        If it cannot be changed, or put back: the StackError then says how to do that by hand.
    RunStoppedError
        If putting it back was interrupted; it says the same.
    """
    before = int(stack.parameters[MEMORY])
    touched = False

    def lend(memory_mb: int) -> None:
        nonlocal touched
        if touched or memory_mb != before:
            touched = True
            set_memory(cloud, stack, memory_mb, watch)

    try:
        yield lend
    finally:
        if touched:
            try:
                set_memory(cloud, stack, before, watch)
            except BaseException as error:
                place = ["--stack", stack.name, "--region", stack.region]
                place += ["--profile", profile] if profile else []
                by_hand = shlex.join(["skyfan", "aws", "deploy", "--memory", str(before), *place])
                kind = RunStoppedError if isinstance(error, KeyboardInterrupt) else StackError
                raise kind(
                    f"stack {stack.name}: its memory may not be put back to {before} MB "
                    f"({str(error).rstrip('.') or 'interrupted'}); do it by hand: {by_hand}"
                ) from error


def set_memory(cloud: Cloud, stack: Stack, memory_mb: int, watch: Watch) -> None:
    """Change the memory of a stack's worker by a change set, and nothing else.

    Raises
    ------
    StackError
        If the stack is not whole, or CloudFormation cannot plan the change.
    AwsError
        If the change failed.
    """
    now = _settled(cloud, stack)
    if now.parameters[MEMORY] == str(memory_mb):
        return
    watch(f"stack {now.name}: {MEMORY} from {now.parameters[MEMORY]} to {memory_mb} MB")
    change_set = _planned(cloud, now, memory_mb)
    try:
        changes = read_changes(cloud, change_set)
    except BaseException:
        drop(cloud, change_set, now)
        raise
    if changes is None:
        drop(cloud, change_set, now)
        raise StackError(
            f"stack {now.name}: CloudFormation sees no change in {MEMORY} {memory_mb}, and it is "
            f"{now.parameters[MEMORY]}; see what it has: skyfan aws status --stack {now.name}"
        )
    execute(cloud, now.name, change_set, lambda event: None)


def _settled(cloud: Cloud, stack: Stack) -> Stack:
    """Wait until CloudFormation takes an order: an interrupted change goes on there."""
    while True:
        now = stacks.existing_stack(cloud, stack.id)
        if not now.status.endswith("_IN_PROGRESS"):
            break
        time.sleep(stacks.POLL_S)
    if not now.usable:
        raise StackError(now.advice)
    return now


def _planned(cloud: Cloud, stack: Stack, memory_mb: int) -> ChangeSet:
    parameters = [
        {"ParameterKey": name, "ParameterValue": str(memory_mb)}
        if name == MEMORY
        else {"ParameterKey": name, "UsePreviousValue": True}
        for name in stack.parameters
    ]
    with explained(f"stack {stack.name}"):
        made = cloud.client("cloudformation").create_change_set(
            StackName=stack.name,
            ChangeSetName=f"skyfan-{secrets.token_hex(8)}",
            ChangeSetType="UPDATE",
            UsePreviousTemplate=True,
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
    return ChangeSet(made["Id"], made["StackId"])
