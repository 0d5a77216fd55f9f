"""Destroying: what a deployment made goes, in an order in which doing it again goes on; what is a user's stays."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from skyfan.aws import buckets
from skyfan.aws import stack as stacks
from skyfan.aws.buckets import Contents
from skyfan.aws.deploying import code_keys, code_prefix, executions_under_way
from skyfan.aws.session import Cloud, explained
from skyfan.aws.stack import Note, ResourceEvent, Stack, Watch
from skyfan.errors import AwsError, StackError
from skyfan.wording import counted, size

STOP_WAIT_S = 60.0
"""Seconds that executions have to end in, after they were told to stop."""


@dataclass(frozen=True)
class Doomed:
    """What would go."""

    stack: Stack | None
    """None if it is gone already, and only objects are left."""
    running: int
    """Executions under way, which are stopped first."""
    code: Contents
    results: Contents | None
    """None if they are kept."""
    kept: str
    """A bucket with results that stays; empty if there is none."""


@dataclass(frozen=True)
class Destroyed:
    """What went."""

    stack: bool
    code_objects: int
    code_bucket: bool
    """Whether the bucket went too: it was made by a deployment, and empty."""
    result_objects: int
    kept: str
    """A bucket with results that stayed; empty if there is none."""


def destroy(
    cloud: Cloud,
    name: str,
    *,
    delete_results: bool = False,
    watch: Watch,
    ask: Callable[[Doomed], bool] = lambda doomed: True,
    code_bucket: str | None = None,
) -> Destroyed | None:
    """Delete a stack and its code, and with `delete_results` the results bucket, if the stack made it.

    Executions are stopped and the stack goes first, so that nothing writes any more. CloudFormation remembers a
    deleted stack, so that what was interrupted is found and gone on with.

    Parameters
    ----------
    ask : callable
        Is shown what would go, and says whether it may; yes by default.
    code_bucket : str, optional
        Where the code lies, if the stack cannot tell any more.

    Returns
    -------
    Destroyed or None
        None if the answer was no.

    Raises
    ------
    StackError
        If there is nothing of that name, or another operation is under way.
    AwsError
        If AWS does not answer, an execution does not stop, or a resource cannot be deleted.
    """
    stack = stacks.find_stack(cloud, name)
    _check_deletable(stack)
    doomed = _doomed(cloud, name, stack, delete_results, code_bucket)
    if not ask(doomed):
        return None
    step = f"stack {name}"
    try:
        if doomed.stack is not None:
            _stop_executions(cloud, doomed.stack, watch)
            _delete_stack(cloud, doomed.stack, watch)
        step = "its results and code"
        results = _delete_results(cloud, doomed.results, watch) if doomed.results else 0
        step = "its code"
        objects = buckets.empty(cloud, doomed.code.bucket, doomed.code.prefix, code_keys(name))
        watch(Note(f"deleted {counted(objects, 'object')} of code from s3://{doomed.code.bucket}/{doomed.code.prefix}"))
        bucket = _delete_code_bucket(cloud, doomed.code.bucket)
    except KeyboardInterrupt:
        watch(Note(f"not all is deleted: {step} may be left; doing the same again goes on"))
        raise
    return Destroyed(doomed.stack is not None, objects, bucket, results, doomed.kept)


def _check_deletable(stack: Stack | None) -> None:
    if stack is not None and stack.busy and stack.status != "DELETE_IN_PROGRESS":
        raise StackError(
            f"stack {stack.name}: is {stack.status}; expected no operation under way: wait until 'skyfan aws status "
            f"--stack {stack.name}' says that it ended, then do the same again"
        )


def _doomed(cloud: Cloud, name: str, stack: Stack | None, delete_results: bool, code_bucket: str | None) -> Doomed:
    """Count what would go."""
    known = stack or stacks.former_stack(cloud, name)
    told = known.parameters.get("CodeBucket") if known else None
    where = code_bucket or told or buckets.default_code_bucket(cloud)
    code = buckets.contents(cloud, where, code_prefix(name), code_keys(name))
    made = known.made_bucket if known else None
    made = made if made and buckets.check_bucket(cloud, made, "--stack") else None
    if stack is None and not code.objects and not (delete_results and made):
        kept = f"; the bucket {made} with its results is kept: --delete-results deletes it" if made else ""
        raise StackError(
            f"stack {name}: there is none in account {cloud.account}, region {cloud.region}, and no code of it in "
            f"{code.bucket}{kept or '; name the place where it is: --stack, --region, --profile, --code-bucket'}"
        )
    results = None
    if delete_results and known and made:
        _check_unused(cloud, made, known)
        results = buckets.contents(cloud, made)
    return Doomed(stack, len(executions_under_way(cloud, stack)), code, results, "" if results or not made else made)


def _check_unused(cloud: Cloud, bucket: str, stack: Stack) -> None:
    others = stacks.users_of(cloud, bucket, stack.id)
    if others:
        raise StackError(
            f"bucket {bucket}: stack {', '.join(others)} uses it too; expected it to be of stack {stack.name} alone: "
            "leave --delete-results out, or destroy the other first"
        )


def _stop_executions(cloud: Cloud, stack: Stack, watch: Watch) -> None:
    """Stop what runs, also what is started meanwhile, and wait for the end of it."""
    states, told = cloud.client("stepfunctions"), set[str]()
    until = time.monotonic() + STOP_WAIT_S
    while running := executions_under_way(cloud, stack):
        if time.monotonic() > until:
            raise AwsError(
                f"stack {stack.name}: {counted(len(running), 'execution')} of it still under way {STOP_WAIT_S:.0f} s "
                f"after being told to stop, as {running[0]}; expected their end, and nobody who starts more; nothing "
                "was deleted: look at it in the console, Step Functions, then do the same again"
            )
        for execution in running:
            if execution not in told:
                with explained(f"stop of the execution {execution}"), suppress(states.exceptions.ExecutionDoesNotExist):
                    states.stop_execution(executionArn=execution, error="Stopped", cause="skyfan aws destroy")
                told.add(execution)
        time.sleep(min(stacks.POLL_S, 0.5))
    if told:
        watch(Note(f"stopped {counted(len(told), 'execution')}"))


def _delete_stack(cloud: Cloud, stack: Stack, watch: Watch) -> None:
    """Delete a stack, or wait for the end of a deletion that is under way."""
    after = stacks.last_event(cloud, stack.id)
    now = stacks.find_stack(cloud, stack.id)
    if now is None or now.status == "DELETE_COMPLETE":
        return
    if now.status != "DELETE_IN_PROGRESS":
        with explained(f"deleting stack {stack.name}"):
            cloud.client("cloudformation").delete_stack(StackName=stack.id)
    events = stacks.follow(cloud, stack.id, after, watch)
    if events[-1].status != "DELETE_COMPLETE":
        raise AwsError(_undeleted(stack, events))


def _undeleted(stack: Stack, events: list[ResourceEvent]) -> str:
    failed = [event for event in events[:-1] if event.status == "DELETE_FAILED"]
    said = "; ".join(f"{event.resource} ({event.physical_id}): {event.reason}" for event in failed)
    return (
        f"stack {stack.name}: not all of it could be deleted: {said or events[-1].reason}; its code and results are "
        "left too: mend that, then do the same again, which goes on"
    )


def _delete_results(cloud: Cloud, results: Contents, watch: Watch) -> int:
    objects = buckets.empty(cloud, results.bucket)
    if not buckets.delete_bucket(cloud, results.bucket):
        raise AwsError(
            f"bucket {results.bucket}: is not empty after {counted(objects, 'object')} of it were deleted; expected "
            "no older versions and nobody who writes: empty it in the console, then do the same again"
        )
    watch(Note(f"deleted bucket {results.bucket}: {counted(objects, 'object')}, {size(results.bytes)}"))
    return objects


def _delete_code_bucket(cloud: Cloud, bucket: str) -> bool:
    """Delete the code bucket if a deployment made it and no other stack's code lies in it."""
    return buckets.is_ours(cloud, bucket) and buckets.delete_bucket(cloud, bucket)
