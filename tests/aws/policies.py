"""Policies as IAM evaluates them, and the stack that those under test are printed for."""

import re
from collections.abc import Mapping
from typing import Any

PLACE = {"stack": "skyfan", "account": "123456789012", "region": "us-east-1"}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for operator, tests in condition.items():
        for key, expected in tests.items():
            if key not in context:
                if operator.endswith("IfExists"):
                    continue
                return False
            if not any(matches(pattern, context[key]) for pattern in as_list(expected)):
                return False
    return True


def allows(document: Mapping[str, Any], action: str, resource: str, **context: str) -> bool:
    """Evaluate a policy, as IAM does, for one request."""
    known = {"aws:RequestedRegion": "us-east-1"} | {key.replace("_", ":"): value for key, value in context.items()}
    return any(
        action in as_list(statement["Action"])
        and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
        and holds(statement.get("Condition", {}), known)
        for statement in document["Statement"]
    )
