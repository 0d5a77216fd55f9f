"""A Lambda worker on this machine: the real package under Lambda's own client, beside the original's worker.

    python benchmarks/worker.py --peer PATH/cai_worker.py --record

The job is that of run.py: partitions of 25 MB (1,278 rows each) and a network of AstroMAE's shape with random weights.
In each round every way does one partition in a fresh process ("cold"); ours then does the others in the same process
("warm"). Seconds are wall clock from the start of the process to the answer; what Lambda itself takes to start an
environment, and the way to S3, are not in it: partitions and results are local files. Two products of seconds and
memory are given, neither a bill: `used` as the original's table has it (largest resident set), and one by 1,769 MB
configured. `--record` keeps the JSON line in benchmarks/results/.
"""

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import run as core

sys.path.insert(0, str(core.HERE.parent / "tests"))

from aws.events import items
from aws.runtime_api import RuntimeApi, running
from skyfan.aws import handlers, package
from skyfan.aws.wheels import fetch_wheels
from skyfan.storage import Store

Figures = dict[str, Any]

PYTHON = "3.13"
RUNTIME = ["awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0"]
CONFIGURED_MB = 1769
PHASES = ("model", "open", "hash", "read", "predict", "write")


def unpack(archives: Sequence[Path], folder: Path) -> Path:
    """Unzip everything into one folder, as Lambda does."""
    for archive in archives:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
    return folder


def interpreter() -> Path:
    """Return a Python of Lambda's version; it should have no packages of its own."""
    name = f"python{PYTHON}"
    found = [*(Path.home() / ".pyenv" / "versions").glob(f"{PYTHON}.*/bin/{name}"), shutil.which(name)]
    return Path(next(path for path in found if path))


def import_seconds(python: Path, tree: Path, rounds: int) -> float:
    """Return the median time of importing the handler in a fresh process, s."""
    code = "import time; t = time.perf_counter(); import skyfan.aws.handlers; print(time.perf_counter() - t)"
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}
    asked = [
        subprocess.run([python, "-c", code], env=environment, cwd=tree, capture_output=True, text=True, check=True)
        for _ in range(rounds)
    ]
    return round(statistics.median(float(done.stdout) for done in asked), 3)


def timed(api: RuntimeApi, event: Figures, folder: Path) -> Figures:
    """Let a function do one task; return the wall clock, what its report says, and what lies between the two."""
    started = time.perf_counter()
    answer = api.invoke(event)
    wall_s = time.perf_counter() - started
    assert answer.ok, answer.body
    task = event["task"]
    report = json.loads(
        (folder / task["bucket"] / task["result_path"] / "reports" / f"{task['rank']:05d}.json").read_bytes()
    )
    phases = sum(report["seconds"][name] for name in PHASES)
    return {
        "wall_s": wall_s,
        "overhead_ms": 1000 * (wall_s - phases),
        "first_prediction_s": report["first_prediction_s"],
        "peak_memory_mb": report["peak_memory_mb"],
    }


def run_worker(
    folder: Path, kind: str, number: int, *, python: Path, tree: Path, runtime: Path
) -> tuple[Figures, Figures]:
    """Do a run's tasks in one process; return the figures of the first task and the medians of the others."""
    payload = {
        "bucket": "bucket",
        "data_bucket": "bucket",
        "data_prefix": "25MB",
        "result_path": f"results/{kind}-{number}",
        "model": core.KINDS[kind],
        "batch_size": core.BATCH_SIZE,
    }
    begun = handlers.initialize({"request": {"payload": payload}, "execution": f"arn:{number}"}, None)
    events = items(begun, Store(str(folder)))
    started = time.perf_counter()
    with running(
        "skyfan.aws.handlers.infer",
        python=python,
        task_root=tree,
        runtime=runtime,
        environment={"SKYFAN_STORE": str(folder), "OMP_NUM_THREADS": "1"},
    ) as api:
        cold = timed(api, events[0], folder)
        cold["wall_s"] = time.perf_counter() - started
        warm = core.medians([timed(api, event, folder) for event in events[1:]])
    cold["gb_s_used"] = cold["wall_s"] * cold["peak_memory_mb"] / 1024
    cold["gb_s_configured"] = cold["wall_s"] * CONFIGURED_MB / 1024
    return cold, warm


