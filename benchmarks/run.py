"""Speed and memory of a run on this machine, side by side with the least and with the original's way.

    make bench                                   # all but the peer
    make bench ARGS='--peer PATH/cai_worker.py'  # also the original's way of working, one cold process per partition

The job is that of jobs.py: 10 partitions of 25 MB (12,780 rows), a network of AstroMAE's shape with random weights,
float32 and int8. Every figure is of whole processes, cold start to end. The ways are measured in turn, `--rounds`
times; a ratio is the median over the rounds of the ratio within a round. The last line is one JSON object; `--record`
keeps it in benchmarks/results/.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs import (
    BATCH_SIZE,
    HERE,
    KINDS,
    PARTITIONS,
    PYTHON,
    Figures,
    in_turn,
    make_job,
    medians,
    publish,
    ratio,
    run_job,
    timed,
)


def run_skyfan(folder: Path, kind: str, prefix: str = "25MB") -> Figures:
    """Time `skyfan run`; add what its summary says."""
    asked = {"data_prefix": prefix, "model": KINDS[kind]}
    seconds, summary = run_job(folder, f"{prefix}-{kind}", asked)
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
    seen = in_turn(ways, rounds)
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
    processor = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), "unknown")
    machine = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()}
    publish("core", machine, options.rounds, figures, keep=options.record)


def cpuinfo() -> list[str]:
    """Return the lines of /proc/cpuinfo, none elsewhere than on Linux."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


if __name__ == "__main__":
    main()
