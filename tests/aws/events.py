"""What the state machine would hand to our functions."""

import json
from typing import Any

from skyfan.storage import Store


def items(begun: dict[str, Any], store: Store) -> list[dict[str, Any]]:
    """Return what the state machine would start its tasks with."""
    data = store.bucket(begun["bucket"]).get(begun["pending_key"])
    common = {name: begun[name] for name in ("started_at", "max_attempts")}
    return [common | {"task": task, "retry_count": 0} for task in json.loads(data or b"")]
