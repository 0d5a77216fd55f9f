"""What one run was measured to be: a row of the tidy table, whatever engine it ran on and whoever ran it."""

from typing import Literal

from msgspec import Struct

SCRIPT = "script "
"""Begins the name of a script where the name of a model would stand."""
AT_LEAST: Literal["at least"] = "at least"
CostKind = Literal["", "rented", "billed", "at least"]
"""rented: the run's wall clock on whole on-demand machines. billed: on AWS, by Lambda's own lines.
at least: on AWS, a lower bound, for lines were missing. Empty: no cost is known."""


class Measurement(Struct, frozen=True, kw_only=True):
    """One run. None is not known: a result of another program does not say everything.

    Seconds of a phase are summed over all tasks; quantiles are over tasks. `_mb` is MiB.
    """

    origin: Literal["skyfan", "imported"]
    run: str
    """`<bucket>/<result_path>`, or the file that was imported."""
    complete: bool
    problem: str = ""
    """Why it is not complete, or what else is wrong with it; such a run is never averaged."""
    engine: str = ""
    """`local`, `dask`, `aws`; as another program calls its own."""
    machine: str = ""
    """Where its workers ran, as `AMD EPYC 7B13, 2 cores` or `AWS Lambda arm64, 1769 MB`; several joined by ' + '."""
    skyfan: str = ""
    """Version of skyfan that ran it."""
    started_at: str = ""
    """UTC, ISO 8601."""
    model: str = ""
    """Its name; `script` and its name where tasks ran one in its place."""
    model_sha256: str = ""
    data: str = ""
    """`<data_bucket>/<data_prefix>`."""
    data_sha256: str = ""
    """Of the content of its partitions, whatever they are called: a hash of their sorted hashes. Empty if not known."""
    tasks: int = 0
    partitions: int = 0
    distinct_partitions: int | None = None
    """Of different content; fewer than `partitions` if data were repeated to be more than is on disk."""
    partition_mb: float = 0.0
    """Size of a partition, median."""
    bytes_in: int = 0
    rows: int | None = None
    """Of the catalogue; a script has none that is counted."""
    batch_size: int = 0
    threads: int | None = None
    """Of one worker."""
    workers: int = 0
    repeat: int = 1
    """Which of the runs of one configuration it is, from 1."""
    retries: int = 0

    run_wall_s: float | None = None
    """From the driver's start to its summary."""
    map_wall_s: float | None = None
    """From the first task handed out to the end of the last."""
    task_s_mean: float | None = None
    """Only for the original's formulas, which take means; like these not known of a run that is not whole."""
    task_s_p50: float | None = None
    task_s_p95: float | None = None
    task_s_max: float | None = None
    cold_tasks: int | None = None
    """First of their worker's process: loading the model is in them."""
    cold_task_s_p50: float | None = None
    """From the task's start; starting the process is not in it, see `first_prediction_s_p50`."""
    warm_task_s_p50: float | None = None
    first_prediction_s_p50: float | None = None
    """From the start of a worker's process to its first batch predicted, waiting for work left out."""

    model_s: float | None = None
    open_s: float | None = None
    hash_s: float | None = None
    read_s: float | None = None
    predict_s: float | None = None
    script_s: float | None = None
    """A user's script, where one ran in place of a model."""
    write_s: float | None = None
    other_s: float | None = None

    peak_memory_mb_p50: float | None = None
    peak_memory_mb_max: float | None = None

    rows_per_s_run_wall: float | None = None
    rows_per_s_map_wall: float | None = None
    rows_per_s_workers_sum: float | None = None
    """Rows divided by seconds of work, times workers: what they would reach if never idle."""
    bytes_per_s_map_wall: float | None = None
    """Not known of a run that was resumed: its bytes are of all drives, its map's wall clock is of the last."""

    core_hours: float | None = None
    cost_usd: float | None = None
    cost_kind: CostKind = ""
    cost_problem: str = ""
    """Why its cost is not known, where the prices are at fault."""
    prices_region: str = ""
    """Whose prices the cost is by, as AWS names it."""
    prices_read_in: str = ""
    """Year and month in which the oldest of them was looked up."""

    seed_avg_runtime_s: float | None = None
    """The original's table: mean seconds of a task (its own: by torch's profiler)."""
    seed_memory_mb: float | None = None
    """The original's table: mean memory used."""
    seed_cost_usd: float | None = None
    """The original's formula, which is no bill: see docs/cost.md."""
    seed_throughput_gb_s: float | None = None
    """The original's column: all data divided by the mean time of ONE worker, in GB/s; it prints this as MB/s."""
