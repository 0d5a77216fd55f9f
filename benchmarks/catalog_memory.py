"""Memory of writing a catalogue, and how much of it grows with the rows.

    python benchmarks/catalog_memory.py [--rows 1600000 6400000] [--formats parquet fits votable hats]

For each number of rows a run is made up in a folder, its parts as a task writes them (2,000 rows each: id, position,
z_phot, z_phot_std and a PDF of 100 bins), and each format is written by a process of its own, whose peak resident set
the operating system keeps. The slope is the growth of that peak by a row; holding the whole table would cost at least
`row_bytes` a row. `projected_mb_50m` is the larger peak and the slope up to 50 million rows. The last line is one JSON
object. The default numbers of rows give HATS files of the same size, so that its slope is not that of a file.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PART_ROWS, BINS = 2000, 100
FORMATS = ("parquet", "fits", "votable", "hats")
PAYLOAD = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "parts", "result_path": "results"}
WRITE = """
import resource, sys, skyfan
skyfan.open_run("sky/results", store=sys.argv[1]).catalog(sys.argv[2], sys.argv[3], allow_incomplete=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def make_run(store: Path, rows: int) -> int:
    """Write parts and reports as a run does, without a model; return the bytes of a row."""
    import msgspec

    from skyfan.keys import RunKeys
    from skyfan.manifest import encode_manifest
    from skyfan.partitions import PartitionRef
    from skyfan.payload import parse_payload
    from skyfan.predictions import build_part, column_types, encode_part
    from skyfan.storage import Store
    from skyfan.task import ModelRef, PartRef, Report, Task

    keys = RunKeys("results")
    bucket = Store(str(store)).bucket("sky", create="store")
    bucket.put(keys.payload, msgspec.json.encode(parse_payload(PAYLOAD, {})[0].to_mapping()))
    rng = np.random.default_rng(1)
    tasks = []
    model = ModelRef("made-up", "0" * 64)
    for rank in range(rows // PART_ROWS):
        ref = PartitionRef(f"parts/{rank + 1}.safetensors", 1, PART_ROWS, "0" * 64)
        columns = {
            "object_id": np.arange(PART_ROWS) + PART_ROWS * rank,
            "ra": rng.uniform(0, 360, PART_ROWS),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, PART_ROWS))),
        }
        outputs = {name: rng.uniform(0, 0.4, PART_ROWS).astype(np.float32) for name in ("z_phot", "z_phot_std")}
        outputs["pdf"] = rng.uniform(0, 1, (PART_ROWS, BINS)).astype(np.float32)
        table = build_part([(ref.key, PART_ROWS)], columns, outputs, np.zeros(PART_ROWS, np.uint16))
        data = encode_part(table, {"model": model.name})
        bucket.put(keys.part(rank), data)
        tasks.append(Task(rank, "sky", "results", "sky", (ref,), model, 256))
        part = PartRef(keys.part(rank), len(data), PART_ROWS, hashlib.sha256(data).hexdigest())
        report = Report(
            rank=rank,
            status="ok",
            attempt=1,
            partitions=(ref,),
            rows_in=PART_ROWS,
            rows_out=PART_ROWS,
            part=part,
            columns=column_types(table),
            model=model,
            batch_size=256,
        )
        bucket.put(keys.report(rank), msgspec.json.encode(report))
    bucket.put(keys.manifest, encode_manifest(tasks))
    return table.nbytes // PART_ROWS


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs=2, default=(1_600_000, 6_400_000), metavar="N")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    arguments = parser.parse_args()
    peaks: dict[str, list[float]] = {name: [] for name in arguments.formats}
    seconds: dict[str, list[float]] = {name: [] for name in arguments.formats}
    row_bytes = 0
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            row_bytes = make_run(Path(folder) / "store", rows)
            for name in arguments.formats:
                started = time.perf_counter()
                command = [sys.executable, "-c", WRITE, f"{folder}/store", f"{folder}/catalogue.{name}", name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peaks[name].append(float(done.stdout))
                seconds[name].append(round(time.perf_counter() - started, 1))
    few, many = arguments.rows
    found: dict[str, Any] = {"rows": [few, many], "row_bytes": row_bytes}
    for name, (low, high) in peaks.items():
        slope = (high - low) * 2**20 / (many - few)
        found[name] = {
            "peak_mb": [round(low), round(high)],
            "slope_bytes_per_row": round(slope, 1),
            "projected_mb_50m": round(high + max(slope, 0) * (50_000_000 - many) / 2**20),
            "seconds": seconds[name],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
