"""How long and how dear: curves from one partition to 20 billion galaxies, and how far the simulator can be trusted.

    python benchmarks/scale_curves.py            # simulated curves only: prints, some minutes
    python benchmarks/scale_curves.py --record   # also the result file and the figures of docs/scale.md
    python benchmarks/scale_curves.py --measure  # first what is measured here: runs of the shipped model, some minutes

`ends` is what a run takes beside the work of its tasks, from runs over tiny partitions. `shipped` is the shipped model
on partitions of 25 MB. `held` is measured / predicted, of runs between two short ones that their speed is taken from.
Each is measured / predicted wall clock of the map and of the run, and the change of the machine's own speed meanwhile.
`exact` is a map that is played through, against the same with its middle reckoned. The rest is simulated: nothing of it
was run on AWS. Without --measure, `ends`, `shipped` and `held` are kept as they were recorded. The last line is one
JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scales
from msgspec import structs
from scale_page import CONCURRENCY, RESULT, SIZES, STEADY, Figures, draw, write_page

import skyfan
from skyfan import keys
from skyfan.estimating.basis import aws_basis, local_basis
from skyfan.estimating.bill import Setup
from skyfan.estimating.fleet import Lambdas
from skyfan.estimating.outlook import Outlook, outlook
from skyfan.estimating.place import Cloud, Machine
from skyfan.estimating.simulator import Work, simulate
from skyfan.estimating.volume import Volume
from skyfan.formats import safetensors
from skyfan.host import describe_host
from skyfan.prices import load_prices
from skyfan.profiling.profile import Profile, profile_of_reports
from skyfan.survey import parse_size

SEED = 0
PRICES = load_prices()
ROW_BYTES = 20_520
MEMORY_MB = 1769
DATA = ("1GB", "4GB", "12.61GB", "32GB", "100GB", "256GB", "1TB", "4TB", "10TB", "40TB", "100TB", "400TB")
"""More than some 10 TB in partitions of 25 MB takes several runs: Summarize has 15 minutes. The map is that of all."""
GALAXIES = 20e9


def imagined(concurrency: int, children: str = "EXPRESS", **wanted: Any) -> Outlook:
    """Reckon a survey that is made up, with the shipped model, on an account that has as much as is asked for."""
    volume = Volume.imagined(row_bytes=ROW_BYTES, **wanted)
    basis = aws_basis(None, None, batch_size=32, threads=1, memory_mb=MEMORY_MB)
    setup = Setup(memory_mb=MEMORY_MB, architecture="arm64", children=children)
    return outlook(volume, basis, Cloud(setup, concurrency, concurrency), PRICES, seed=SEED)


def figures(found: Outlook, times: int = 1) -> Figures:
    """Return what is kept of an outlook; `times` of the same, one after the other."""
    return {
        "runs": times,
        "tasks": found.tasks * times,
        "rows": found.rows * times,
        "bytes": found.bytes_in * times,
        "task_s": round(found.task_s, 3),
        "workers": found.workers,
        "started": found.started,
        "map_s": [round(value * times, 1) for value in structs.astuple(found.map_wall_s)],
        "run_s": [round(value * times, 1) for value in structs.astuple(found.whole_run_s)],
        "initialize_s": round(found.initialize_s * times, 1),
        "summarize_s": round(found.summarize_s * times, 1),
        "utilisation": round(found.utilisation, 3),
        "usd": [
            round(float(bill.total_usd) * times, 4) for bill in (found.cost.low, found.cost.typical, found.cost.high)
        ],
        "warnings": list(found.warnings),
    }


def curves() -> list[Figures]:
    """Reckon data size x partition size x concurrency."""
    return [
        {"data": data, "partition": size, "concurrency": concurrency}
        | figures(imagined(concurrency, data_bytes=parse_size(data), partition_bytes=parse_size(size)))
        for concurrency in CONCURRENCY
        for size in SIZES
        for data in DATA
    ]


def table() -> dict[str, Figures]:
    """Reckon the sizes that people ask for."""
    mb25, gb1, runs = parse_size("25MB"), parse_size("1GB"), 40
    wanted = {
        "12.6 GB, 25 MB": (1_000, {"rows": 659_817, "partition_bytes": mb25}),
        "1 TB, 25 MB, 1,000 at a time": (1_000, {"data_bytes": parse_size("1TB"), "partition_bytes": mb25}),
        "1 TB, 25 MB, 10,000 at a time": (10_000, {"data_bytes": parse_size("1TB"), "partition_bytes": mb25}),
        "10,240 tasks of 25 MB, 10,240 at a time": (
            10_240,
            {"rows": 10_240 * (mb25 // ROW_BYTES), "partition_bytes": mb25},
        ),
        "10,240 tasks of 1 GB, 10,240 at a time": (
            10_240,
            {"rows": 10_240 * (gb1 // ROW_BYTES), "partition_bytes": gb1},
        ),
    }
    found = {name: figures(imagined(concurrency, **asked)) for name, (concurrency, asked) in wanted.items()}
    part = imagined(10_000, rows=GALAXIES / runs, partition_bytes=mb25)
    found[f"20 billion galaxies, 25 MB, {runs} runs"] = figures(part, runs)
    whole = imagined(10_000, "STANDARD", rows=GALAXIES, partition_bytes=gb1)
    found["20 billion galaxies, 1 GB, one run"] = figures(whole)
    return found


def ramp() -> dict[str, list[tuple[float, int]]]:
    """Return the tasks under way over time: 10,240 tasks asked for at once, short ones and long ones."""
    found = {}
    for size in ("25MB", "100MB", "1GB"):
        rows = 10_240 * (parse_size(size) // ROW_BYTES)
        found[size] = list(imagined(10_240, rows=rows, partition_bytes=parse_size(size)).curve)
    return found


def exact() -> list[Figures]:
    """Play a million tasks through, and the same with the middle reckoned; and time it."""
    found = []
    for slots in (1_000, 5_000):
        work = Work(task_s=(2.2,), tasks=1_000_000, spread=0.25, failure_share=0.001)
        fleet = Lambdas(concurrency=slots, account_concurrency=slots, cold_start_s=1.0)
        for seed in range(3):
            started = time.perf_counter()
            whole = simulate(work, fleet, seed)
            between = time.perf_counter()
            part = simulate(work, fleet, seed, most=100_000)
            found.append(
                {
                    "concurrency": slots,
                    "seed": seed,
                    "played": part.played,
                    "map_off": round(part.map_s / whole.map_s - 1, 5),
                    "busy_off": round(part.busy_s / whole.busy_s - 1, 5),
                    "exact_s": round(between - started, 2),
                    "reckoned_s": round(time.perf_counter() - between, 2),
                }
            )
    started = time.perf_counter()
    simulate(Work(task_s=(2.2,), tasks=10_240, spread=0.25), Lambdas(concurrency=10_240, account_concurrency=10_240))
    return [*found, {"tasks": 10_240, "exact_s": round(time.perf_counter() - started, 3)}]


def ends(folder: Path) -> Figures:
    """Measure what a run takes beside its tasks, a tiny partition each, one worker."""
    found: Figures = {}
    for count in (200, 1_000, 3_000):
        (folder / str(count)).mkdir()
        store = scales.survey(folder / str(count), count)
        began, cpu = time.perf_counter(), time.process_time()
        run = skyfan.run(scales.ASKED, store=store.url, workers=1)
        wall_s, cpu = time.perf_counter() - began, time.process_time() - cpu
        reports = list(run.reports())
        assert run.summary is not None
        drive = run.summary.drive
        first_s = next(report.first_prediction_s for report in reports if report.first_prediction_s is not None)
        worked_s = sum(report.seconds.total for report in reports)
        found[str(count)] = {
            "before_map_s": round(drive.run_wall_s - drive.map_wall_s, 3),
            "after_map_s": round(wall_s - drive.run_wall_s, 3),
            "driver_cpu_ms_per_task": round(1000 * cpu / count, 3),
            "left_ms_per_task": round(1000 * (drive.map_wall_s - worked_s - first_s) / count, 3),
        }
    return found


def shipped_survey(folder: Path, partitions: int) -> str:
    """Write partitions of 25 MB of random images for the shipped model; return the store's root."""
    rows = parse_size("25MB") // ROW_BYTES
    rng = np.random.default_rng(SEED)
    for number in range(1, partitions + 1):
        content = {
            "image": rng.normal(size=(rows, 5, 32, 32)).astype(np.float32),
            "magnitude": rng.uniform(15, 18, size=(rows, 5)).astype(np.float32),
        }
        path = folder / "b" / keys.partition_of("data", number, ".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(bytes(piece) for piece in safetensors.encode(content, {})))
    return str(folder)


def run_once(root: str, name: str, tasks: int, workers: int, world_size: int | None = None) -> tuple[skyfan.Run, float]:
    """Run so many partitions; return the run and its wall clock from outside."""
    asked = scales.ASKED | {"result_path": name, "file_limit": tasks}
    began = time.perf_counter()
    run = skyfan.run(asked, store=root, workers=workers, overwrite=True, world_size=world_size)
    return run, time.perf_counter() - began


def calibrated(root: str, name: str) -> list[Profile]:
    """Return the profiles of a short run with one and one with two workers."""
    profiles = []
    for workers, tasks in ((1, 2), (2, 4)):
        run, _ = run_once(root, f"{name}-{workers}", tasks, workers)
        profiles.append(profile_of_reports(run.reports()))
    return profiles


HELD = {"12 tasks, 2 workers": (12, 2, None), "4 tasks of 3, 2 workers": (12, 2, 4), "5 tasks, 1 worker": (5, 1, None)}


def held(root: str, rounds: int) -> Figures:
    """Hold predictions against runs."""
    found: dict[str, list[list[float]]] = {name: [] for name in HELD}
    peaks, rates = [], []
    for _ in range(rounds):
        before = calibrated(root, "before")
        for name, (partitions, workers, tasks) in HELD.items():
            run, wall_s = run_once(root, "held", partitions, workers, tasks)
            after = calibrated(root, "before")
            profile = between(before[workers - 1], after[workers - 1], workers)
            asked = scales.ASKED | {"result_path": "none", "file_limit": partitions}
            volume = Volume.of(skyfan.plan(asked, store=root, world_size=tasks), profile.row_bytes)
            basis = local_basis(profile, volume.model, batch_size=volume.batch_size, threads=1, workers=workers)
            said = outlook(volume, basis, Machine(workers), PRICES)
            assert run.summary is not None
            ratios = run.summary.drive.map_wall_s / said.map_wall_s.p50, wall_s / said.whole_run_s.p50
            rates_s = [one[workers - 1].points[0].rows_per_s for one in (before, after)]
            drift = max(rates_s) / min(rates_s) - 1
            found[name].append([round(value, 3) for value in (*ratios, drift)])
            peaks.append(run.summary.worker_peak_memory_mb.max)
            rates.append(profile.points[0].rows_per_s)
            before = after
    steady = {name: [pair[:2] for pair in pairs if pair[2] <= STEADY] for name, pairs in found.items()}
    medians = {
        name: [round(statistics.median(column), 3) for column in zip(*pairs, strict=True)] if pairs else None
        for name, pairs in steady.items()
    }
    shipped = {"peak_memory_mb": max(peaks), "rows_per_s": [min(rates), statistics.median(rates), max(rates)]}
    return {"shipped": shipped, "held": {"map_run_drift": found, "medians_where_steady": medians}}


def between(before: Profile, after: Profile, workers: int) -> Profile:
    """Return the mean of two profiles of the same work."""
    first, second = before.points[0], after.points[0]
    rate = 2 / (1 / first.rows_per_s + 1 / second.rows_per_s)
    means = {
        name: (getattr(before, name) + getattr(after, name)) / 2
        for name in ("s_per_mb", "s_per_task", "s_per_cold_start", "spread")
    }
    return structs.replace(before, points=(structs.replace(first, rows_per_s=rate, workers=workers),), **means)


def main() -> None:
    """Measure, simulate, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    kept: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result: Figures = {"date": "2026-11-24", "seed": SEED, "prices_read_in": PRICES.read_in}
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            root = shipped_survey(Path(folder), 12)
            result |= {"machine": describe_host(), "ends": ends(Path(folder)), **held(root, options.rounds)}
        print(json.dumps(result), flush=True)
    else:
        result |= {name: kept[name] for name in ("machine", "ends", "shipped", "held") if name in kept}
    result |= {"table": table(), "curves": curves(), "ramp": ramp(), "exact": exact()}
    if options.record:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        draw(result)
        write_page(result)
    for name, row in result["table"].items():
        print(name, json.dumps({key: value for key, value in row.items() if key != "warnings"}))
    print(json.dumps({name: result[name] for name in ("ends", "shipped", "held", "exact") if name in result}))


if __name__ == "__main__":
    main()
