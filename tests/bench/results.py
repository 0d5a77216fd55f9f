"""Results as the original system leaves them: a tree of combined_data.json."""

import csv
import json
from pathlib import Path
from typing import Any

from skyfan.bench.importing import Imported, import_results

with (Path(__file__).parents[1] / "data" / "seed-performance.csv").open(newline="") as _file:
    SEED = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(_file)]
"""The eight rows of the original's table."""
PLACE = "result-partition-25MB/1GB/1"
"""Where the original stored a run of 41 partitions."""


def record(number: int = 1, folder: str = "25MB", **changes: Any) -> dict[str, Any]:
    """Return the record of the worker that read partition `number`; a key changed to ... is left out."""
    keys = {
        "total_cpu_time (seconds)": 6.0,
        "total_cpu_memory (MB)": 1780.0,
        "execution_time (seconds/batch)": 1.2,
        "num_batches": 5,
        "batch_size": 256,
        "device": "cpu",
        "throughput_bps": 3.5e7,
        "sample_persec": 213.0,
        "result_path": "scaling/result-partition-25MB/1GB/1",
        "data_path": f"{folder}/{number}.pt",
    }
    return {key: value for key, value in (keys | changes).items() if value is not ...}


def records(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Return the records of that many workers."""
    return [record(number, **changes) for number in range(1, count + 1)]


def write(root: Path, place: str, content: Any) -> Path:
    """Store records, or any text, as a result."""
    path = root / place / "combined_data.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_seed(root: Path) -> None:
    """Store results whose means are those of the original's table: half of the workers are slower, half are faster."""
    for row in SEED:
        mb, workers = int(row["partition_mb"]), int(row["file_limit"])
        size = "12.6GB" if row["data_size_gb"] > 10 else "8GB"
        place = f"scaling/result-partition-{mb}MB/{size}/2"
        found = records(workers, result_path=place)
        for number, item in enumerate(found, 1):
            # the same above as below the mean; the one in the middle of an odd number is at it
            side = 0 if workers % 2 and number == workers else (-1) ** number
            item["total_cpu_time (seconds)"] = row["avg_runtime_s"] * (1 + 0.2 * side)
            item["total_cpu_memory (MB)"] = row["memory_mb"] * (1 - 0.1 * side)
            item["data_path"] = f"{mb}MB/{number}.pt"
        write(root, place, found)


def one(root: Path, **options: Any) -> Imported:
    """Import a folder of one run."""
    (run,) = import_results(root, **options).runs
    return run


def given_records(root: Path, content: Any, place: str = PLACE) -> Imported:
    """Store records, or any text, as the only result below a folder, and import it."""
    write(root, place, content)
    return one(root)
