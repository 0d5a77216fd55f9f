"""Profiles, plans and outcomes that are made up, so that what is best is known."""

from typing import Any

from skyfan.estimating.basis import Basis
from skyfan.estimating.bill import Speed
from skyfan.estimating.volume import Share, Volume
from skyfan.host import describe_host, usable_cores
from skyfan.partitions import PartitionRef
from skyfan.payload import Payload, parse_payload
from skyfan.planning import Plan
from skyfan.profiling.profile import Point, Profile
from skyfan.task import ModelRef, Task
from skyfan.tuning.layout import Layout
from skyfan.tuning.outcome import Outcome
from skyfan.tuning.setting import Setting

MODEL = ModelRef("photoz-sim-2", "ab" * 32)
ROW_BYTES = 20_000.0
MB = 1024 * 1024


def payload(**keys: Any) -> Payload:
    asked = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "surveys/25MB", "result_path": "results/one"}
    return parse_payload(asked | keys)[0]


def plan(partitions: int = 16, rows: int = 1000, **keys: Any) -> Plan:
    given = payload(**keys)
    tasks = [
        Task(
            rank=rank,
            bucket="sky",
            result_path=given.result_path,
            data_bucket="sky",
            partitions=(PartitionRef(f"surveys/25MB/{rank}.safetensors", round(rows * ROW_BYTES), rows),),
            model=MODEL,
            batch_size=given.batch_size,
            threads=given.threads,
        )
        for rank in range(partitions)
    ]
    return Plan(given, tasks, {}, [], [])


def point(batch_size: int = 32, rows_per_s: float = 500.0, mb: float = 200.0, **more: int) -> Point:
    ways = {"threads": 1, "workers": 1} | more
    return Point(batch_size=batch_size, rows_per_s=rows_per_s, peak_memory_mb=mb, rows=10_000, **ways)


def profile(*points: Point, **more: Any) -> Profile:
    fields: dict[str, Any] = {
        "model": MODEL,
        "machine": describe_host(),
        "cores": usable_cores(),
        "origin": "measured",
        "measured_at": "2026-11-24T00:00:00.000+00:00",
        "row_bytes": ROW_BYTES,
        "s_per_mb": 0.001,
        "s_per_task": 0.01,
        "s_per_cold_start": 0.4,
        "spread": 0.02,
    }
    return Profile(**(fields | more), points=points or (point(),))


def outcome(wall_s: float, cost_usd: float, *, size: str = "", own: bool = False, **more: Any) -> Outcome:
    """Return one of which only time and money are of interest."""
    volume = Volume(
        tasks=4,
        partitions=4,
        rows=4000,
        rows_known=True,
        bytes_in=4 * 20_000_000,
        shares=(Share(1000, 20_000_000),),
        largest_partition_bytes=20_000_000,
        partitions_of_a_task=1,
    )
    speed = Speed(s_per_row=0.002)
    basis = Basis(speed=speed, task_spread=0.0, factor=1.15, row_bytes=ROW_BYTES, peak_memory_mb=200.0, said=())
    fields: dict[str, Any] = {"wall_p90_s": wall_s * 1.2, "cost_p90_usd": cost_usd * 1.2} | more
    return Outcome(
        layout=Layout(volume=volume, size=size, own=own),
        setting=Setting(batch_size=32, threads=1, workers=1, basis=basis, measured=True),
        wall_s=wall_s,
        cost_usd=cost_usd,
        memory_mb=200.0,
        task_s=2.0,
        workers=1,
        **fields,
    )
