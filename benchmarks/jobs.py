"""The job that benchmarks time, and how: whole processes from a cold start, ways in turn, ratios within a round.

It is 10 partitions of 25 MB (12,780 rows) of random images, as `.pt` files that torch wrote, and a network of
AstroMAE's shape with random weights, float32 and int8; two workers of one thread.
"""

import datetime as dt
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
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


def run_job(folder: Path, name: str, asked: Figures, *options: str) -> tuple[float, Figures]:
    """Time `skyfan run` over the job, s; return that and its summary.

    Parameters
    ----------
    folder : Path
        What `make_job` wrote.
    name : str
        Folder of the results, below folder/bucket/out/.
    asked : dict
        Keys of the payload, beside those that all runs have.
    *options : str
        Of the command, beside those that all runs have.
    """
    payload = {"bucket": "bucket", "data_bucket": "bucket", "data_prefix": "25MB", "result_path": f"out/{name}"}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(payload | {"batch_size": BATCH_SIZE} | asked))
    command = [PYTHON, "-m", "skyfan", "run", str(path), "--store", str(folder)]
    seconds = timed([*command, "--overwrite", "--quiet", "--workers", "2", *options])
    summary = json.loads((folder / "bucket" / "out" / name / "summary.json").read_text())
    assert summary["complete"], summary["problems"]
    assert summary["drive"]["workers"] == 2
    return seconds, summary


def in_turn(ways: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, list[Figures]]:
    """Measure every way once, then every way again; return the figures of each, a round after the other."""
    seen: dict[str, list[Figures]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            seen[name].append(way())
            sys.stderr.write(f"round {number + 1} {name}: {seen[name][-1]['wall_s']:.2f} s\n")
    return seen


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of every figure over the rounds."""
    return {
        name: round(statistics.median(each[name] for each in rounds), 3)
        for name, value in rounds[0].items()
        if isinstance(value, int | float)
    }


def ratio(seen: dict[str, list[Figures]], one: str, other: str, figure: str = "wall_s") -> float:
    """Return the median over the rounds of the ratio of two ways' figures, wall clocks or others, in the same round."""
    pairs = zip(seen[one], seen[other], strict=True)
    return round(statistics.median(a[figure] / b[figure] for a, b in pairs), 3)


def publish(kind: str, machine: Any, rounds: int, figures: Figures, *, keep: bool) -> None:
    """Print the record of a benchmark over the job as one JSON line; keep it as benchmarks/results/DATE-KIND.json."""
    date = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    record = {"date": date, "machine": machine, "rounds": rounds, "rows": PARTITIONS * ROWS, **figures}
    print(json.dumps(record))
    if keep:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / f"{date}-{kind}.json").write_text(json.dumps(record, indent=2) + "\n")