def inside_ms(folder: Path) -> float:
    """Return what the handler itself takes besides its phases, from parse to return in this process: median, ms."""
    payload = {
        "bucket": "bucket",
        "data_bucket": "bucket",
        "data_prefix": "25MB",
        "result_path": "results/inside",
        "model": core.KINDS["int8"],
        "batch_size": core.BATCH_SIZE,
    }
    begun = handlers.initialize({"request": {"payload": payload}, "execution": "arn:inside"}, None)
    found = []
    for event in items(begun, Store(str(folder))):
        started = time.perf_counter()
        handlers.infer(event, None)
        wall_s = time.perf_counter() - started
        report = folder / "bucket" / "results" / "inside" / "reports" / f"{event['task']['rank']:05d}.json"
        seconds = json.loads(report.read_bytes())["seconds"]
        found.append(1000 * (wall_s - sum(seconds[name] for name in PHASES)))
    return round(statistics.median(found[1:]), 2)


def run_peer(folder: Path, peer: Path) -> Figures:
    """Do one partition the original's way, in a fresh process."""
    model = folder / "peer" / "model.pt"
    if not model.is_file():
        core.timed([core.PYTHON, str(peer), "make", str(model.parent), "--partitions", "1", "--rows", "8"])
    command = [core.PYTHON, str(peer), "run", str(folder / "bucket" / "25MB" / "1.pt"), str(model)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall_s = time.perf_counter() - started
    memory = json.loads(done.stdout.splitlines()[-1])["max_rss_mb"]
    return {"wall_s": wall_s, "peak_memory_mb": memory, "gb_s_used": wall_s * memory / 1024}


def measure(folder: Path, rounds: int, peer: Path | None) -> Figures:
    """Measure every way in turn, `rounds` times; return medians, and ratios within a round."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    built = package.build(folder / "package.zip", machine, PYTHON)
    tree = unpack([built.path], folder / "task")
    runtime = unpack(fetch_wheels(RUNTIME, machine, PYTHON), folder / "runtime")
    os.environ["SKYFAN_STORE"] = str(folder)
    python = interpreter()
    seen: dict[str, list[Figures]] = {}
    for number in range(rounds):
        for kind in core.KINDS:
            cold, warm = run_worker(folder, kind, number, python=python, tree=tree, runtime=runtime)
            seen.setdefault(f"{kind}_cold", []).append(cold)
            seen.setdefault(f"{kind}_warm", []).append(warm)
        if peer is not None:
            seen.setdefault("peer", []).append(run_peer(folder, peer))
        took = ", ".join(f"{name} {each[-1]['wall_s']:.2f} s" for name, each in seen.items())
        sys.stderr.write(f"round {number + 1}: {took}\n")
    figures: Figures = {name: core.medians(each) for name, each in seen.items()}
    for kind in core.KINDS if peer is not None else ():
        pairs = zip(seen["peer"], seen[f"{kind}_cold"], strict=True)
        figures[f"times_fewer_gb_s_{kind}"] = round(
            statistics.median(a["gb_s_used"] / b["gb_s_used"] for a, b in pairs), 1
        )
    figures["handler_overhead_ms"] = inside_ms(folder)
    figures["import_s"] = import_seconds(python, tree, 5)
    figures["package"] = {
        "unzipped_mb": round(built.unzipped_bytes / 2**20, 1),
        "zip_mb": round(built.size_bytes / 2**20, 1),
    }
    return figures


def main() -> None:
    """Measure, record, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="cai_worker.py, the original's way of working")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/DATE-worker.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        core.make_job(Path(folder))
        figures = measure(Path(folder), options.rounds, options.peer)
    now = dt.datetime.now(dt.UTC)
    processor = next(
        (line.split(":")[1].strip() for line in core.cpuinfo() if line.startswith("model name")), "unknown"
    )
    machine = {"processor": processor, "cores": os.cpu_count(), "python": PYTHON}
    record = {"date": f"{now:%Y-%m-%d}", "machine": machine, "rounds": options.rounds, **figures}
    print(json.dumps(record))
    if options.record:
        (core.HERE / "results" / f"{now:%Y-%m-%d}-worker.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
