"""combined_data.json: the reports of a run in the original system's form, for scripts written for it."""

from typing import Any

import msgspec

from skyfan.task import Report


class Combined:
    """The records of a run, one a task that is done, in the order that their reports come.

    Its keys are the original's, and `rank`, `rows` and `bytes`; what they hold is what docs/combined-data.md says. That
    is not always what the original held: `total_cpu_time (seconds)` is the seconds that the task took, where the
    original had a profiler's sum of nested calls.
    """

    def __init__(self, result_path: str) -> None:
        self._result_path = result_path
        self._records: list[bytes] = []

    def add(self, report: Report) -> None:
        """Add the record of one more task."""
        self._records.append(msgspec.json.encode(_record(report, self._result_path)))

    def encode(self) -> bytes:
        """Return all records as one JSON array, a line each."""
        return b"[\n" + b",\n".join(self._records) + b"\n]\n"


def _record(report: Report, result_path: str) -> dict[str, Any]:
    total = report.seconds.total
    keys = [ref.key for ref in report.partitions]
    read = sum(ref.bytes for ref in report.partitions)
    return {
        "rank": report.rank,
        "rows": report.rows_out,
        "bytes": read,
        "total_cpu_time (seconds)": round(total, 6),
        "total_cpu_memory (MB)": report.peak_memory_mb,
        "total_process_memory (MB)": report.peak_memory_mb,
        "execution_time (seconds/batch)": round(report.seconds.predict / max(report.batches, 1), 6),
        "num_batches": report.batches,
        "batch_size": report.batch_size,
        "device": report.device,
        "throughput_bps": round(8 * read / total, 1) if total else None,
        "sample_persec": round(report.rows_out / total, 3) if total else None,
        **_fetching(report.seconds.open, len(keys)),
        "result_path": result_path,
        "data_path": keys[0] if len(keys) == 1 else keys,
    }


def _fetching(seconds: float, partitions: int) -> dict[str, int | float | None]:
    """Return the original's `s3_` keys, of the requests for partitions: one each.

    A report has their seconds in all. What the shortest and the longest of several took is in none, so it is null.
    """
    each = round(seconds / partitions, 6) if partitions else None
    return {
        "s3_num_requests": partitions,
        "s3_total_time": round(seconds, 6),
        "s3_avg_time": each,
        "s3_min_time": each if partitions == 1 else None,
        "s3_max_time": each if partitions == 1 else None,
    }
