"""From a definition in the Amazon States Language to a Machine; a bad one is an error that names state and fault.

Source: states-language.net/spec.html, and the Step Functions developer guide for Distributed Map and JSONata.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast, get_args

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.graph import phrases
from skyfan.graph.conditions import condition_text, jsonata_text
from skyfan.graph.machine import Edge, Kind, Machine, Retry, State

KINDS: tuple[str, ...] = get_args(Kind)
MAX_DEPTH = 10
"""Of Maps and Parallels in one another."""
MAX_STATES = 500
"""What is still a picture."""
MAX_REPEATS = 99_999_999
"""Of a Retry's MaxAttempts, as the specification has it."""

_TERMINAL = ("Succeed", "Fail")
_LEAVES = ("Choice", *_TERMINAL)
_REQUIRED = {"Task": "Resource", "Parallel": "Branches", "Choice": "Choices"}


class _Scope(Struct, frozen=True):
    """Where in a definition the reader is."""

    seen: set[str]
    where: str = "the definition"
    depth: int = 0


def parse_machine(definition: Any) -> Machine:
    """Return the machine that a definition describes.

    Parameters
    ----------
    definition : mapping
        As `json.loads` gives it. Cycles are allowed, and so are states that nothing leads to.

    Raises
    ------
    InputError
        If it is no definition, or too large to be drawn; the text names state and fault.
    """
    try:
        return _machine(definition, _Scope(set()))
    except RecursionError:
        _refuse("the definition", "is nested deeper than can be read", "a definition as AWS takes it")


def _machine(definition: Any, scope: _Scope) -> Machine:
    where = scope.where
    if scope.depth > MAX_DEPTH:
        _refuse(where, f"lies deeper than {MAX_DEPTH} Maps and Parallels in one another", "a flatter definition")
    if not isinstance(definition, Mapping):
        _refuse(where, f"is {_named(definition)}", "a JSON object with StartAt and States")
    states = definition.get("States")
    if not isinstance(states, Mapping) or not states:
        _refuse(where, "has no States", "a JSON object with a state by each name")
    _check_names(states, scope)
    start = definition.get("StartAt")
    if start is None:
        _refuse(where, "has no StartAt", f"the name of the first state, one of {_listed(states)}")
    _check_target(where, "StartAt", start, states)
    parsed, edges = [], []
    for name, body in states.items():
        parsed.append(_state(name, body, scope))
        edges += _edges(name, body, states)
    return Machine(str(start), tuple(parsed), tuple(edges), _text(definition.get("Comment")))


def _check_names(states: Mapping[Any, Any], scope: _Scope) -> None:
    for name in states:
        if not isinstance(name, str) or not name.strip():
            _refuse(scope.where, f"has a state named {name!r}", "a name")
        if name in scope.seen:
            _refuse(f"state {name!r}", "is there twice", "names that are unique in the whole definition: rename one")
        scope.seen.add(name)
    if len(scope.seen) > MAX_STATES:
        _refuse("the definition", f"has more than {MAX_STATES} states", "a smaller one: draw its parts one by one")


def _state(name: str, body: Any, scope: _Scope) -> State:
    where = f"state {name!r}"
    if not isinstance(body, Mapping):
        _refuse(where, f"is {_named(body)}", "a JSON object")
    kind = body.get("Type")
    if kind not in KINDS:
        close = difflib.get_close_matches(str(kind), KINDS, 1)
        got = "has no Type" if kind is None else f"has the unknown Type {kind!r}"
        _refuse(where, got, f"one of {', '.join(KINDS)}{f' - perhaps {close[0]}' if close else ''}")
    required = _REQUIRED.get(kind)
    if required and not body.get(required):
        _refuse(where, f"is a {kind} and has no {required}", f"{required}")
    _check_end(where, kind, body)
    return State(
        name=name,
        kind=cast("Kind", kind),
        detail=_detail(kind, body),
        notes=phrases.limits(body) if kind in {"Task", "Map", "Parallel"} else (),
        retries=tuple(_retry(where, rule) for rule in _rules(where, body, "Retry")),
        ends=kind in _TERMINAL or body.get("End") is True,
        inner=_inner(where, kind, body, scope),
        comment=_text(body.get("Comment")),
    )


def _check_end(where: str, kind: str, body: Mapping[str, Any]) -> None:
    """Check that a state says what comes after it, and says it once."""
    end = body.get("End")
    if end is not None and not isinstance(end, bool):
        _refuse(where, f"has the End {end!r}", "true")
    said = [name for name in ("Next", "End") if body.get(name)]
    if kind in _LEAVES:
        if said:
            _refuse(where, f"is a {kind} and has {said[0]}", "none: nothing but its own rules lead on from it")
    elif len(said) != 1:
        got = "has both Next and End" if said else "has neither Next nor End"
        _refuse(where, got, '"Next" with the name of a state, or "End": true')


