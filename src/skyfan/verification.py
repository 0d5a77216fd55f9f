"""Proof that a catalogue is complete: nothing is believed that can be read, hashed and counted again."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct

from skyfan.errors import PartitionError
from skyfan.keys import RunKeys
from skyfan.payload import Payload
from skyfan.predictions import read_part
from skyfan.reports import collect, problems_of
from skyfan.storage import Bucket
from skyfan.task import Report, Task

READERS = 4
AGAIN = "delete it and run the payload again to have it written anew"


class Verification(Struct, frozen=True, kw_only=True):
    """What came of checking a run."""

    run: str
    complete: bool
    tasks: int
    tasks_proven: int
    """Tasks whose part has the hash that its report names, and every row of its partitions exactly once, in order."""
    rows: int
    """Rows counted in the parts of those tasks."""
    problems: list[str]

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def verify_run(payload: Payload, tasks: Sequence[Task], bucket: Bucket, keys: RunKeys) -> Verification:
    """Read every part of a run's manifest again and hold it against its report."""
    found = collect(bucket, keys, tasks)
    problems = problems_of(tasks, found)
    with ThreadPoolExecutor(READERS) as pool:
        faults = list(pool.map(lambda report: _fault(report, bucket), found.ok.values()))
    proven = [report for report, fault in zip(found.ok.values(), faults, strict=True) if fault is None]
    problems += [fault for fault in faults if fault is not None]
    return Verification(
        run=payload.run_id,
        complete=not problems,
        tasks=len(tasks),
        tasks_proven=len(proven),
        rows=sum(report.rows_out for report in proven),
        problems=problems,
    )


def _fault(report: Report, bucket: Bucket) -> str | None:
    """Say what is wrong with a task's part, None if nothing is."""
    if report.part is None:
        return f"task {report.rank}: its report names no part"
    data = bucket.get(report.part.key)
    if data is None:
        return f"{report.part.key}: is not there"
    found = hashlib.sha256(data).hexdigest()
    if found != report.part.sha256:
        return f"{report.part.key}: its hash is {found[:12]}, the report says {report.part.sha256[:12]}; {AGAIN}"
    try:
        table = read_part(data, report.part.key).read_all()
    except PartitionError as error:
        return str(error)
    expected = [(ref.key, row) for ref in report.partitions for row in range(ref.rows or 0)]
    if list(zip(table.column("source").to_pylist(), table.column("row").to_pylist(), strict=True)) != expected:
        got = f"{report.part.key}: its {table.num_rows} rows"
        return f"{got} are not its partitions' {len(expected)}, each once, in order; {AGAIN}"
    return None
