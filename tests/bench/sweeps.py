"""Measurements of a sweep, as a machine would give them: a run has a fixed part, and one that workers share."""

from typing import Any

from skyfan.bench.measurement import Measurement

MB = 1024**2
ROWS_OF_25_MB = 1278


def measured(
    *, partition_mb: float = 25.0, files: int = 41, batch_size: int = 32, workers: int = 2, **changes: Any
) -> Measurement:
    """Return a run that was complete."""
    rows = round(files * partition_mb / 25 * ROWS_OF_25_MB)
    predict = rows / 400 * (1 + 8 / batch_size + batch_size / 4000)
    phases = {"model": 0.05 * workers, "open": 0.01 * files, "hash": rows / 40_000, "read": rows / 9000}
    phases |= {"predict": predict, "write": 0.02 * files, "other": 0.003 * files}
    busy = sum(phases.values())
    map_wall, size = busy / workers * 1.03, round(files * partition_mb * MB)
    run_wall = map_wall + 0.6
    task = busy / files
    keys: dict[str, Any] = {
        "origin": "skyfan",
        "run": f"bench/{partition_mb:g}MB/{files}/{batch_size}/{workers}/1",
        "complete": True,
        "engine": "local",
        "machine": "AMD EPYC 7B13, 2 cores",
        "skyfan": "1.0",
        "model": "photoz-sim-2",
        "model_sha256": "ab" * 32,
        "data": f"bench/survey/{partition_mb:g}MB",
        "tasks": files,
        "partitions": files,
        "distinct_partitions": files,
        "partition_mb": partition_mb,
        "bytes_in": size,
        "rows": rows,
        "batch_size": batch_size,
        "threads": 1,
        "workers": workers,
        "run_wall_s": run_wall,
        "map_wall_s": map_wall,
        "task_s_mean": task,
        "task_s_p50": task,
        "task_s_p95": task * 1.1,
        "task_s_max": task * 1.2,
        "cold_tasks": workers,
        "cold_task_s_p50": task + 0.3,
        "warm_task_s_p50": task,
        **{f"{name}_s": seconds for name, seconds in phases.items()},
        "peak_memory_mb_p50": 180.0,
        "peak_memory_mb_max": 184.0 + partition_mb / 5,
        "rows_per_s_run_wall": rows / run_wall,
        "rows_per_s_map_wall": rows / map_wall,
        "rows_per_s_workers_sum": rows / busy * workers,
        "bytes_per_s_map_wall": size / map_wall,
        "cost_usd": 0.1785 * max(60, run_wall) / 3600,
        "cost_kind": "rented",
        "seed_avg_runtime_s": task,
        "seed_memory_mb": 181.0,
        "seed_cost_usd": files * task * 181 / 1024 * 0.0000166667,
        "seed_throughput_gb_s": size / 1024**3 / task,
    }
    return Measurement(**(keys | changes))


def repeats(slower: float = 1.08, **changes: Any) -> list[Measurement]:
    """Return three runs of a configuration, the second and third of which took longer."""
    found = []
    for repeat in (1, 2, 3):
        factor = 1 + (slower - 1) * (repeat - 1) / 2
        base = measured(**changes)
        fields = {name: getattr(base, name) * factor for name in ("run_wall_s", "map_wall_s", "cost_usd")}
        fields |= {name: getattr(base, name) / factor for name in ("rows_per_s_run_wall", "rows_per_s_workers_sum")}
        found.append(measured(**(changes | fields | {"repeat": repeat, "run": f"{base.run[:-1]}{repeat}"})))
    return found


def whole_sweep() -> list[Measurement]:
    """Return partition sizes by data sizes, then batch sizes, then numbers of workers."""
    found = []
    for partition_mb in (25.0, 50.0, 75.0, 100.0):
        for gb in (1, 2, 4, 8, 12.6):
            found += repeats(partition_mb=partition_mb, files=max(1, round(gb * 1024 / partition_mb)))
    for batch_size in (8, 16, 64, 128, 256, 512):
        found += repeats(batch_size=batch_size)
    for workers in (1, 4, 8, 16):
        found += repeats(workers=workers)
    return found
