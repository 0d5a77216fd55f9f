"""Speed and memory of a run on this machine, side by side with the least and with the original's way.

    make bench                                   # all but the peer
    make bench ARGS='--peer PATH/cai_worker.py'  # also the original's way of working, one cold process a partition

The job is 10 partitions of 25 MB (12,780 rows) of random images, as `.pt` files that torch wrote, and a network of
AstroMAE's shape with random weights, float32 and int8. Every figure is of whole processes, cold start to end. The ways
are measured in turn, `--rounds` times; a ratio is the median over the rounds of the ratio within a round. The last line
is one JSON object; `--record` keeps it in benchmarks/results/.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYTHON = sys.executable
PARTITIONS, ROWS = 10, 1278
BATCH_SIZE = 32
KINDS = {"float32": "model.onnx", "int8": "model-int8.onnx"}

Figures = dict[str, Any]


def make_job(folder: Path) -> None:
    """Write the partitions and the models: folder/bucket/25MB/*.pt, /100MB/*.pt, /model.onnx, /model-int8.onnx."""
    import torch
    from torch.utils.data import TensorDataset

    from skyfan.photoz.export import export_random

    generator = torch.Generator().manual_seed(7)
    for prefix, count, rows in (("25MB", PARTITIONS, ROWS), ("100MB", 2, 4 * ROWS)):
        (folder / "bucket" / prefix).mkdir(parents=True)
        for number in range(1, count + 1):
            data = TensorDataset(
                torch.randn(rows, 5, 32, 32, generator=generator),
                torch.rand(rows, 5, generator=generator, dtype=torch.float64) * 6 + 14,
                torch.rand(rows, generator=generator) * 0.4,
            )
            torch.save(data, folder / "bucket" / prefix / f"{number}.pt")
    export_random(folder / "bucket" / KINDS["float32"])


def timed(command: list[str]) -> float:
    """Return the wall clock of a process, s."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def run_skyfan(folder: Path, kind: str, prefix: str = "25MB") -> Figures:
    """Time `skyfan run`; add what its summary says."""
    payload = {
        "bucket": "bucket",
        "data_bucket": "bucket",
        "data_prefix": prefix,
        "result_path": f"out/{prefix}-{kind}",
    }
    path = folder / "payload.json"
    path.write_text(json.dumps(payload | {"model": KINDS[kind], "batch_size": BATCH_SIZE}))
    command = [
        PYTHON,
        "-m",
        "skyfan",
        "run",
        str(path),
        "--store",
        str(folder),
        "--overwrite",
        "--quiet",
        "--workers",
        "2",
    ]
    seconds = timed(command)
    summary = json.loads((folder / "bucket" / payload["result_path"] / "summary.json").read_text())
    assert summary["complete"]
    return {
        "wall_s": seconds,
        "worker_peak_memory_mb": summary["worker_peak_memory_mb"]["max"],
        "first_prediction_s": summary["first_prediction_s"]["max"],
        "worker_seconds": summary["worker_seconds"],
        # what two workers did not spend on tasks: handing out, and waiting for the last to end
        "idle_and_overhead_ms_per_task": 1000
        * (2 * summary["drive"]["map_wall_s"] - summary["worker_seconds"]["total"])
        / PARTITIONS,
    }


def run_bare(folder: Path, kind: str) -> Figures:
    """Time the bare loop."""
    model, data = folder / "bucket" / KINDS[kind], folder / "bucket" / "25MB"
    return {
        "wall_s": timed([PYTHON, str(HERE / "bare_loop.py"), str(model), str(data), "--batch-size", str(BATCH_SIZE)])
    }


def run_peer(folder: Path, peer: Path) -> Figures:
    """Time the original's way: a cold process for each partition, one after the other, each with all cores."""
    model = folder / "peer" / "model.pt"
    if not model.is_file():
        timed([PYTHON, str(peer), "make", str(model.parent), "--partitions", "1", "--rows", "8"])
    partitions = sorted((folder / "bucket" / "25MB").glob("*.pt"))
    return {"wall_s": sum(timed([PYTHON, str(peer), "run", str(path), str(model)]) for path in partitions)}


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of every figure over the rounds."""
    return {
        name: round(statistics.median(each[name] for each in rounds), 3)
        for name, value in rounds[0].items()
        if isinstance(value, int | float)
    }


def scale(what: str, count: int) -> Figures:
    """Run one measurement of scales.py."""
    # the workers that it starts must find it as a module
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [PYTHON, str(HERE / "scales.py"), what, "--tasks", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(folder: Path, rounds: int, peer: Path | None) -> Figures:
    """Measure everything; return it by name."""
    ways: dict[str, Callable[[], Figures]] = {}
    for kind in KINDS:
        ways[f"skyfan_{kind}"] = lambda kind=kind: run_skyfan(folder, kind)
        ways[f"bare_{kind}"] = lambda kind=kind: run_bare(folder, kind)
    if peer is not None:
        ways["peer"] = lambda: run_peer(folder, peer)
    seen: dict[str, list[Figures]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            seen[name].append(way())
            sys.stderr.write(f"round {number + 1} {name}: {seen[name][-1]['wall_s']:.2f} s\n")
    figures: Figures = {name: medians(each) for name, each in seen.items()}
    for kind in KINDS:
        figures[f"skyfan_{kind}_100MB"] = medians([run_skyfan(folder, kind, "100MB")])
        figures[f"ratio_skyfan_to_bare_{kind}"] = ratio(seen, f"skyfan_{kind}", f"bare_{kind}")
        if peer is not None:
            figures[f"times_faster_than_peer_{kind}"] = ratio(seen, "peer", f"skyfan_{kind}")
    figures["help_s"] = round(statistics.median(timed([PYTHON, "-m", "skyfan", "--help"]) for _ in range(7)), 3)
    figures |= {"initialize": scale("initialize", 100_000), "overhead": scale("overhead", 10_000)}
    figures["resume"] = scale("resume", 1_000)
    return figures


def ratio(seen: dict[str, list[Figures]], one: str, other: str) -> float:
    """Return the median over the rounds of the ratio of two ways' wall clocks in the same round."""
    pairs = zip(seen[one], seen[other], strict=True)
    return round(statistics.median(a["wall_s"] / b["wall_s"] for a, b in pairs), 3)


def main() -> None:
    """Measure, record, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="cai_worker.py, the original's way of working")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/DATE-core.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_job(Path(folder))
        figures = measure(Path(folder), options.rounds, options.peer)
    now = dt.datetime.now(dt.UTC)
    processor = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), "unknown")
    record = {
        "date": f"{now:%Y-%m-%d}",
        "machine": {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": options.rounds,
        "rows": PARTITIONS * ROWS,
        **figures,
    }
    print(json.dumps(record))
    if options.record:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / f"{now:%Y-%m-%d}-core.json").write_text(json.dumps(record, indent=2) + "\n")


def cpuinfo() -> list[str]:
    """Return the lines of /proc/cpuinfo, none elsewhere than on Linux."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


if __name__ == "__main__":
    main()
