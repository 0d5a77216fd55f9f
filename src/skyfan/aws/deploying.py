"""Deploying: the package and the definition go to a bucket, then a change set makes or changes the stack."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skyfan.aws import buckets
from skyfan.aws import stack as stacks
from skyfan.aws.archive import Archive, read_archive
from skyfan.aws.changes import Change, Changes, ChangeSet, create_change_set, drop, execute, read_changes
from skyfan.aws.package import build
from skyfan.aws.script_image import check_image
from skyfan.aws.session import Cloud, explained
from skyfan.aws.stack import NEVER_LIVED, Note, Stack, Watch
from skyfan.aws.template import check_settings, definition_text, parameter_defaults
from skyfan.errors import AwsError, InputError, StackError
from skyfan.wording import counted, size

PYTHON = "3.13"
"""Of the Lambda runtime in the template."""


@dataclass(frozen=True)
class Deployed:
    """What came of a deployment."""

    stack: Stack | None
    """As it is now; None after a dry run of a stack that there is not."""
    changes: tuple[Change, ...] | None
    """None if there was nothing to change; in a dry run none of them were made."""
    package_sha256: str
    dry_run: bool


@dataclass(frozen=True)
class _Code:
    """The objects that a stack's code is, by names of their content."""

    bucket: str
    archive: Archive
    package_key: str
    definition_key: str

    @classmethod
    def of(cls, bucket: str, name: str, archive: Archive) -> "_Code":
        digest = hashlib.sha256(definition_text().encode()).hexdigest()
        return cls(
            bucket=bucket,
            archive=archive,
            package_key=f"{code_prefix(name)}package-{archive.sha256[:32]}.zip",
            definition_key=f"{code_prefix(name)}statemachine-{digest[:32]}.asl.json",
        )

    def parameters(self) -> dict[str, str]:
        return {"CodeBucket": self.bucket, "CodeKey": self.package_key, "DefinitionKey": self.definition_key}


def code_prefix(name: str) -> str:
    """Return the folder of a stack in its code bucket."""
    return f"{name}/"


def code_keys(name: str) -> re.Pattern[str]:
    """Return what the objects are called that deployments of a stack make, and nothing that a user keeps there."""
    return re.compile(
        rf"{re.escape(code_prefix(name))}(package-[0-9a-f]{{32}}\.zip|statemachine-[0-9a-f]{{32}}\.asl\.json)"
    )


def executions_under_way(cloud: Cloud, stack: Stack | None) -> list[str]:
    """Return the ARNs of a stack's executions that run now.

    Raises
    ------
    AwsError
        If AWS does not answer.
    """
    machine = stack.outputs.get("StateMachineArn") if stack else None
    if machine is None:
        return []
    states = cloud.client("stepfunctions")
    with explained("executions"):
        try:
            pages = states.get_paginator("list_executions").paginate(stateMachineArn=machine, statusFilter="RUNNING")
            return [str(found["executionArn"]) for page in pages for found in page["executions"]]
        except states.exceptions.StateMachineDoesNotExist:
            return []


def deploy(
    cloud: Cloud,
    name: str,
    settings: Mapping[str, str],
    *,
    package: Path | None = None,
    watch: Watch,
    ask: Callable[[str], bool] = lambda question: False,
    dry_run: bool = False,
) -> Deployed:
    """Make a stack, or change it to what is asked for.

    Parameters
    ----------
    settings : mapping
        Of the template's parameters. On a stack that there is, those not named keep their value.
    package : Path, optional
        From `skyfan aws package`; built if not given.
    watch : callable
        Is told what is done, what will change and what happens.
    ask : callable
        Is asked whether a stack whose creation failed may be deleted first; no by default.
    dry_run : bool
        Show what would change and stop. Nothing is left behind.

    Raises
    ------
    InputError
        If a setting, the package, an image or a bucket cannot be used.
    StackError
        If the stack cannot be deployed to as it is, or what is asked for cannot be planned.
    AwsError
        If AWS does not answer, or the deployment failed: which resource did, why, and what is left.
    """
    check_settings(settings)
    stack = stacks.find_stack(cloud, name)
    settings = {**_fitting(cloud, stack, watch), **settings}
    _check_deployable(stack, dry_run)
    _check_buckets(cloud, settings)
    if settings.get("ScriptImage"):
        check_image(settings["ScriptImage"], cloud.account, cloud.region)
    bucket = settings.get("CodeBucket") or (stack and stack.parameters.get("CodeBucket"))
    bucket = bucket or buckets.default_code_bucket(cloud)
    with _packaged(package, _value(settings, stack, "Architecture"), watch) as archive:
        code = _Code.of(bucket, name, archive)
        if not dry_run:
            stack = _cleared(cloud, stack, watch, ask)
            _store(cloud, code, _value(settings, stack, "Project"), watch)
    change_set = create_change_set(cloud, name, stack, {**settings, **code.parameters()})
    with _dropped_on_error(cloud, change_set, stack):
        changes = read_changes(cloud, change_set)
        if changes is not None:
            watch(Changes(changes))
            _tell_running(0 if dry_run else len(executions_under_way(cloud, stack)), watch)
    if dry_run or changes is None or change_set is None:
        drop(cloud, change_set, stack)
    else:
        execute(cloud, name, change_set, watch)
    now = stack if dry_run else stacks.find_stack(cloud, name)
    return Deployed(now, changes, archive.sha256, dry_run)


