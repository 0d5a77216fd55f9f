"""The conditions of a Choice, JSONPath and JSONata, as a person reads them."""

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 20
"""Of And, Or and Not in one another; what lies deeper is shown as an ellipsis."""
MAX_LENGTH = 500
ELLIPSIS = "…"

_SIGNS = {
    "Equals": "=",
    "LessThan": "<",
    "GreaterThan": ">",
    "LessThanEquals": "≤",
    "GreaterThanEquals": "≥",
    "Matches": "matches",
}
_COMPARISON = re.compile(
    r"(?:String|Numeric|Timestamp|Boolean)(Equals|LessThanEquals|LessThan|GreaterThanEquals|GreaterThan|Matches)(Path)?"
)
_TESTS = {
    "IsNull": "null",
    "IsPresent": "present",
    "IsNumeric": "a number",
    "IsString": "a string",
    "IsBoolean": "true or false",
    "IsTimestamp": "a time",
}
_BRACED = re.compile(r"\{%(.*)%\}", re.DOTALL)
# a quoted string, which stays as it is, or a name that JSONata knows the input or the context by
_JSONATA = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|\$states\.(input|context|result)\b(\.?)|\s+""")


def condition_text(rule: Mapping[str, Any]) -> str:
    """Return the condition of one rule of a Choice in words.

    Parameters
    ----------
    rule : mapping
        Such as `{"Variable": "$.pending", "NumericGreaterThan": 0, "Next": "InferAll"}`.

    Returns
    -------
    str
        `pending > 0`; the rule's own text where it has a form that is not known.
    """
    text = jsonata_text(rule["Condition"]) if "Condition" in rule else _rule_text(rule, 0)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + ELLIPSIS


def jsonata_text(expression: Any) -> str:
    """Return a JSONata expression, `{% $states.input.pending > 0 %}`, as `pending > 0`; other values as they are."""
    if not isinstance(expression, str):
        return value_text(expression)
    braced = _BRACED.fullmatch(expression.strip())
    return _JSONATA.sub(_plain, braced[1].strip() if braced else expression)


def path_text(path: Any) -> str:
    """Return a JSONPath, `$.pending`, as `pending`; `$` as `the input`, `$$.Execution.Id` as `context Execution.Id`."""
    text = path if isinstance(path, str) else value_text(path)
    if text in {"$", "$$"}:
        return "the input" if text == "$" else "the context"
    if text.startswith("$$."):
        return f"context {text[3:]}"
    return text.removeprefix("$.").removeprefix("$")


def value_text(value: Any) -> str:
    """Return a JSON value as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ELLIPSIS


def _rule_text(rule: Any, depth: int) -> str:
    if not isinstance(rule, Mapping) or depth > MAX_DEPTH:
        return ELLIPSIS
    for name in ("And", "Or"):
        parts = rule.get(name)
        if isinstance(parts, list):
            return f" {name.lower()} ".join(_part_text(part, depth) for part in parts)
    if "Not" in rule:
        inner = rule["Not"]
        return _negated(inner) or f"not ({_rule_text(inner, depth + 1)})"
    return _comparison(rule)


def _part_text(part: Any, depth: int) -> str:
    """Return one side of an and or or, in brackets where it is one itself."""
    text = _rule_text(part, depth + 1)
    return f"({text})" if isinstance(part, Mapping) and ("And" in part or "Or" in part) else text


def _negated(rule: Any) -> str:
    """Return the opposite of a rule where that has a sign of its own, else an empty string."""
    found = _parts(rule) if isinstance(rule, Mapping) else None
    if found is None:
        return ""
    name, operator, value = found
    if operator == "=":
        return f"{name} ≠ {value}"
    return f"{name} is not {value}" if operator == "is" else f"{name} is {value}" if operator == "is not" else ""


def _comparison(rule: Mapping[str, Any]) -> str:
    found = _parts(rule)
    if found:
        return " ".join(found)
    return value_text({key: value for key, value in rule.items() if key not in {"Next", "Comment", "Assign", "Output"}})


def _parts(rule: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return variable, operator and value of a comparison."""
    name = path_text(rule.get("Variable", "$"))
    for key, value in rule.items():
        comparison = _COMPARISON.fullmatch(key)
        if comparison:
            sign = _SIGNS[comparison[1]]
            return name, sign, path_text(value) if comparison[2] else value_text(value)
        if key in _TESTS:
            return name, "is" if value is True else "is not", _TESTS[key]
    return None


def _plain(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    if not found[2]:
        return " "
    if found[2] == "input":
        return "" if found[3] else "the input"
    return f"{found[2]} " if found[3] else f"the {found[2]}"
