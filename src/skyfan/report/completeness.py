"""The proof that nothing is missing: what was planned, what was read, what was written, and the hashes of it."""

import hashlib

from skyfan.report import amounts
from skyfan.report.document import Block, Code, Facts, Grid, Notice, Text
from skyfan.report.record import SHOWN_PARTS, Record
from skyfan.verification import Verification
from skyfan.wording import counted, size


def completeness(record: Record) -> list[Block]:
    """Return what was planned, read and written."""
    summary, found, tasks = record.summary, record.found, record.tasks
    partitions = [ref for task in tasks for ref in task.partitions]
    done = [task for task in tasks if task.rank in found.done]
    read = sum(len(task.partitions) for task in done)
    expected = record.standing.rows
    rows = [
        (
            "Tasks",
            f"{len(tasks):,}",
            f"{len(found.done):,}",
            f"{len(found.done):,}",
            _equal(len(tasks), len(found.done)),
        ),
        ("Partitions", f"{len(partitions):,}", f"{read:,}", "", _equal(len(partitions), read)),
        (
            "Rows",
            amounts.count(expected),
            amounts.count(summary.rows_in if summary else None),
            f"{found.rows:,}",
            _equal(expected, summary.rows_in if summary else None, found.rows),
        ),
        (
            "Bytes",
            size(sum(ref.bytes for ref in partitions)),
            size(summary.bytes_in) if summary else amounts.UNKNOWN,
            size(sum(item.part.bytes for item in found.done.values())),
            "",
        ),
    ]
    wrong = tuple(number for number, row in enumerate(rows) if row[4] == "differ")
    head = ("", "Planned", "Read", "Written", "Agree")
    notes = (
        "Planned is what the manifest says, and where an index lies beside the partitions, what that says of rows.",
    )
    table = Grid(head, tuple(rows), "What was planned, read and written", notes, (0, 4), marked=wrong)
    return [table, Facts(tuple(_states(record))), *_hashes(record), *_proof(record)]


def _equal(*numbers: int | None) -> str:
    known = {number for number in numbers if number is not None}
    if len(known) > 1:
        return "differ"
    return "yes" if None not in numbers else "as far as known"


def _states(record: Record) -> list[tuple[str, str, str]]:
    found, summary = record.found, record.summary
    flagged = [
        (name, f"{number:,}", "rows with this flag")
        for name, number in sorted(summary.flags.items() if summary else [])
    ]
    return [
        ("Tasks failed", f"{len(found.failed):,}", "whose last attempt failed"),
        ("Tasks missing", f"{len(found.missing):,}", "without a valid report, or without their part"),
        ("Surplus objects", f"{len(found.surplus):,}", "below the run's folders that no task explains"),
        (
            "Rows flagged",
            amounts.count(summary.rows_flagged if summary else None),
            "rows of the catalogue with any flag",
        ),
        *flagged,
    ]


def catalogue_digest(record: Record) -> str:
    """Return one hash for the whole catalogue: sha256 of a line `hash  key` a part, by rank."""
    digest = hashlib.sha256()
    for item in record.found.done.values():
        digest.update(f"{item.part.sha256}  {item.part.key}\n".encode())
    return digest.hexdigest()


def _hashes(record: Record) -> list[Block]:
    seen = record.seen
    if not seen.first:
        return []
    rows = tuple((str(rank), source, f"{rows:,}", digest) for rank, source, rows, digest in seen.first)
    more = len(record.found.done) - len(rows)
    notes = (
        *((f"The first {SHOWN_PARTS}; {more:,} more are in the run's reports.",) if more > 0 else ()),
        f"Hash of the whole catalogue: {catalogue_digest(record)} (sha256 of a line 'hash  key' a part, by rank).",
    )
    head = ("Task", "Partition", "Rows", "sha256 of its part")
    return [Grid(head, rows, "Hashes of the parts", notes, (0, 1), (3,))]


def _proof(record: Record) -> list[Block]:
    proven = record.verification
    if proven is None:
        said = (
            "For this report the store was listed and every task's report was read; the parts were not read again. The "
            "command below reads, hashes and counts every one of them; so does this report if made with --verify."
        )
        return [Text(said), Code(f"skyfan verify {record.id}", "shell")]
    return [_verified(proven)]


def _verified(proven: Verification) -> Notice:
    said = (
        f"{proven.tasks_proven:,} of {counted(proven.tasks, 'task')} have a part with the hash that its report names, "
        f"and in it every row of its partitions once, in order: {proven.rows:,} rows."
    )
    if proven.complete:
        return Notice("good", "Every part was read, hashed and counted again for this report", (said,))
    return Notice(
        "bad", "Every part was read again for this report, and not all is well", (said, *proven.problems[:20])
    )
