"""What skyfan itself costs where there are many tasks: planning, handing out, resuming.

    python benchmarks/scales.py initialize --partitions 100000
    python benchmarks/scales.py overhead --tasks 10000
    python benchmarks/scales.py resume --tasks 1000

Each prints one JSON line. `initialize` plans over that many (tiny) partitions, with an index; `overhead` sends empty
tasks through the local engine and the map's rules; `resume` runs a payload whose tasks are all done, which only has to
find that out.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from skyfan import models, stages
from skyfan.engines.base import Work
from skyfan.engines.local import LocalEngine
from skyfan.formats import safetensors
from skyfan.keys import index_of, partition_of
from skyfan.mapping import Policy, fan_out
from skyfan.measure import peak_memory_mb
from skyfan.partitions import Index, PartitionRef
from skyfan.payload import parse_payload
from skyfan.storage import Store

ASKED = {"bucket": "b", "data_bucket": "b", "data_prefix": "data", "result_path": "out"}


def survey(folder: Path, partitions: int) -> Store:
    """Make partitions of one row each, and their index."""
    store = Store(str(folder))
    bucket = store.bucket("b", create="store")
    content = b"".join(bytes(piece) for piece in safetensors.encode(one_row(), {}))
    (folder / "b" / "data").mkdir(parents=True)
    for number in range(1, partitions + 1):
        (folder / "b" / partition_of("data", number, ".safetensors")).write_bytes(content)
    refs = tuple(PartitionRef(f"{number}.safetensors", len(content), 1) for number in range(1, partitions + 1))
    bucket.put(index_of("data"), Index(1, partitions, True, refs).encode())
    return store


def one_row() -> dict[str, np.ndarray]:
    """Return a partition of one galaxy."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(1, 5, 32, 32)).astype(np.float32),
        "magnitude": rng.uniform(15, 18, size=(1, 5)).astype(np.float32),
    }


def initialize(count: int, folder: Path) -> dict[str, float]:
    """Time Initialize."""
    store = survey(folder, count)
    payload, _ = parse_payload(ASKED)
    started = time.perf_counter()
    plan = stages.initialize(payload, store)
    seconds = time.perf_counter() - started
    assert len(plan.tasks) == count
    return {"partitions": count, "initialize_s": round(seconds, 3), "peak_memory_mb": peak_memory_mb()}


def nothing(context: str) -> Callable[[bytes, int], bytes]:
    """Return a task that does nothing."""
    return lambda item, attempt: b""


def overhead(count: int, folder: Path) -> dict[str, float]:
    """Time empty tasks, once the workers are up."""
    with LocalEngine(Work("scales:nothing"), 2, 60.0) as engine:
        fan_out(engine, dict.fromkeys(range(4), b""), Policy(), lambda event: None)
        started = time.perf_counter()
        mapped = fan_out(engine, dict.fromkeys(range(count), b"x" * 400), Policy(), lambda event: None)
        seconds = time.perf_counter() - started
    assert mapped.succeeded == count
    return {"tasks": count, "overhead_ms_per_task": round(1000 * seconds / count, 4)}


def resume(count: int, folder: Path) -> dict[str, float]:
    """Time a run that finds every task done, as a whole process."""
    import subprocess
    import sys

    survey(folder, count)
    (folder / "payload.json").write_text(json.dumps(ASKED))
    command = [sys.executable, "-m", "skyfan", "run", str(folder / "payload.json"), "--store", str(folder), "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"tasks": count, "resume_s": round(time.perf_counter() - started, 3)}


def main() -> None:
    """Measure one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["initialize", "overhead", "resume"])
    parser.add_argument("--partitions", "--tasks", type=int, dest="count", required=True)
    options = parser.parse_args()
    assert models.shipped(), "no model ships with this checkout"
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(globals()[options.what](options.count, Path(folder))))


if __name__ == "__main__":
    main()
