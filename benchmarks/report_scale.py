"""What `skyfan report` costs for a run of 10,000 tasks: seconds, peak memory, size of the file.

    python benchmarks/report_scale.py --tasks 10000 --record

The run is a real one: that many tiny partitions of random images with redshifts, and the shipped model on two workers.
What the images show does not matter here; every part, report and plot is of the usual form. Then the command makes the
run's report with everything in it (proof by hashes aside), in a process of its own; seconds are wall clock from the
start of that process to its end, peak memory is its largest resident set. The last line is one JSON object; `--record`
keeps it in benchmarks/results/, with the date and the machine, and the load that was on it before the first round:
seconds are to be compared only where that is near zero.
"""

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import skyfan
from skyfan.formats import safetensors
from skyfan.host import describe_host
from skyfan.keys import index_of, partition_of
from skyfan.partitions import Index, PartitionRef
from skyfan.storage import Store

ASKED = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "data", "result_path": "results/many"}
GOALS = {"seconds": 10.0, "peak_memory_mb": 500.0, "file_mb": 5.0}
RESULTS = Path(__file__).resolve().parent / "results"
MB_BYTES = 1024**2
REPORT = """
import sys
from skyfan.cli.reports import report
from skyfan.measure import peak_memory_mb
report(sys.argv[1:], standalone_mode=False)
print(peak_memory_mb())
"""


def rows_of(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the tensors of one tiny partition."""
    return {
        "image": rng.normal(scale=0.1, size=(rows, 5, 32, 32)).astype(np.float32),
        "magnitude": rng.uniform(15, 18, size=(rows, 5)).astype(np.float32),
        "redshift": rng.uniform(0.02, 0.3, size=rows).astype(np.float32),
        "object_id": rng.integers(1, 2**62, size=rows),
        "ra": rng.uniform(0, 360, size=rows),
        "dec": rng.uniform(-90, 90, size=rows),
    }


def make_survey(folder: Path, partitions: int, rows: int) -> None:
    """Write partitions and their index."""
    rng = np.random.default_rng(0)
    bucket = Store(str(folder)).bucket("sky", create="store")
    refs = []
    for number in range(1, partitions + 1):
        pieces = safetensors.encode(rows_of(rows, rng), {"bands": "ugriz"})
        bucket.put(partition_of("data", number, ".safetensors"), pieces)
        refs.append(
            PartitionRef(f"{number}.safetensors", sum(len(memoryview(piece).cast("B")) for piece in pieces), rows)
        )
    bucket.put(index_of("data"), Index(1, partitions * rows, True, tuple(refs)).encode())


def report(folder: Path) -> dict[str, float]:
    """Make the report in a process of its own."""
    out = folder / "report.html"
    command = [sys.executable, "-c", REPORT, "sky/results/many", "--store", str(folder), "--out", str(out)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "peak_memory_mb": float(done.stdout.splitlines()[-1]),
        "file_mb": round(out.stat().st_size / MB_BYTES, 3),
    }


def main() -> None:
    """Make the run, then its report, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=8, help="of a partition")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the run is, or is to be, kept; default: a temporary folder")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "sky" / "data").is_dir():
            make_survey(folder, options.tasks, options.rows)
        run = skyfan.run(ASKED, store=folder, workers=2)
        assert run.summary is not None
        assert run.summary.complete
        before = os.getloadavg()[0]
        rounds = [report(folder) for _ in range(options.rounds)]
    figures = {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "machine": {"processor": describe_host(), "python": platform.python_version()},
        "skyfan": skyfan.__version__,
        "others_load": round(before, 2),
        "tasks": options.tasks,
        "rows": options.tasks * options.rows,
        "rounds": rounds,
        **{name: statistics.median(item[name] for item in rounds) for name in GOALS},
        "goals": GOALS,
    }
    if options.record:
        path = RESULTS / f"{figures['date']}-report.json"
        path.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
