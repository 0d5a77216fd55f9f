"""What there is of a stack now: itself, the code in it and its last executions."""

from dataclasses import dataclass

from skyfan.aws.session import Cloud, code_of, explained
from skyfan.aws.stack import Stack, existing_stack


@dataclass(frozen=True)
class Code:
    """The package that a stack's functions were made from."""

    where: str
    size_bytes: int
    uploaded_at: str
    """ISO 8601."""
    sha256: str
    version: str
    """Of skyfan in it; empty if it does not say."""


@dataclass(frozen=True)
class Execution:
    """One execution of the state machine."""

    name: str
    status: str
    started_at: str
    """ISO 8601."""
    stopped_at: str
    """Empty while it runs."""


@dataclass(frozen=True)
class Overview:
    """All of it."""

    stack: Stack
    code: Code | None
    """None if it is not there, or may not be read."""
    executions: tuple[Execution, ...]
    """The last ones, newest first."""


def overview(cloud: Cloud, name: str, most: int = 5) -> Overview:
    """Look at a stack, in whatever status it is.

    Parameters
    ----------
    most : int
        Executions to list, at most.

    Raises
    ------
    StackError
        If there is none.
    AwsError
        If AWS does not answer.
    """
    stack = existing_stack(cloud, name)
    return Overview(stack, _code(cloud, stack), _executions(cloud, stack, most))


def _code(cloud: Cloud, stack: Stack) -> Code | None:
    bucket, key = stack.parameters.get("CodeBucket"), stack.parameters.get("CodeKey")
    if not bucket or not key:
        return None
    s3 = cloud.client("s3")
    with explained(f"s3://{bucket}/{key}"):
        try:
            found = s3.head_object(Bucket=bucket, Key=key)
        except s3.exceptions.ClientError as error:
            if code_of(error) in {"403", "404", "AccessDenied", "NoSuchBucket", "NoSuchKey"}:
                return None
            raise
    about = found.get("Metadata", {})
    return Code(
        where=f"s3://{bucket}/{key}",
        size_bytes=found["ContentLength"],
        uploaded_at=found["LastModified"].isoformat(timespec="seconds"),
        sha256=about.get("sha256", ""),
        version=about.get("skyfan-version", ""),
    )


def _executions(cloud: Cloud, stack: Stack, most: int) -> tuple[Execution, ...]:
    arn = stack.outputs.get("StateMachineArn")
    if arn is None:
        return ()
    states = cloud.client("stepfunctions")
    with explained("executions"):
        try:
            found = states.list_executions(stateMachineArn=arn, maxResults=most)["executions"]
        except states.exceptions.StateMachineDoesNotExist:
            return ()
    return tuple(
        Execution(
            name=execution["name"],
            status=execution["status"],
            started_at=execution["startDate"].isoformat(timespec="seconds"),
            stopped_at=execution["stopDate"].isoformat(timespec="seconds") if execution.get("stopDate") else "",
        )
        for execution in found[:most]
    )
