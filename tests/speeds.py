"""A profile as if it were measured here."""

from typing import Any

from skyfan.host import describe_host, usable_cores
from skyfan.profiling.profile import Point, Profile
from skyfan.task import ModelRef

MODEL = ModelRef("models/heavy.onnx", "a" * 64)


def profile(**more: Any) -> Profile:
    """Return what was measured here of MODEL, with one and with two workers."""
    points = tuple(
        Point(batch_size=32, threads=1, workers=workers, rows_per_s=rate, peak_memory_mb=140.0, rows=5_000)
        for workers, rate in ((1, 500.0), (2, 400.0))
    )
    given: dict[str, Any] = {
        "model": MODEL,
        "machine": describe_host(),
        "cores": usable_cores(),
        "origin": "measured",
        "measured_at": "2026-11-24T10:00:00.000+00:00",
        "row_bytes": 20_520.0,
        "s_per_mb": 0.002,
        "s_per_task": 0.01,
        "s_per_cold_start": 0.4,
        "spread": 0.03,
        "points": points,
    }
    return Profile(**{**given, **more})
