"""The executions of a stack's state machine: started, found, stopped, and what they ended with."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from skyfan import errors
from skyfan.aws.session import Cloud, explained
from skyfan.errors import AwsError, ClaimedError, PayloadError, RunFailedError, RunStoppedError, SkyfanError, StackError
from skyfan.keys import RunKeys
from skyfan.lease import read_lease, release_for
from skyfan.payload import Payload, differing_keys, parse_payload
from skyfan.storage import Bucket
from skyfan.summary import Summary

RUNNING = "RUNNING"
STOP_WAIT_S = 60.0


def describe(cloud: Cloud, execution: str) -> dict[str, Any] | None:
    """Return an execution as AWS describes it; None if there is none of that ARN.

    Raises
    ------
    AwsError
        If AWS does not answer.
    """
    client = cloud.client("stepfunctions")
    with explained(f"execution {execution}"):
        try:
            found: dict[str, Any] = client.describe_execution(executionArn=execution)
        except client.exceptions.ExecutionDoesNotExist:
            return None
    return found


def start(cloud: Cloud, state_machine: str, payload: Payload, *, overwrite: bool) -> str:
    """Start an execution; return its ARN.

    Raises
    ------
    StackError
        If the state machine is gone.
    AwsError
        If AWS does not start it.
    """
    client = cloud.client("stepfunctions")
    event = {"payload": payload.to_mapping(), "overwrite": overwrite}
    with explained(f"{payload.run_id}: start of an execution"):
        try:
            started = client.start_execution(
                stateMachineArn=state_machine, name=execution_name(payload.run_id), input=json.dumps(event)
            )
        except (client.exceptions.StateMachineDoesNotExist, client.exceptions.StateMachineDeleting) as error:
            raise StackError(
                f"{payload.run_id}: there is no state machine {state_machine} any more; expected a whole stack: deploy "
                "it again with 'skyfan aws deploy'"
            ) from error
    return str(started["executionArn"])


def execution_name(run: str) -> str:
    """Return a new name: the end of the run's, its digest, by which `find_execution` knows it, and the time."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", run)[-40:].strip("-")
    return f"{readable}-{_digest(run)}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _digest(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:12]


def check_same(found: Mapping[str, Any], payload: Payload) -> None:
    """Check that an execution does what a payload asks for.

    Raises
    ------
    ClaimedError
        If it was started with another.
    """
    try:
        other, _ = parse_payload(json.loads(found.get("input") or "{}")["payload"])
    except (ValueError, KeyError, TypeError, PayloadError):
        return  # an input that is none: Initialize says so
    differing = differing_keys(other, payload)
    if differing:
        raise ClaimedError(
            f"{payload.run_id}: the execution {found['executionArn']} is at work there with another payload, of which "
            f"{', '.join(differing)} differ; expected the same: choose another result_path, or stop it first"
        )


def find_execution(cloud: Cloud, state_machine: str, run: str, bucket: Bucket, keys: RunKeys) -> str | None:
    """Return the running execution that drives a run; the lease of one that has ended is given up.

    Raises
    ------
    ClaimedError
        If a process, or an execution of another stack, drives it.
    """
    holder = read_lease(bucket, keys)
    if holder is not None and not holder.lapsed():
        if holder.execution is None:
            raise ClaimedError(
                f"{run}: {holder.driver} drives this run; expected no other driver: wait for it (see 'skyfan status'), "
                f"or stop it: skyfan stop {run} --store s3://"
            )
        found = describe(cloud, holder.execution)
        if found is not None and found["status"] == RUNNING:
            if found["stateMachineArn"] != state_machine:
                raise ClaimedError(
                    f"{run}: {holder.driver} of another stack drives this run; expected one of {state_machine}: name "
                    "its stack with --stack to watch it, or stop it"
                )
            return holder.execution
        release_for(bucket, keys, holder.execution)
    # one that was started just now holds no lease yet
    with explained("executions"):
        pages = cloud.client("stepfunctions").get_paginator("list_executions")
        for page in pages.paginate(stateMachineArn=state_machine, statusFilter=RUNNING):
            for listed in page["executions"]:
                if f"-{_digest(run)}-" in listed["name"]:
                    return str(listed["executionArn"])
    return None


def stop(cloud: Cloud, execution: str, bucket: Bucket, keys: RunKeys, *, cause: str = "skyfan stop") -> bool:
    """Stop an execution, wait for its end, and give its lease up; return whether it was running.

    Workers that are at a task end it: their work is not lost, and is billed.

    Raises
    ------
    AwsError
        If AWS does not stop it.
    """
    found = describe(cloud, execution)
    was_running = found is not None and found["status"] == RUNNING
    if was_running:
        with explained(f"stop of the execution {execution}"):
            cloud.client("stepfunctions").stop_execution(executionArn=execution, error="Stopped", cause=cause)
        until = time.monotonic() + STOP_WAIT_S
        while found is not None and found["status"] == RUNNING:
            if time.monotonic() > until:
                raise AwsError(
                    f"execution {execution}: still runs {STOP_WAIT_S:.0f} s after it was told to stop; expected its "
                    "end: look at it in the console, Step Functions"
                )
            time.sleep(0.5)
            found = describe(cloud, execution)
    release_for(bucket, keys, execution)
    return was_running


def raise_failed(run: str, found: Mapping[str, Any], summary: Summary | None) -> NoReturn:
    """Raise what an execution that did not succeed ended with.

    Raises
    ------
    RunFailedError
        If it failed or took too long.
    RunStoppedError
        If it was stopped.
    """
    status, kind, said = found["status"], found.get("error") or "", unwrapped(found.get("cause") or "")
    again = "Run the same payload again: only what is not done is done"
    if status == "ABORTED":
        reason = f" ({said})" if said else ""
        raise RunStoppedError(f"{run}: the execution was stopped{reason}; nothing that is done is lost. {again}")
    if status == "TIMED_OUT":
        raise RunFailedError(f"{run}: the execution took longer than a state machine of skyfan may, 24 hours. {again}")
    if kind == "Lambda.ResourceNotFoundException":
        raise RunFailedError(
            f"{run}: a function of the stack is gone, as when it is deleted ({said}); deploy the stack again. {again}"
        )
    said = said if said.startswith(run) else f"{run}: {said or kind or 'failed without a word'}"
    raise RunFailedError(f"{said.rstrip('.')}. Mend it. {again}", exit_code=_exit_code(kind, summary))


def unwrapped(cause: str) -> str:
    """Return the message of a cause: what a Lambda function raised comes as JSON, with its trace."""
    try:
        content = json.loads(cause)
    except ValueError:
        return cause
    return str(content["errorMessage"]) if isinstance(content, dict) and content.get("errorMessage") else cause


def _exit_code(kind: str, summary: Summary | None) -> int:
    """Return 2 if what was handed in is the reason, be it for every task that failed."""
    if summary is not None and kind == RunFailedError.__name__:
        failures = summary.failures
        return 2 if failures and all(failure.error.exit_code == 2 for failure in failures) else 1
    known = getattr(errors, kind, None)
    return known.exit_code if isinstance(known, type) and issubclass(known, SkyfanError) else 1
