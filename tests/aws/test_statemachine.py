"""The state machine's definition: what it retries, where it ends, and that it says the same as our own map."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from statelint.config import Config
from statelint.linter import Linter

from aws.states import FUNCTIONS, DiedError, Handler, Machine, filled
from skyfan import errors, mapping
from skyfan.aws import execution, handlers
from skyfan.aws.resolving import read_template
from skyfan.aws.script_forecast import MOST_INIT_S
from skyfan.keys import RunKeys
from skyfan.storage import Store
from skyfan.summary import Summary, decode_summary
from skyfan.task import ScriptRef, Task

SERVICE = {
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
}
DEATHS = {
    "Lambda.Unknown",
    "MemoryError",
    "Runtime.ExitError",
    "Runtime.OutOfMemory",
    "Sandbox.Timedout",
    "States.Timeout",
}
UNKNOWN_TO_STATELINT = ('"Label"', '"InputType"')


def states_of(states: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in states.items():
        yield name, state
        yield from states_of(state.get("ItemProcessor", {}).get("States", {}))


@pytest.fixture
def states(definition: str) -> dict[str, dict[str, Any]]:
    found = list(states_of(json.loads(definition)["States"]))
    assert len(dict(found)) == len(found), "a name is given twice"
    return dict(found)


@pytest.fixture
def tasks(states: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: state for name, state in states.items() if state["Type"] == "Task"}


def subclasses(kind: type[errors.SkyfanError]) -> Iterator[type[errors.SkyfanError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def test_one_task_a_function(tasks: dict[str, dict[str, Any]]) -> None:
    named = {name: state["Parameters"]["FunctionName"] for name, state in tasks.items()}
    states = {name: "InferScript" if name == "Script" else name for name in FUNCTIONS}
    assert named == {state: f"${{{name}Function}}" for name, state in states.items()}


def test_every_task_has_a_time_limit(definition: str, tasks: dict[str, dict[str, Any]]) -> None:
    assert all("TimeoutSeconds" in state or "TimeoutSecondsPath" in state for state in tasks.values())
    assert json.loads(definition)["TimeoutSeconds"] > 0


def test_only_what_can_pass_is_tried_again(tasks: dict[str, dict[str, Any]]) -> None:
    may_pass = {kind.__name__ for kind in subclasses(errors.SkyfanError) if kind.may_pass}
    for state in tasks.values():
        service, throttled, ours = state["Retry"]
        assert set(service["ErrorEquals"]) == SERVICE
        assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
        assert set(ours["ErrorEquals"]) == may_pass


def test_it_retries_as_our_own_map_does(tasks: dict[str, dict[str, Any]]) -> None:
    for state in tasks.values():
        ours = state["Retry"][-1]
        assert ours["MaxAttempts"] + 1 == mapping.Policy().max_attempts == execution.MAX_ATTEMPTS
        assert ours["IntervalSeconds"] == mapping.BACKOFF_S
        assert ours["BackoffRate"] == mapping.BACKOFF_RATE
        assert ours["MaxDelaySeconds"] == mapping.MAX_BACKOFF_S
        assert all(retry["JitterStrategy"] == "FULL" for retry in state["Retry"])


def test_what_is_throttled_waits_for_minutes_before_it_is_given_up(tasks: dict[str, dict[str, Any]]) -> None:
    for state in tasks.values():
        throttled = state["Retry"][1]
        waits = [throttled["IntervalSeconds"] * throttled["BackoffRate"] ** n for n in range(throttled["MaxAttempts"])]
        mean_s = sum(min(wait, throttled["MaxDelaySeconds"]) for wait in waits) / 2  # jitter is from 0 to all of it
        assert 120 < mean_s < 240, "an EXPRESS child has 300 s"


def test_a_task_that_died_is_tried_once_more_on_the_larger_worker(tasks: dict[str, dict[str, Any]]) -> None:
    (catch,) = tasks["Infer"]["Catch"]
    assert set(catch["ErrorEquals"]) == DEATHS
    assert catch["Next"] == "InferLarge"
    assert "Catch" not in tasks["InferLarge"]
    retried = {name for retry in tasks["InferLarge"]["Retry"] for name in retry["ErrorEquals"]}
    assert not retried & DEATHS


def test_the_larger_worker_is_handed_what_the_usual_one_was(tasks: dict[str, dict[str, Any]]) -> None:
    usual, larger = (tasks[name]["Parameters"]["Payload"] for name in ("Infer", "InferLarge"))
    assert larger == usual | {"caught.$": "$.caught"}


def test_a_script_goes_to_its_own_worker_and_a_model_to_the_usual_one(
    definition: str, states: dict[str, dict[str, Any]]
) -> None:
    asked, parent = states["HasScript"], json.loads(definition)["States"]["InferAll"]["ItemProcessor"]
    assert parent["StartAt"] == "HasScript"
    (rule,) = asked["Choices"]
    assert rule == {"Variable": "$.script.sha256", "IsPresent": True, "Next": "InferScript"}
    assert asked["Default"] == "Infer"
    for script, there in ((None, False), (ScriptRef("code", "code/x.py", "x.py", "folder", "0" * 64), True)):
        item = json.loads(
            msgspec.json.encode(Task(0, "b", "r", "d", partitions=(), model=None, batch_size=1, script=script))
        )
        assert ("script" in item) is there, "what the rule asks is whether a task's JSON has the key"


def test_a_script_s_worker_is_handed_what_the_usual_one_is(tasks: dict[str, dict[str, Any]]) -> None:
    usual, scripts = tasks["Infer"], tasks["InferScript"]
    assert scripts["Parameters"]["Payload"] == usual["Parameters"]["Payload"]
    assert scripts["Retry"] == usual["Retry"]
    assert "Catch" not in scripts


def test_a_script_s_state_outlasts_its_function(tasks: dict[str, dict[str, Any]]) -> None:
    longest_s = read_template()["Parameters"]["ScriptTimeout"]["MaxValue"]
    assert tasks["InferScript"]["TimeoutSeconds"] >= longest_s + MOST_INIT_S


def test_the_maps_results_stay_out_of_the_state(states: dict[str, dict[str, Any]]) -> None:
    assert states["InferAll"]["ResultPath"] is None
    assert states["InferAll"]["ResultWriter"]["Parameters"]["Prefix.$"] == "$.map_prefix"


def test_a_map_that_failed_is_summed_up(states: dict[str, dict[str, Any]]) -> None:
    (catch,) = states["InferAll"]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    assert catch["Next"] == states["InferAll"]["Next"] == "Summarize"


@pytest.mark.parametrize("kind", ["EXPRESS", "STANDARD"])
def test_statelint_finds_nothing_but_what_it_does_not_know(definition: str, kind: str) -> None:
    problems = Linter.validate(filled(definition, ChildExecutionType=kind), Config([], False, False))
    assert [problem for problem in problems if not any(field in problem for field in UNKNOWN_TO_STATELINT)] == []


def test_moto_takes_it(machine: Machine, definition: str) -> None:
    assert machine.create(filled(definition))


def test_moto_refuses_a_field_that_there_is_not(machine: Machine, definition: str) -> None:
    with pytest.raises(ClientError, match="MaximumDelay"):
        machine.create(filled(definition).replace('"MaxDelaySeconds"', '"MaximumDelay"'))


def map_error(machine: Machine) -> Any:
    return machine.calls[-1][1]["begun"]["map_error"]


def run(machine: Machine, definition: str, event: dict[str, Any]) -> tuple[str, dict[str, Any], Summary | None]:
    found = machine.run(machine.create(filled(definition)), event)
    keys = RunKeys(event["payload"]["result_path"])
    return found["status"], found, decode_summary(Store("s3://").bucket("sky").get(keys.summary))


def failing(*ends: Exception | None, rank: int = 1) -> Handler:
    """Fail one task in these ways, one after the other; None does it."""
    left, lock = list(ends), threading.Lock()

    def infer(event: dict[str, Any], context: object) -> Any:
        with lock:
            end = left.pop(0) if event["task"]["rank"] == rank and left else None
        if end is not None:
            raise end
        return handlers.infer(event, context)

    return infer


def test_a_run_is_complete(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    status, found, summary = run(machine, definition, event)
    assert status == "SUCCEEDED", found
    assert map_error(machine) is None
    verdict = json.loads(found["output"])
    assert (verdict["status"], verdict["tasks"], verdict["tasks_ok"], verdict["rows_out"]) == ("complete", 4, 4, 34)
    assert summary is not None
    assert summary.complete
    assert (summary.drive.tasks, summary.drive.rows, summary.drive.retries) == (4, 34, 0)
    assert 0 < summary.drive.map_wall_s <= summary.drive.run_wall_s
    assert 1 <= summary.drive.workers <= 4


def test_a_store_error_is_tried_again(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    machine.handlers["Infer"] = failing(errors.StoreError("the store failed"))
    status, found, _ = run(machine, definition, event)
    assert status == "SUCCEEDED", found
    assert machine.called("Infer") == 5


@pytest.mark.parametrize("name", sorted(DEATHS - {"MemoryError", "States.Timeout"}))
def test_a_killed_worker_is_replaced_by_a_larger_one(
    machine: Machine, definition: str, event: dict[str, Any], name: str
) -> None:
    machine.handlers["Infer"] = failing(DiedError(name))
    status, found, summary = run(machine, definition, event)
    assert status == "SUCCEEDED", found
    assert (machine.called("Infer"), machine.called("InferLarge")) == (4, 1)
    assert summary is not None
    assert summary.drive.retries == 1


def test_a_task_that_is_killed_twice_is_named_with_the_reason(
    machine: Machine, definition: str, event: dict[str, Any]
) -> None:
    def die_inside(asked: dict[str, Any], context: object) -> Any:
        execution._attempt(execution_item(asked), Store("s3://").bucket("sky"))
        raise DiedError("Runtime.ExitError")

    machine.handlers["Infer"] = failing(DiedError("Sandbox.Timedout", "Task timed out after 90.00 seconds"))
    machine.handlers["InferLarge"] = die_inside
    status, found, summary = run(machine, definition, event)
    assert (status, found["error"]) == ("FAILED", "RunFailedError")
    assert "3 of 4 tasks done" in found["cause"]
    assert "Task timed out after 90.00 seconds" in found["cause"]
    assert summary is not None
    assert [failure.rank for failure in summary.failures] == [1]


def execution_item(asked: dict[str, Any]) -> Any:
    from skyfan.aws.messages import Item, parse

    return parse(asked, Item)


def spoil(machine: Machine, name: str = "25MB/2.safetensors") -> None:
    Store("s3://").bucket("sky").put(name, b"no partition")


def test_what_cannot_pass_is_not_tried_again(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    spoil(machine)
    status, found, summary = run(machine, definition, event)
    assert (status, found["error"]) == ("FAILED", "RunFailedError")
    assert map_error(machine)["Error"] == "States.ExceedToleratedFailureThreshold"
    assert machine.called("Infer") == 4
    assert machine.called("InferLarge") == 0
    assert summary is not None
    assert not summary.complete
    assert [failure.error.kind for failure in summary.failures] == ["PartitionError"]


def test_what_is_tolerated_is_a_success_that_says_so(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    spoil(machine)
    event["payload"]["tolerated_failure_count"] = 1
    status, found, summary = run(machine, definition, event)
    assert status == "SUCCEEDED", found
    assert map_error(machine) is None
    assert json.loads(found["output"])["status"] == "incomplete"
    assert summary is not None
    assert not summary.complete


def test_a_resumed_run_does_only_what_is_not_done(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    bucket = Store("s3://").bucket("sky")
    whole = bucket.get("25MB/2.safetensors")
    assert whole is not None
    spoil(machine)
    run(machine, definition, event)
    bucket.put("25MB/2.safetensors", whole)
    machine.calls.clear()
    status, found, summary = run(machine, definition, event)
    assert status == "SUCCEEDED", found
    assert machine.called("Infer") == 1
    assert summary is not None
    assert summary.complete
    assert summary.drive.tasks == 1


def test_a_finished_run_skips_the_map_and_keeps_its_summary(
    machine: Machine, definition: str, event: dict[str, Any]
) -> None:
    _, _, first = run(machine, definition, event)
    machine.calls.clear()
    status, _, second = run(machine, definition, event)
    assert status == "SUCCEEDED"
    assert [name for name, _ in machine.calls] == ["Initialize", "Summarize"]
    assert first == second


def test_bad_input_ends_at_once_with_its_own_words(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    event["payload"]["result_pth"] = "x"
    started = time.monotonic()
    status, found, _ = run(machine, definition, event)
    assert (status, found["error"]) == ("FAILED", "PayloadError")
    assert "did you mean 'result_path'" in found["cause"]
    assert [name for name, _ in machine.calls] == ["Initialize"]
    assert time.monotonic() - started < 30


def test_at_most_so_many_tasks_at_a_time(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    event["payload"]["max_concurrency"] = 1
    _, _, summary = run(machine, definition, event)
    assert summary is not None
    assert summary.drive.workers == 1


def test_no_state_grows_with_the_number_of_tasks(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    run(machine, definition, event)
    large = [event for name, event in machine.calls if name == "Summarize"]
    assert len(json.dumps(large)) < 3000
