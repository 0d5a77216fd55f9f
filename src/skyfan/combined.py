"""combined_data.json: the reports of a run in the original system's form, for scripts written for it."""

import hashlib
import json
import math
from typing import Any

import msgspec

from skyfan.storage import Bucket
from skyfan.task import Report, ResultRef


class Combined:
    """The records of a run, one per task that is done, in the order that their reports come.

    Its keys are the original's, and `rank`, `rows` and `bytes`; what they hold is what docs/combined-data.md says. That
    is not always what the original held: `total_cpu_time (seconds)` is the seconds that the task took, where the
    original had a profiler's sum of nested calls.
    """

    def __init__(self, result_path: str) -> None:
        self._result_path = result_path
        self._records: list[bytes] = []
        self._results: dict[int, ResultRef] = {}

    def add(self, report: Report) -> None:
        """Add the record of one more task."""
        if report.ending is not None and report.ending.result is not None:
            self._results[len(self._records)] = report.ending.result
        self._records.append(msgspec.json.encode(_record(report, self._result_path)))

    def take_results(self, bucket: Bucket) -> list[str]:
        """Put the results that scripts left in the place of our records.

        They are as the script left them, but for NaN and infinity, which JSON has not: they become null.

        Returns
        -------
        list of str
            Warnings of results that are no longer what the script left, or that cannot be read.
        """
        faults = []
        contents = bucket.get_many(result.key for result in self._results.values())
        for (place, result), data in zip(self._results.items(), contents, strict=True):
            if data is None or hashlib.sha256(data).hexdigest() != result.sha256:
                faults.append(f"{result.key}: was changed since its script left it")
                continue
            try:
                self._records[place] = _inner(data)
            except (ValueError, RecursionError) as error:  # taken by an earlier version, or by another Python
                faults.append(f"{result.key}: cannot be read as JSON ({error})")
        return [f"{fault}; combined_data.json has our own record of that task" for fault in faults]

    def encode(self) -> bytes:
        """Return all records as one JSON array, a line each."""
        return b"[\n" + b",\n".join(filter(None, self._records)) + b"\n]\n"


def _inner(data: bytes) -> bytes:
    """Return a result as the inside of an array: an object, or the objects of a list."""
    content = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite)
    records = content if isinstance(content, list) else [content]
    return b",\n".join(json.dumps(record).encode() for record in records)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _record(report: Report, result_path: str) -> dict[str, Any]:
    total = report.seconds.total
    scripted = report.script is not None  # which rows and requests those were, only the script knows
    keys = [ref.key for ref in report.partitions]
    read = sum(ref.bytes for ref in report.partitions)
    return {
        "rank": report.rank,
        "rows": None if scripted else report.rows_out,
        "bytes": read,
        "total_cpu_time (seconds)": round(total, 6),
        "total_cpu_memory (MB)": report.peak_memory_mb,
        "total_process_memory (MB)": report.peak_memory_mb,
        "execution_time (seconds/batch)": None
        if scripted
        else round(report.seconds.predict / max(report.batches, 1), 6),
        "num_batches": None if scripted else report.batches,
        "batch_size": report.batch_size,
        "device": None if scripted else report.device,
        "throughput_bps": round(8 * read / total, 1) if total else None,
        "sample_persec": round(report.rows_out / total, 3) if total and not scripted else None,
        **({} if scripted else _fetching(report.seconds.open, len(keys))),
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
