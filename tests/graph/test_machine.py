"""From a definition to a machine: what is read, in which words, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from definitions import LAMBDA, definitions
from skyfan.aws.template import definition_text
from skyfan.errors import InputError
from skyfan.graph.conditions import condition_text
from skyfan.graph.definition import own_machine, read_machine
from skyfan.graph.machine import Edge, Machine, Retry, State
from skyfan.graph.marks import StateMark, check_marks
from skyfan.graph.parsing import MAX_STATES, parse_machine
from skyfan.graph.phrases import errors_text, retry_sentence, retry_text

NULL = {"Variable": "$.b", "IsNull": True}
PASS = {"Type": "Pass", "End": True}


def one(state: Any) -> dict[str, Any]:
    """A definition with one state, A."""
    return {"StartAt": "A", "States": {"A": state}}


def parsed(state: dict[str, Any]) -> State:
    """The state A of a definition that has a B too."""
    return parse_machine({"StartAt": "A", "States": {"A": state, "B": PASS}}).states[0]


def test_the_machine_that_ships_is_drawn_as_it_is_defined() -> None:
    machine = own_machine()
    states = {state.name: state for state in machine.every_state()}
    defined = json.loads(definition_text())["States"]
    inside = defined["InferAll"]["ItemProcessor"]["States"]
    assert set(states) == {*defined, *inside}
    assert machine.start == "Initialize"
    assert states["InferAll"].detail == "Distributed Map, EXPRESS children"
    assert [state.name for state in states["InferAll"].inner[0].states] == list(inside)
    assert states["Infer"].detail == "Lambda: InferFunction"
    assert [(retry.max_attempts, len(retry.errors)) for retry in states["Infer"].retries] == [(5, 4), (15, 1), (2, 3)]
    assert Edge("AnythingPending", "InferAll", "choice", "pending > 0") in machine.edges
    assert Edge("AnythingPending", "Summarize", "default") in machine.edges
    assert Edge("InferAll", "Summarize", "catch", errors=("States.ALL",)) in machine.edges
    caught = tuple(inside["Infer"]["Catch"][0]["ErrorEquals"])
    assert states["InferAll"].inner[0].edges == (
        Edge("HasScript", "InferScript", "choice", "script.sha256 is present"),
        Edge("HasScript", "Infer", "default"),
        Edge("Infer", "InferLarge", "catch", errors=caught),
    )
    ends = {"Infer", "InferLarge", "InferScript", "RunFailed", "Done"}
    assert {name for name, state in states.items() if state.ends} == ends


def test_what_a_placeholder_names_is_only_filled_in_where_a_parameter_has_it() -> None:
    texts = [state.detail for state in own_machine().every_state()]
    assert not any("${" in text for text in texts)
    assert "Lambda: SummarizeFunction" in texts


@settings(max_examples=60)
@given(definitions())
def test_any_valid_definition_is_read_whole(definition: dict[str, Any]) -> None:
    def count(machine: dict[str, Any]) -> tuple[int, int]:
        """States and transitions."""
        states = edges = 0
        for state in machine["States"].values():
            rules = [*state.get("Choices", []), *state.get("Catch", [])]
            states, edges = states + 1, edges + len(rules) + ("Next" in state) + ("Default" in state)
            for inner in [state[key] for key in ("ItemProcessor",) if key in state] + state.get("Branches", []):
                more = count(inner)
                states, edges = states + more[0], edges + more[1]
        return states, edges

    def edges_of(machine: Machine) -> int:
        return len(machine.edges) + sum(edges_of(inner) for state in machine.states for inner in state.inner)

    machine = parse_machine(definition)
    assert (sum(1 for _ in machine.every_state()), edges_of(machine)) == count(definition)


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        ({"Type": "Task", "Resource": LAMBDA, "Parameters": {"FunctionName": "${F}"}}, "Lambda: F"),
        ({"Type": "Task", "Resource": LAMBDA, "Arguments": {"FunctionName": "plain"}}, "Lambda: plain"),
        ({"Type": "Task", "Resource": LAMBDA, "Parameters": {"FunctionName.$": "$.f"}}, "Lambda invoke"),
        ({"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:crop:live"}, "Lambda: crop"),
        ({"Type": "Task", "Resource": "arn:aws:states:::batch:submitJob.sync"}, "Batch submitJob, waits for its end"),
        ({"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2"}, "Step Functions startExecution, waits for its end"),  # noqa: E501
        ({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken"}, "SQS sendMessage, waits for an answer"),  # noqa: E501
        ({"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:kms:decrypt"}, "kms decrypt"),
        ({"Type": "Task", "Resource": "arn:aws:states:us-east-1:123456789012:activity:look"}, "Activity look"),
        ({"Type": "Task", "Resource": "anything else"}, "anything else"),
        ({"Type": "Wait", "Seconds": 10}, "10 s"),
        ({"Type": "Wait", "SecondsPath": "$.delay"}, "delay"),
        ({"Type": "Wait", "Seconds": "{% $states.input.delay %}"}, "delay"),
        ({"Type": "Wait", "Timestamp": "2026-11-24T00:00:00Z"}, "until 2026-11-24T00:00:00Z"),
        ({"Type": "Map", "ItemProcessor": {"StartAt": "I", "States": {"I": PASS}}}, "Map"),
        ({"Type": "Map", "Iterator": {"StartAt": "I", "States": {"I": PASS}}}, "Map"),
        ({"Type": "Pass"}, ""),
    ],
)  # fmt: skip
def test_what_a_state_does_is_said_in_words(state: dict[str, Any], detail: str) -> None:
    assert parsed({**state, "Next": "B"}).detail == detail


def test_what_a_fail_says_is_its_error_and_cause() -> None:
    assert parsed({"Type": "Fail", "Error": "Bad", "Cause": "so it is"}).detail == "Bad: so it is"
    assert parsed({"Type": "Fail", "CausePath": "$.message"}).detail == ""


def test_limits_are_said_with_their_units() -> None:
    inner = {"StartAt": "I", "States": {"I": PASS}}
    state = {
        "Type": "Map",
        "ItemProcessor": inner,
        "MaxConcurrency": 40,
        "ToleratedFailurePercentage": 2.5,
        "End": True,
    }
    assert parsed(state).notes == ("40 at a time", "2.5 % may fail")
    assert parsed({**state, "MaxConcurrency": 0, "ToleratedFailurePercentage": 0}).notes == ()
    assert parsed({"Type": "Task", "Resource": LAMBDA, "TimeoutSeconds": 90, "End": True}).notes == ("at most 90 s",)
    listing = {"ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2"}}
    assert parsed({**state, **listing}).notes[0] == "items: a listing in S3"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"Variable": "$.pending", "NumericGreaterThan": 0}, "pending > 0"),
        ({"Variable": "$.a.b[0]", "StringEquals": 'x "y"'}, 'a.b[0] = "x \\"y\\""'),
        ({"Variable": "$", "IsPresent": True}, "the input is present"),
        ({"Variable": "$.a", "IsNull": False}, "a is not null"),
        ({"Variable": "$.a", "NumericLessThanEqualsPath": "$.b"}, "a ≤ b"),
        ({"Variable": "$$.Execution.Id", "StringMatches": "a*"}, 'context Execution.Id matches "a*"'),
        ({"Variable": "$.a", "BooleanEquals": True}, "a = true"),
        ({"Variable": "$.t", "TimestampGreaterThanEquals": "2026-11-24T00:00:00Z"}, 't ≥ "2026-11-24T00:00:00Z"'),
        ({"Not": {"Variable": "$.a", "StringEquals": "b"}}, 'a ≠ "b"'),
        ({"Not": {"Variable": "$.a", "IsPresent": True}}, "a is not present"),
        ({"Not": {"Variable": "$.a", "NumericLessThan": 3}}, "not (a < 3)"),
        (
            {"And": [{"Variable": "$.a", "NumericEquals": 1}, {"Or": [NULL, {"Variable": "$.c", "IsString": True}]}]},
            "a = 1 and (b is null or c is a string)",
        ),
        ({"Condition": "{% $states.input.pending > 0 %}"}, "pending > 0"),
        ({"Condition": "{% $states.input = 'the $states.input.x' and\n   $states.context.Id %}"}, "the input = 'the $states.input.x' and context Id"),  # noqa: E501
        ({"Variable": "$.a", "Unheard": 1, "Next": "B"}, '{"Variable": "$.a", "Unheard": 1}'),
    ],
)  # fmt: skip
def test_conditions_are_said_in_words(rule: dict[str, Any], text: str) -> None:
    assert condition_text(rule) == text


def test_a_condition_without_end_is_cut() -> None:
    rule: dict[str, Any] = {"Variable": "$.a", "NumericEquals": 1}
    for _ in range(60):
        rule = {"Not": {"And": [rule, rule]}} if _ > 55 else {"Not": {"Or": [rule]}}
    assert condition_text(rule).startswith("not (")
    assert "…" in condition_text(rule)
    long = {"Variable": "$.a", "StringEquals": "x" * 10_000}
    assert len(condition_text(long)) == 500


def test_errors_are_named_and_counted() -> None:
    assert errors_text(["States.ALL"]) == "any error"
    assert errors_text(["A", "B"]) == "A, B"
    assert errors_text(["A", "B", "C", "D", "E"]) == "A, B +3 more"
    assert retry_text(Retry(("A", "B"), 5)) == "5\N{MULTIPLICATION SIGN} A +1 more"
    assert retry_text(Retry(("A",), 0)) == "never: A"
    assert retry_sentence(Retry(("A", "B"), 1, 2.0, 1.5, 30.0)) == (
        "Tried again up to 1 time, after 2 s, each delay 1.5\N{MULTIPLICATION SIGN} the one before, 30 s at most: A, B."
    )
    assert retry_sentence(Retry(("A",), 0)) == "Not tried again: A."


def test_a_retry_has_the_defaults_of_the_language() -> None:
    task = {"Type": "Task", "Resource": LAMBDA, "Retry": [{"ErrorEquals": ["A"]}], "End": True}
    assert parsed(task).retries == (Retry(("A",), 3, 1.0, 2.0, None),)


NESTED: Any = one(PASS)
for _level in range(12):
    NESTED = {"StartAt": f"M{_level}", "States": {f"M{_level}": {"Type": "Map", "ItemProcessor": NESTED, "End": True}}}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ([], "the definition is a list; expected a JSON object"),
        (None, "the definition is null"),
        ({}, "the definition has no States"),
        ({"States": {}, "StartAt": "A"}, "the definition has no States"),
        ({"States": {"A": PASS}}, "has no StartAt; expected the name of the first state, one of 'A'"),
        ({"StartAt": "Star", "States": {"Start": PASS}}, "names 'Star' as StartAt.*no state there.*perhaps 'Start'"),
        ({"StartAt": ["A"], "States": {"A": PASS}}, r"names \['A'\] as StartAt"),
        ({"StartAt": " ", "States": {" ": PASS}}, "has a state named ' '"),
        (one("x"), "state 'A' is a string; expected a JSON object"),
        (one({"End": True}), "state 'A' has no Type; expected one of Task, Map"),
        (one({"Type": "task", "End": True}), "state 'A' has the unknown Type 'task'.* - perhaps Task"),
        (one({"Type": ["Task"], "End": True}), r"state 'A' has the unknown Type \['Task'\]"),
        (one({"Type": "Pass"}), "state 'A' has neither Next nor End"),
        (one({"Type": "Pass", "Next": "A", "End": True}), "state 'A' has both Next and End"),
        (one({"Type": "Pass", "End": "yes"}), "state 'A' has the End 'yes'; expected true"),
        (one({"Type": "Succeed", "Next": "A"}), "state 'A' is a Succeed and has Next"),
        (one({"Type": "Pass", "Next": "Nowhere"}), "state 'A' names 'Nowhere' as Next, and no state there has"),
        (one({"Type": "Pass", "Next": 3}), "state 'A' names 3 as Next"),
        (one({"Type": "Task", "End": True}), "state 'A' is a Task and has no Resource"),
        (one({"Type": "Choice"}), "state 'A' is a Choice and has no Choices"),
        (one({"Type": "Choice", "Choices": [{}]}), "state 'A' has no Next of choice 1"),
        (one({"Type": "Choice", "Choices": [{"Next": "A"}], "Default": "B"}), "names 'B' as Default"),
        (one({"Type": "Choice", "Choices": [{"Next": "A"}], "End": True}), "is a Choice and has End"),
        (one({"Type": "Choice", "Choices": ["A"]}), "has a Choices that is not a list of JSON objects"),
        (one({"Type": "Map", "End": True}), "state 'A' is a Map and has no ItemProcessor"),
        (one({"Type": "Map", "ItemProcessor": {"States": {"I": PASS}}, "End": True}), "'A': its ItemProcessor has no StartAt"),  # noqa: E501
        (one({"Type": "Map", "ItemProcessor": one(PASS), "End": True}), "state 'A' is there twice"),
        (one({"Type": "Parallel", "Branches": {"x": 1}, "End": True}), "has Branches that are an object"),
        (one({"Type": "Parallel", "Branches": [3], "End": True}), "state 'A': its branch 1 is a number"),
        (one({**PASS, "Catch": [{"Next": "A"}]}), "state 'A' has a Catch with ErrorEquals None"),
        (one({**PASS, "Catch": [{"ErrorEquals": ["E"], "Next": "X"}]}), "names 'X' as Next of catch 1"),
        (one({**PASS, "Catch": {"a": 1}}), "has a Catch that is not a list"),
        (one({**PASS, "Retry": [{"ErrorEquals": []}]}), r"a Retry with ErrorEquals \[\]"),
        (one({**PASS, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": -1}]}), "MaxAttempts -1; expected a number"),
        (one({**PASS, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1.5}]}), "MaxAttempts 1.5; expected a whole"),
        (one({**PASS, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": True}]}), "MaxAttempts True"),
        (one({**PASS, "Retry": [{"ErrorEquals": ["E"], "BackoffRate": float("nan")}]}), "BackoffRate nan"),
        (NESTED, "lies deeper than 10 Maps and Parallels"),
        ({"StartAt": "0", "States": {str(n): PASS for n in range(MAX_STATES + 1)}}, "has more than 500 states"),
    ],
)  # fmt: skip
def test_a_bad_definition_is_refused_by_state_and_fault(definition: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_machine(definition)


def test_a_state_may_lead_back_and_to_itself_and_nothing_to_it() -> None:
    states = {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Pass", "Next": "A"},
        "C": {"Type": "Pass", "Next": "C"},
    }
    machine = parse_machine({"StartAt": "A", "States": states})
    assert machine.edges == (Edge("A", "B"), Edge("B", "A"), Edge("C", "C"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"", "is not JSON"),
        (
            b'{"StartAt": "A", "States": {"A": {"Type": "Succeed"}, "A": {"Type": "Fail"}}}',
            "the name 'A' is there twice",
        ),
        (b" " * (4 * 1024 * 1024 + 1), "is larger than 4,194,304 bytes"),
        (b'{"definition": "no"}', "is not JSON"),
        (b'{"StartAt": "B", "States": {"A": {"Type": "Succeed"}}}', "names 'B' as StartAt"),
    ],
)
def test_a_bad_file_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_machine(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json", Path("nul\0byte")):
        with pytest.raises(InputError, match="cannot be read"):
            read_machine(path)


def test_what_aws_answers_has_a_definition_inside(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"name": "m", "definition": json.dumps(one(PASS))}), encoding="utf-8-sig")
    assert read_machine(path) == parse_machine(one(PASS))


def test_a_mark_must_be_of_a_state() -> None:
    machine = parse_machine(one(PASS))
    check_marks(machine, {"A": StateMark("failed")})
    with pytest.raises(InputError, match=r"'a', which is not in the machine"):
        check_marks(machine, {"a": StateMark("failed")})
    with pytest.raises(InputError, match=r"status 'lost'; expected one of succeeded, failed, skipped, running"):
        check_marks(machine, {"A": StateMark("lost")})  # type: ignore[arg-type]
