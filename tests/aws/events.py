"""What the state machine would hand to our functions."""

import json
from typing import Any

from skyfan.aws import handlers
from skyfan.storage import Store

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:skyfan:one"


def begin(payload: object, *, execution: str = EXECUTION, **request: object) -> dict[str, Any]:
    """Call Initialize as the state machine would, for this payload."""
    return handlers.initialize({"request": {"payload": payload, **request}, "execution": execution}, None)


def items(begun: dict[str, Any], store: Store) -> list[dict[str, Any]]:
    """Return what the state machine would start its tasks with."""
    data = store.bucket(begun["bucket"]).get(begun["pending_key"])
    common = {name: begun[name] for name in ("started_at", "max_attempts")}
    return [common | {"task": task, "script": begun["script"], "retry_count": 0} for task in json.loads(data or b"")]