def _fitting(cloud: Cloud, stack: Stack | None, watch: Watch) -> dict[str, str]:
    """Return a MaxConcurrency that the account allows, if a new stack's default is above it and would be throttled."""
    if stack is not None and not stacks.to_be_made(stack):
        return {}
    try:
        with explained("the account's limits"):
            limits = cloud.client("lambda").get_account_settings()["AccountLimit"]
    except AwsError as error:
        watch(Note(f"how many functions the account may run at once is not known ({error}); see --max-concurrency"))
        return {}
    free = int(limits.get("UnreservedConcurrentExecutions", limits["ConcurrentExecutions"]))
    if free >= int(parameter_defaults()["MaxConcurrency"] or 0):
        return {}
    most = max(1, free)
    watch(Note(f"the account has {free} functions at once to give: MaxConcurrency is {most}; ask AWS for more"))
    return {"MaxConcurrency": str(most)}


def _tell_running(executions: int, watch: Watch) -> None:
    """Say what a deployment is to runs under way: a function's next call has its new code."""
    if executions:
        watch(
            Note(f"{counted(executions, 'execution')} under way: tasks that start later run the new code and settings")
        )


def _value(settings: Mapping[str, str], stack: Stack | None, name: str) -> str:
    """Return what a parameter will be."""
    kept = stack.parameters.get(name) if stack and not stacks.to_be_made(stack) else None
    return settings.get(name) or kept or parameter_defaults()[name] or ""


@contextmanager
def _dropped_on_error(cloud: Cloud, change_set: ChangeSet | None, stack: Stack | None) -> Iterator[None]:
    """Leave no change set behind, and no empty stack, where it does not come to its execution."""
    try:
        yield
    except BaseException:
        drop(cloud, change_set, stack)
        raise


def _check_deployable(stack: Stack | None, dry_run: bool) -> None:
    if stack is None or stack.status in {"REVIEW_IN_PROGRESS", "UPDATE_FAILED"}:
        return
    if stack.status in NEVER_LIVED and not dry_run:
        return
    if stack.busy or not stack.usable:
        raise StackError(
            stack.advice
            or f"stack {stack.name}: is {stack.status}: CloudFormation tidies up after an update; wait a minute, then "
            "do the same again"
        )


def _check_buckets(cloud: Cloud, settings: Mapping[str, str]) -> None:
    """Check the buckets that a person names: a function would find out only when it runs."""
    for parameter, option, owned in (("Bucket", "--bucket", True), ("DataBucket", "--data-bucket", False)):
        bucket = settings.get(parameter)
        if bucket and not buckets.check_bucket(cloud, bucket, option, owned=owned):
            raise InputError(
                f"bucket {bucket}: there is none; expected one that exists: name another with {option}, or leave it "
                "out: the stack then makes one"
            )


@contextmanager
def _packaged(package: Path | None, architecture: str, watch: Watch) -> Iterator[Archive]:
    """Yield the package, built for as long as it is needed unless one is given."""
    if package is not None:
        yield read_archive(package, architecture)
        return
    watch(Note(f"building the package for {architecture}"))
    with tempfile.TemporaryDirectory(prefix="skyfan-") as folder:
        built = build(Path(folder) / "skyfan.zip", architecture, PYTHON)
        yield read_archive(built.path, architecture)


def _cleared(cloud: Cloud, stack: Stack | None, watch: Watch, ask: Callable[[str], bool]) -> Stack | None:
    """Delete a stack that was never whole, if that is allowed; return what is there then."""
    if stack is None or stack.status not in NEVER_LIVED:
        return stack
    why = f"stack {stack.name}: is {stack.status}: its creation failed, and it can only be deleted"
    if not ask(f"{why}. Delete it and make it anew?"):
        raise StackError(f"{why}; expected your consent to that: answer yes, or give --yes")
    after = stacks.last_event(cloud, stack.id)
    with explained(f"deleting stack {stack.name}"):
        cloud.client("cloudformation").delete_stack(StackName=stack.id)
    end = stacks.follow(cloud, stack.id, after, watch)[-1]
    if end.status != "DELETE_COMPLETE":
        raise StackError(
            f"stack {stack.name}: could not be deleted ({end.status}: {end.reason}); try skyfan aws destroy"
        )
    return None


def _store(cloud: Cloud, code: _Code, project: str, watch: Watch) -> None:
    if buckets.make_code_bucket(cloud, code.bucket, project):
        watch(Note(f"made bucket {code.bucket} for the code"))
    archive = code.archive
    about = {"sha256": archive.sha256, "skyfan-version": archive.version, "architecture": archive.architecture}
    if buckets.put_if_absent(cloud, code.bucket, code.package_key, archive.path, about):
        watch(Note(f"uploaded the package, {size(archive.size_bytes)}, to s3://{code.bucket}/{code.package_key}"))
    buckets.put_if_absent(cloud, code.bucket, code.definition_key, definition_text().encode(), {})
