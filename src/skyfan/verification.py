"""Proof that a catalogue is complete: nothing is believed that can be read, hashed and counted again."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
from msgspec import Struct

from skyfan.errors import PartitionError
from skyfan.keys import RunKeys
from skyfan.partitions import PartitionRef
from skyfan.payload import Payload
from skyfan.predictions import read_part
from skyfan.reports import NO_SUMMARY, OLD_SUMMARY, collect, problems_of
from skyfan.storage import Bucket
from skyfan.summary import Summary, decode_summary, manifest_fault
from skyfan.task import PartRef, ResultRef, Task

READERS = 4
AGAIN = "delete it and run the payload again to have it written anew"


class Verification(Struct, frozen=True, kw_only=True):
    """What came of checking a run."""

    run: str
    complete: bool
    tasks: int
    tasks_proven: int
    """Tasks whose part has the hash that its report names, and every row of its partitions exactly once, in order; of
    scripts, those that ended well and whose result, if they left one, has that hash."""
    rows: int
    """Rows counted in the parts of those tasks."""
    script: str | None = None
    """That its tasks ran; None if they ran a model. Nobody counts the rows of a script."""
    problems: list[str]

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def verify_run(payload: Payload, tasks: Sequence[Task], bucket: Bucket, keys: RunKeys) -> Verification:
    """Read every part of a run's manifest again and hold it against its report."""
    promises: list[_Promise] = []
    found = collect(bucket, keys, tasks, lambda report: promises.append(_Promise(report.output, report.partitions)))
    problems = problems_of(tasks, found)
    with ThreadPoolExecutor(READERS) as pool:
        faults = list(pool.map(lambda promise: _fault(promise, bucket), promises))
    proven = [promise for promise, fault in zip(promises, faults, strict=True) if fault is None]
    problems += [fault for fault in faults if fault is not None]
    problems += _summary_fault(decode_summary(bucket.get(keys.summary)), len(tasks), keys.manifest, problems)
    return Verification(
        run=payload.run_id,
        complete=not problems,
        tasks=len(tasks),
        tasks_proven=len(proven),
        rows=sum(promise.rows for promise in proven),
        script=tasks[0].script.name if tasks and tasks[0].script else None,
        problems=problems,
    )


def _summary_fault(summary: Summary | None, tasks: int, manifest: str, problems: Sequence[str]) -> list[str]:
    """Say what the summary knows better: a manifest that lost its end has no other witness."""
    if summary is not None and (fault := manifest_fault(summary, tasks)):
        return [f"{manifest}: {fault}"]
    if problems or (summary is not None and summary.complete):
        return []
    return [OLD_SUMMARY if summary else NO_SUMMARY]


class _Promise(NamedTuple):
    """What a report says that must be found in the store."""

    output: PartRef | ResultRef | None
    """None of a script that left no result: there is nothing to find."""
    partitions: tuple[PartitionRef, ...]

    @property
    def rows(self) -> int:
        return self.output.rows if isinstance(self.output, PartRef) else 0


def _fault(promise: _Promise, bucket: Bucket) -> str | None:
    """Say what is wrong with a task's output, None if nothing is."""
    part = promise.output
    if part is None:
        return None
    data = bucket.get(part.key)
    if data is None:
        return f"{part.key}: is not there"
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        return f"{part.key}: its hash is {found[:12]}, the report says {part.sha256[:12]}; {AGAIN}"
    return _row_fault(promise, data, part.key) if isinstance(part, PartRef) else None


def _row_fault(promise: _Promise, data: bytes, key: str) -> str | None:
    """Say what is wrong with the rows of a part."""
    try:
        table = read_part(data, key).read_all()
    except PartitionError as error:
        return str(error)
    expected = [(ref.key, row) for ref in promise.partitions for row in range(ref.rows or 0)]
    if list(zip(table.column("source").to_pylist(), table.column("row").to_pylist(), strict=True)) != expected:
        got = f"{key}: its {table.num_rows} rows"
        return f"{got} are not its partitions' {len(expected)}, each once, in order; {AGAIN}"
    return None