def _detail(kind: str, body: Mapping[str, Any]) -> str:
    match kind:
        case "Task":
            return phrases.task_text(body)
        case "Map":
            return phrases.map_text(_processor(body))
        case "Wait":
            return phrases.wait_text(body)
        case "Fail":
            return phrases.fail_text(body)
    return ""


def _inner(where: str, kind: str, body: Mapping[str, Any], scope: _Scope) -> tuple[Machine, ...]:
    depth = scope.depth + 1
    if kind == "Map":
        processor = _processor(body)
        if not processor:
            _refuse(where, "is a Map and has no ItemProcessor", "one with StartAt and States")
        return (_machine(processor, _Scope(scope.seen, f"{where}: its ItemProcessor", depth)),)
    if kind == "Parallel":
        branches = body["Branches"]
        if not isinstance(branches, list):
            _refuse(where, f"has Branches that are {_named(branches)}", "a list of machines")
        return tuple(
            _machine(branch, _Scope(scope.seen, f"{where}: its branch {number}", depth))
            for number, branch in enumerate(branches, 1)
        )
    return ()


def _processor(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a Map runs for each item; older definitions call it Iterator."""
    found = body.get("ItemProcessor", body.get("Iterator"))
    return found if isinstance(found, Mapping) else {}


def _edges(name: str, body: Mapping[str, Any], states: Mapping[str, Any]) -> list[Edge]:
    where = f"state {name!r}"
    edges = []
    if body.get("Next"):
        edges.append(Edge(name, _check_target(where, "Next", body["Next"], states)))
    if body["Type"] == "Choice":
        for number, rule in enumerate(_rules(where, body, "Choices"), 1):
            target = _check_target(where, f"Next of choice {number}", rule.get("Next"), states)
            edges.append(Edge(name, target, "choice", condition_text(rule)))
        if body.get("Default") is not None:
            edges.append(Edge(name, _check_target(where, "Default", body["Default"], states), "default"))
    for number, rule in enumerate(_rules(where, body, "Catch"), 1):
        target = _check_target(where, f"Next of catch {number}", rule.get("Next"), states)
        edges.append(Edge(name, target, "catch", errors=_errors(where, "Catch", rule)))
    return edges


def _check_target(where: str, field: str, target: Any, states: Mapping[str, Any]) -> str:
    if target is None:
        _refuse(where, f"has no {field}", f"the name of a state, one of {_listed(states)}")
    if not isinstance(target, str) or target not in states:
        close = difflib.get_close_matches(str(target), list(states), 1)
        near = f" - perhaps {_short(close[0])}" if close else ""
        got = f"names {_short(target)} as {field}, and no state there has that name"
        _refuse(where, got, f"one of {_listed(states)}{near}")
    return target


def _retry(where: str, rule: Mapping[str, Any]) -> Retry:
    errors = _errors(where, "Retry", rule)
    attempts = _number(where, rule, "MaxAttempts", 3)
    if attempts != int(attempts) or attempts > MAX_REPEATS:
        _refuse(where, f"has a Retry with MaxAttempts {_short(attempts)}", f"a whole number from 0 to {MAX_REPEATS:,}")
    delay = _number(where, rule, "MaxDelaySeconds", -1)
    return Retry(
        errors,
        int(attempts),
        _number(where, rule, "IntervalSeconds", 1),
        _number(where, rule, "BackoffRate", 2),
        None if delay < 0 else delay,
    )


def _number(where: str, rule: Mapping[str, Any], name: str, default: float) -> float:
    value = rule.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (name in rule and not 0 <= value < 1e12):
        _refuse(where, f"has a Retry with {name} {_short(value)}", "a number from 0")
    return float(value)


def _errors(where: str, field: str, rule: Mapping[str, Any]) -> tuple[str, ...]:
    names = rule.get("ErrorEquals")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        _refuse(where, f"has a {field} with ErrorEquals {_short(names)}", "a list of error names")
    return tuple(names)


def _rules(where: str, body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rules = body.get(name, [])
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) for rule in rules):
        _refuse(where, f"has a {name} that is not a list of JSON objects", "a list, a rule an item")
    return rules


def _text(value: Any) -> str:
    return jsonata_text(value) if isinstance(value, str) else ""


def _named(value: Any) -> str:
    """Return what a JSON value is called."""
    names = {bool: "true or false", str: "a string", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _listed(states: Mapping[str, Any]) -> str:
    names = [_short(name) for name in states]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _refuse(where: str, got: str, expected: str) -> NoReturn:
    raise InputError(f"{where} {got}; expected {expected}")
