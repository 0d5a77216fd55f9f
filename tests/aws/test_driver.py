"""A run on AWS as its user sees it: started, followed, interrupted, resumed, refused and stopped."""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from moto.stepfunctions.parser.backend.execution import Execution

import skyfan
from aws.stacks import client, deploy
from aws.states import Machine
from factories import tiny_model, write_partition
from running import SKYFAN
from skyfan import api
from skyfan.aws import machine as executions
from skyfan.aws.driver import drive
from skyfan.aws.following import CLOCKS_S, look_every_s
from skyfan.aws.ledger import Configuration, Ledger
from skyfan.aws.session import Cloud
from skyfan.aws.stack import describe_stack
from skyfan.errors import (
    BudgetError,
    ClaimedError,
    InputError,
    PayloadError,
    RunFailedError,
    RunStoppedError,
    StackError,
    StoreError,
)
from skyfan.keys import RunKeys
from skyfan.lease import hold, read_lease
from skyfan.payload import Payload, parse_payload
from skyfan.prices import load_prices
from skyfan.storage import Bucket, Store
from skyfan.task import decode_report
from skyfan.watching import Billed, Ended, Planned, Priced, RunEvent, Started, TaskDone, TaskGivenUp, TaskRetried


@pytest.fixture
def asked(asked: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """With a path of its own: executions that a test leaves under way must not meet the next one's."""
    return asked | {"result_path": f"results/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"}


@pytest.fixture
def keys(asked: dict[str, Any]) -> RunKeys:
    return RunKeys(asked["result_path"])


@pytest.fixture
def run_id(asked: dict[str, Any]) -> str:
    return f"sky/{asked['result_path']}"


@pytest.fixture
def at_stop(monkeypatch: pytest.MonkeyPatch) -> list[threading.Event]:
    """Events that are set once an execution is told to stop: moto waits for what is under way, as AWS does not."""
    events: list[threading.Event] = []
    original = Execution.stop

    def stop(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        for event in events:
            event.set()

    monkeypatch.setattr(Execution, "stop", stop)
    return events


@pytest.fixture
def arn(machine: Machine, definition: str) -> str:
    return deploy(machine, definition)


@pytest.fixture
def bucket(arn: str) -> Bucket:
    return Store("s3://").bucket("sky")


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    return parse_payload(asked)[0]


class Seen(list[RunEvent]):
    """Every event but the ticks; sets an event of threading once the plan is told."""

    def __init__(self, go: threading.Event | None = None) -> None:
        super().__init__()
        self._go = go

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Planned) and self._go:
            self._go.set()
        if type(event).__name__ != "Ticked":
            self.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def interrupt_at(kind: type) -> Callable[[RunEvent], None]:
    def watch(event: RunEvent) -> None:
        if isinstance(event, kind):
            raise KeyboardInterrupt

    return watch


def executions_of(arn: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return found


def slowed(machine: Machine, name: str = "Infer") -> threading.Event:
    """Have a function wait until the returned event is set."""
    go, handler = threading.Event(), machine.handlers[name]

    def wait(event: dict[str, Any], context: object) -> Any:
        go.wait(60)
        return handler(event, context)

    machine.handlers[name] = wait
    return go


def test_a_run_gives_the_same_bytes_as_the_local_engine(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], root: Path
) -> None:
    seen, here = Seen(), skyfan.run(asked, store=root, workers=1)
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert seen.names == ["Priced", "Started", "Planned", *["TaskDone"] * 4, "Ended", "Billed"]
    assert sorted(event.report.rank for event in seen.of(TaskDone)) == [0, 1, 2, 3]
    local, remote = here.part_keys(), run.part_keys()
    assert len(local) == len(remote) == 4
    assert [bucket.get(key) for key in remote] == [(root / "sky" / key).read_bytes() for key in local]
    (bill,) = seen.of(Billed)
    assert bill.is_whole
    assert run.bill == bill
    assert bill.cost.total_usd < seen.of(Priced)[0].estimate.high.total_usd


def test_a_finished_run_is_found_finished_and_nothing_starts(arn: str, asked: dict[str, Any]) -> None:
    skyfan.run(asked, engine="aws")
    seen = Seen()
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.names == ["Ended"]
    assert seen.of(Ended)[0].found_finished
    assert len(executions_of(arn)) == 1


def test_a_failed_partition_fails_the_run_as_it_does_locally_and_resume_does_only_that_task(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    whole = bucket.get("25MB/2.safetensors")
    assert whole is not None
    bucket.put("25MB/2.safetensors", b"no partition")
    seen = Seen()
    with pytest.raises(
        RunFailedError, match=r"^sky/results/\w+: 3 of 4 tasks done.*2\.safetensors.*Run the same"
    ) as at:
        skyfan.run(asked, engine="aws", watch=seen)
    assert at.value.exit_code == 2
    assert "stackTrace" not in str(at.value)
    assert [event.rank for event in seen.of(TaskGivenUp)] == [1]
    assert seen.names[-2:] == ["Ended", "Billed"]
    assert read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]

    bucket.put("25MB/2.safetensors", whole)
    machine.calls.clear()
    seen = Seen()
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert machine.called("Infer") == 1
    assert [event.report.rank for event in seen.of(TaskDone)] == [1]
    assert seen.of(Planned)[0].tasks_done == 3
    assert "speed as in 3 tasks of this run" in seen.of(Priced)[0].basis[0]


def test_a_tolerated_failure_ends_incomplete(arn: str, bucket: Bucket, asked: dict[str, Any]) -> None:
    bucket.put("25MB/2.safetensors", b"no partition")
    run = skyfan.run(asked, engine="aws", tolerated_failure_count=1)
    assert run.summary is not None
    assert (run.summary.complete, run.summary.tasks_ok) == (False, 3)


def test_a_retry_is_told(machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from skyfan import stages

    original, failed = stages.infer, threading.Event()

    def infer(task: Any, store: Store, attempt: int = 1) -> Any:
        if task.rank == 1 and attempt == 1:
            error = StoreError("the store failed")
            stages.record_failure(task, store.bucket(task.bucket), attempt, error)
            failed.set()
            raise error
        if task.rank == 1:
            time.sleep(2.5)  # longer than the watcher looks away
        return original(task, store, attempt)

    monkeypatch.setattr(stages, "infer", infer)
    seen = Seen()
    skyfan.run(asked, engine="aws", watch=seen)
    (retried,) = seen.of(TaskRetried)
    assert (retried.rank, retried.attempt, retried.error.message) == (1, 1, "the store failed")
    assert seen.of(Ended)[0].summary.complete
    assert any("invocation" in note for note in seen.of(Billed)[0].notes)


def test_ctrl_c_leaves_the_run_going_and_the_same_call_watches_it_again(
    machine: Machine, arn: str, asked: dict[str, Any]
) -> None:
    go = slowed(machine)
    with pytest.raises(RunStoppedError, match=r"no longer watched, but the run goes on.*skyfan stop") as at:
        skyfan.run(asked, engine="aws", watch=interrupt_at(Planned))
    assert at.value.exit_code == 130
    seen = Seen(go)
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert seen.names[:2] == ["Started", "Planned"]
    assert seen.of(Started)[0].attached
    assert len(seen.of(TaskDone)) == 4
    assert run.summary is not None
    assert run.summary.complete
    assert len(executions_of(arn)) == 1
    assert machine.called("Infer") == 4


def test_an_execution_that_has_no_lease_yet_is_found_too(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    go = slowed(machine, "Initialize")
    skyfan.run(asked, engine="aws", detach=True)
    assert read_lease(bucket, keys) is None
    seen = Seen(go)
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.of(Started)[0].attached
    assert len(executions_of(arn)) == 1


def test_a_second_run_on_the_stack_is_not_taken_for_the_first(
    machine: Machine, arn: str, asked: dict[str, Any]
) -> None:
    go = slowed(machine)
    skyfan.run(asked, engine="aws", detach=True)
    seen = Seen()
    skyfan.run(asked | {"result_path": asked["result_path"] + "-two"}, engine="aws", watch=seen, detach=True)
    go.set()
    assert not seen.of(Started)[0].attached
    for end in ("", "-two"):
        run = skyfan.run(asked | {"result_path": asked["result_path"] + end}, engine="aws")
        assert run.summary is not None
        assert run.summary.complete
    assert len(executions_of(arn)) == 2


def test_what_is_done_before_it_is_watched_counts(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    handler, go = machine.handlers["Infer"], threading.Event()

    def last_waits(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] == 3:
            go.wait(60)
        return handler(event, context)

    machine.handlers["Infer"] = last_waits
    with pytest.raises(RunStoppedError):
        skyfan.run(asked, engine="aws", watch=interrupt_at(TaskDone))
    until = time.monotonic() + 30
    while len(bucket.list(keys.reports)) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    seen = Seen(go)
    skyfan.run(asked, engine="aws", watch=seen)
    assert seen.of(Planned)[0].tasks_done == 3
    assert len(seen.of(TaskDone)) == 1
    assert "6 invocations" in seen.of(Billed)[0].notes[0]


def test_stop_ends_the_execution_and_frees_the_run(
    machine: Machine,
    arn: str,
    bucket: Bucket,
    asked: dict[str, Any],
    keys: RunKeys,
    run_id: str,
    at_stop: list[threading.Event],
) -> None:
    go = slowed(machine)
    at_stop.append(go)
    skyfan.run(asked, engine="aws", detach=True)
    until = time.monotonic() + 20
    while machine.called("Infer") == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    standing = skyfan.open_run(run_id, store="s3://").status()
    assert standing.state == "running"
    assert standing.driver is not None
    assert standing.driver.startswith("arn:aws:states:us-east-1:")
    said = api.stop(run_id, store="s3://")
    assert "stopped; running the same payload again goes on" in said
    assert executions_of(arn)[0]["status"] == "ABORTED"
    assert read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]
    assert "nobody drives it" in api.stop(run_id, store="s3://")
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete


def test_whoever_watches_learns_that_it_was_stopped(
    machine: Machine, arn: str, asked: dict[str, Any], run_id: str, at_stop: list[threading.Event]
) -> None:
    go = slowed(machine)
    at_stop.append(go)

    def watch(event: RunEvent) -> None:
        if isinstance(event, Planned):
            api.stop(run_id, stack="skyfan", region="us-east-1")

    with pytest.raises(RunStoppedError, match="the execution was stopped"):
        skyfan.run(asked, engine="aws", watch=watch)


def test_the_lease_of_an_execution_that_ended_without_a_word_is_given_up(
    run_id: str,
    machine: Machine,
    arn: str,
    bucket: Bucket,
    asked: dict[str, Any],
    keys: RunKeys,
    at_stop: list[threading.Event],
) -> None:
    go = slowed(machine)
    at_stop.append(go)
    skyfan.run(asked, engine="aws", detach=True)
    until = time.monotonic() + 20
    while read_lease(bucket, keys) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    client("stepfunctions").stop_execution(executionArn=executions_of(arn)[0]["executionArn"])
    assert not read_lease(bucket, keys).lapsed()  # type: ignore[union-attr]
    said = command(machine, "status", run_id, "--store", "s3://", "--json")
    standing = json.loads(said.stdout)
    assert (said.returncode, standing["state"], standing["driver"]) == (3, "interrupted", None)
    assert "has ended (ABORTED)" in standing["problems"][0]
    seen = Seen()
    skyfan.run(asked, engine="aws", watch=seen)
    assert not seen.of(Started)[0].attached
    assert seen.of(Ended)[0].summary.complete


def test_a_process_that_drives_the_run_is_named(arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys) -> None:
    with hold(bucket, keys), pytest.raises(ClaimedError, match=f"process {os.getpid()} on .* drives this run"):
        skyfan.run(asked, engine="aws")
    assert executions_of(arn) == []


def test_a_run_under_way_is_not_overwritten(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine)
    skyfan.run(asked, engine="aws", detach=True)
    with pytest.raises(ClaimedError, match="is under way; expected none to overwrite"):
        skyfan.run(asked, engine="aws", overwrite=True)
    go.set()
    skyfan.run(asked, engine="aws")


def test_reports_of_a_run_that_is_overwritten_are_not_taken_for_the_new_one_s(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    skyfan.run(asked, engine="aws")
    first = bucket.get(keys.report(0))
    time.sleep(1.5 * CLOCKS_S)
    go = slowed(machine, "Initialize")  # the earlier reports are there while it starts
    seen = Seen()
    timer = threading.Timer(4.0, go.set)
    timer.start()
    skyfan.run(asked, engine="aws", overwrite=True, watch=seen)
    timer.join()
    assert len(seen.of(TaskDone)) == 4
    assert bucket.get(keys.report(0)) != first
    assert all(event.report.started_at > decode_report(first).started_at for event in seen.of(TaskDone))


def test_an_execution_of_another_payload_is_not_watched(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine, "Initialize")
    skyfan.run(asked, engine="aws", detach=True)
    with pytest.raises(ClaimedError, match="with another payload, of which batch_size differ"):
        skyfan.run(asked | {"batch_size": 7}, engine="aws")
    go.set()
    skyfan.run(asked, engine="aws")


def test_a_limit_needs_somebody_who_watches(arn: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="detach and max_cost are both asked for"):
        skyfan.run(asked, engine="aws", max_cost=1.0, detach=True)
    assert executions_of(arn) == []


def test_a_plan_says_what_it_would_cost_and_writes_nothing(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    seen = Seen()
    planned = skyfan.plan(asked, engine="aws", watch=seen)
    assert (len(planned.pending), seen.names) == (4, ["Priced"])
    with pytest.raises(BudgetError, match="Nothing was started"):
        skyfan.plan(asked, engine="aws", max_cost=0.000001)
    with pytest.raises(PayloadError, match="result_path"):
        skyfan.plan(asked | {"result_path": "elsewhere/one"}, engine="aws")
    assert bucket.get(keys.payload) is None
    assert executions_of(arn) == []


def test_a_cost_above_the_limit_is_refused_before_anything_starts(
    arn: str, bucket: Bucket, asked: dict[str, Any], keys: RunKeys
) -> None:
    seen = Seen()
    with pytest.raises(BudgetError, match=r"expected at most 0.0001 .*Nothing was started") as at:
        skyfan.run(asked, engine="aws", max_cost=0.0001, watch=seen)
    assert at.value.exit_code == 2
    assert seen.names == ["Priced"]
    assert executions_of(arn) == []
    assert bucket.get(keys.payload) is None


def test_a_run_that_passes_its_limit_is_stopped_and_can_go_on(
    machine: Machine, arn: str, bucket: Bucket, asked: dict[str, Any], payload: Payload, at_stop: list[threading.Event]
) -> None:
    handler, go = machine.handlers["Infer"], threading.Event()
    at_stop.append(go)

    def two_wait(event: dict[str, Any], context: object) -> Any:
        if event["task"]["rank"] > 1:
            go.wait(60)
        return handler(event, context)

    machine.handlers["Infer"] = two_wait
    # under way already, so that the estimate does not refuse it
    skyfan.run(asked, engine="aws", detach=True)
    seen = Seen()
    empty = Ledger(Configuration.of(describe_stack(Cloud(), "skyfan")), load_prices()).cost().total_usd
    with pytest.raises(
        BudgetError, match=r"stopped, since with the tasks under way it would cost .*What is done is kept"
    ) as at:
        drive(payload, Cloud(), "skyfan", seen, max_cost=empty + Decimal("0.0001"))
    assert at.value.exit_code == 1
    assert len(seen.of(TaskDone)) + seen.of(Planned)[0].tasks_done in {1, 2}
    assert executions_of(arn)[0]["status"] == "ABORTED"
    machine.calls.clear()
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(asked: dict[str, Any], arn: str, limit: float) -> None:
    with pytest.raises(InputError, match="expected USD above 0"):
        skyfan.run(asked, engine="aws", max_cost=limit)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bucket": "land"}, "'bucket' is 'land'; expected 'sky', the one of stack skyfan"),
        ({"data_bucket": "sea"}, "'data_bucket' is 'sea'; expected 'sky'"),
        (
            {"result_path": "results-old/one"},
            "'result_path' is 'results-old/one'; expected it in the folder 'results/'",
        ),
        ({"result_path": "results"}, "'result_path' is 'results'; expected it in the folder 'results/'"),
        ({"data_prefix": "50MB"}, "'data_prefix' is '50MB'; expected it in the folder '25MB/'.*another DataPrefix"),
        ({"model": "old/tiny.onnx"}, "'model' is 'old/tiny.onnx'; expected it in the folder 'models/'"),
    ],
)
def test_what_the_stack_may_not_reach_is_said_before_anything_starts(
    arn: str, asked: dict[str, Any], changed: dict[str, str], message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        skyfan.run(asked | changed, engine="aws")
    assert executions_of(arn) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "/srv/x"}, "expected s3://"),
        ({"workers": 2}, "limit it with max_concurrency"),
        ({"engine": "local", "stack": "skyfan"}, "stack: got 'skyfan' with the engine 'local'"),
        ({"engine": "local", "max_cost": 1.0}, "max_cost: got 1.0"),
        ({"engine": "local", "detach": True}, "detach: got True"),
        ({"engine": "slurm"}, "there is no such engine; expected one of local, aws"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    asked: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        skyfan.run(asked, **{"engine": "aws", **options})


def test_a_stack_that_is_not_there_is_said(machine: Machine, asked: dict[str, Any]) -> None:
    with pytest.raises(StackError, match=r"stack nowhere: there is none .*skyfan aws deploy"):
        skyfan.run(asked, engine="aws", stack="nowhere")


def test_a_state_machine_that_was_deleted_is_said(arn: str, asked: dict[str, Any], payload: Payload) -> None:
    client("stepfunctions").delete_state_machine(stateMachineArn=arn)
    with pytest.raises(StackError, match="there is no state machine"):
        executions.start(Cloud(), arn, payload, overwrite=False)


def test_an_execution_that_is_gone_is_said(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    go = slowed(machine)

    def watch(event: RunEvent) -> None:
        if isinstance(event, Planned):
            client("stepfunctions").delete_state_machine(stateMachineArn=arn)

    with pytest.raises(StackError, match=r"is gone, as when its stack is deleted.*what is done is kept"):
        skyfan.run(asked, engine="aws", watch=watch)
    go.set()


def test_what_initialize_refuses_comes_in_its_own_words(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    seen = Seen()
    with pytest.raises(RunFailedError, match=r"^sky/results/\w+: payload: max_attempts is 4; expected at most 3") as at:
        skyfan.run(asked, engine="aws", max_attempts=4, watch=seen)
    assert at.value.exit_code == 2
    assert "Traceback" not in str(at.value)
    assert seen.names == ["Priced", "Started", "Planned"]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ('{"errorMessage": "no such key", "errorType": "StoreError", "stackTrace": ["x"]}', "no such key"),
        ("sky/one: 3 of 4 tasks done", "sky/one: 3 of 4 tasks done"),
        ('{"errorMessage": ""}', '{"errorMessage": ""}'),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_causes_are_unwrapped(cause: str, expected: str) -> None:
    assert executions.unwrapped(cause) == expected


@pytest.mark.parametrize(
    ("found", "message", "kind"),
    [
        ({"status": "TIMED_OUT"}, "took longer than", RunFailedError),
        (
            {"status": "ABORTED", "error": "Stopped", "cause": "skyfan stop"},
            r"stopped \(skyfan stop\)",
            RunStoppedError,
        ),
        (
            {"status": "FAILED", "error": "Lambda.ResourceNotFoundException", "cause": "x"},
            "stack is gone",
            RunFailedError,
        ),
        ({"status": "FAILED", "error": "States.Runtime"}, "sky/one: States.Runtime. Mend it", RunFailedError),
    ],
)
def test_every_end_has_its_words(found: dict[str, Any], message: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=message):
        executions.raise_failed("sky/one", found, None)


def test_names_of_executions_are_valid_and_their_own() -> None:
    long = "sky/results/" + "a b/ü." * 60
    names = {executions.execution_name(long) for _ in range(20)}
    assert len(names) > 1
    assert all(len(name) <= 80 and name.replace("-", "").isalnum() and name.isascii() for name in names)


@pytest.mark.parametrize(("tasks", "expected"), [(1, 1.0), (999, 1.0), (5_000, 6.0), (100_000, 20.0)])
def test_more_tasks_are_looked_at_less_often(tasks: int, expected: float) -> None:
    assert look_every_s(tasks) == expected


def test_trouble_while_watching_is_waited_out(
    machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server error of Step Functions, three times, in the middle of a run."""
    from skyfan.aws import following
    from skyfan.errors import AwsError

    original, left = following.describe, [AwsError("execution: AWS asks to slow down"), StoreError("the store failed")]

    def describe(cloud: Cloud, execution: str) -> Any:
        if left:
            raise left.pop()
        return original(cloud, execution)

    monkeypatch.setattr(following, "describe", describe)
    monkeypatch.setattr(following, "look_every_s", lambda tasks: 0.1)
    seen = Seen()
    run = skyfan.run(asked, engine="aws", watch=seen)
    assert run.summary is not None
    assert run.summary.complete
    assert seen.names.count("Waiting") == 1
    assert not left


def test_expired_credentials_end_the_watching_only(
    machine: Machine, arn: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    from skyfan.aws import following
    from skyfan.aws.session import explained
    from skyfan.errors import AwsRefusedError

    def describe(cloud: Cloud, execution: str) -> Any:
        with explained("execution"):
            raise ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "expired"}}, "DescribeExecution")

    with monkeypatch.context() as patch:
        patch.setattr(following, "describe", describe)
        with pytest.raises(AwsRefusedError, match=r"have expired.*but the run goes on") as at:
            skyfan.run(asked, engine="aws")
    assert at.value.exit_code == 2
    run = skyfan.run(asked, engine="aws")
    assert run.summary is not None
    assert run.summary.complete
    assert len(executions_of(arn)) == 1


def command(machine: Machine, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SKYFAN, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120, env=os.environ
    )


def test_the_command_line_shows_price_progress_and_bill(
    machine: Machine, arn: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    job = tmp_path / "payload.json"
    job.write_text(json.dumps(asked))
    done = command(machine, "run", job, "--engine", "aws")
    assert done.returncode == 0, done.stderr
    assert "will cost about" in done.stderr
    assert "Lambda infer: compute, arm64" in done.stderr
    assert "34 of 34 rows" in done.stderr
    assert "REPORT lines of 6 invocations" in done.stdout
    assert "total" in done.stdout
    again = command(machine, "run", job, "--engine", "aws", "--result-path", "results/two", "--detach", "--json")
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["event"] for line in again.stdout.splitlines()] == ["Priced", "Started"]
    watched = command(machine, "run", job, "--engine", "aws", "--result-path", "results/two", "--json")
    assert watched.returncode == 0, watched.stderr
    last = json.loads(watched.stdout.splitlines()[-1])
    assert last["event"] in {"Billed", "Ended"}
    dry = command(machine, "run", job, "--engine", "aws", "--result-path", "results/3", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "will cost about" in dry.stderr
    assert "plan of sky/results/3" in dry.stdout
    refused = command(machine, "run", job, "--engine", "aws", "--result-path", "results/3", "--max-cost", "0.000001")
    assert refused.returncode == 2
    assert "--max-cost" in refused.stderr


def test_a_local_run_is_stopped_by_the_stop_command(tmp_path: Path) -> None:
    bucket = tmp_path / "store" / "sky"
    for number in range(1, 13):
        write_partition(bucket / "data" / f"{number}.safetensors", rows=4000, seed=number)
    tiny_model(bucket / "tiny.onnx")
    job = tmp_path / "payload.json"
    asked = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "data", "result_path": "out", "model": "tiny.onnx"}
    job.write_text(json.dumps(asked | {"batch_size": 1}))
    place = ["--store", str(tmp_path / "store")]
    process = subprocess.Popen(
        [*SKYFAN, "run", str(job), *place, "--workers", "1", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  as a shell's background jobs
    )
    try:
        until = time.monotonic() + 60
        while not list((bucket / "out" / "reports").glob("*.json")):
            assert time.monotonic() < until
            time.sleep(0.02)
        done = subprocess.run(
            [*SKYFAN, "stop", str(job), *place], capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, done.stderr
        assert f"process {process.pid} on" in done.stdout
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "run the same payload again to go on" in err
        again = subprocess.run([*SKYFAN, "stop", "sky/out", *place], capture_output=True, text=True, check=False)
        assert (again.returncode, "nobody drives it" in again.stdout) == (0, True)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_run_that_another_machine_drives_is_not_touched(
    root: Path, asked: dict[str, Any], store: Store, keys: RunKeys, run_id: str
) -> None:
    bucket = store.bucket("sky")
    lease = {"until": time.time() + 60, "host": "far", "pid": os.getpid(), "process_start": 1, "machine": "far|x|y"}
    bucket.put(keys.lease(1), json.dumps(lease).encode())
    with pytest.raises(InputError, match=rf"process {os.getpid()} on far drives it.*stop it on far"):
        api.stop(run_id, store=root)
