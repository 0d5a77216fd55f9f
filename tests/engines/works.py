"""What the engines' workers do in tests: fail on purpose, as a plan says."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable

from skyfan.errors import ModelError, PartitionError, StoreError


def scripted(context: str) -> Callable[[bytes, int], bytes]:
    """Do as a plan says, `{"0": ["fail", "ok"]}`; items that are not in it are ok, and the last step repeats."""
    plan: dict[str, list[str]] = json.loads(context)
    loaded = os.getpid()

    def work(item: bytes, attempt: int) -> bytes:
        steps = plan.get(item.decode(), ["ok"])
        _act(steps[min(attempt, len(steps)) - 1])
        return json.dumps({"item": item.decode(), "attempt": attempt, "pid": os.getpid(), "loaded": loaded}).encode()

    return work


def _act(step: str) -> None:
    match step:
        case "ok":
            return
        case "fail":
            raise StoreError("the store failed on purpose")
        case "bad":
            raise PartitionError("the partition is bad on purpose")
        case "model":
            raise ModelError("the model is bad on purpose")
        case "bug":
            raise ZeroDivisionError("a bug on purpose")
        case "memory":
            raise MemoryError
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            print("these are my last words", file=sys.stderr, flush=True)
            os._exit(7)
        case "noise":
            print("noise on stdout", flush=True)
            print("noise on stderr", file=sys.stderr, flush=True)
        case "hang":
            time.sleep(3600)
        case _:
            time.sleep(float(step))


def broken(context: str) -> Callable[[bytes, int], bytes]:
    """Fail before the first item."""
    raise RuntimeError(f"cannot start: {context}")
