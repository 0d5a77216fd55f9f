"""The proof that nothing is missing: what was planned, read and written, what scripts left, and the hashes of it."""

import hashlib

from skyfan.report import amounts
from skyfan.report.commands import verify_command
from skyfan.report.document import Block, Code, Facts, Grid, Notice, Text
from skyfan.report.record import SHOWN_PARTS, Record
from skyfan.verification import Verification
from skyfan.wording import counted, size


def completeness(record: Record) -> list[Block]:
    """Return what was planned, read and written; of scripts, what was planned and ended well."""
    table = _of_scripts(record) if record.scripted else _of_rows(record)
    return [table, Facts(tuple(_states(record))), *_hashes(record), *_proof(record)]


def _of_rows(record: Record) -> Grid:
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
            _size_written(record),
            "",
        ),
    ]
    wrong = tuple(number for number, row in enumerate(rows) if row[4] == "differ")
    head = ("", "Planned", "Read", "Written", "Agree")
    notes = (
        "Planned is what the manifest says, and where an index lies beside the partitions, what that says of rows.",
    )
    return Grid(head, tuple(rows), "What was planned, read and written", notes, (0, 4), marked=wrong)


def _of_scripts(record: Record) -> Grid:
    tasks, done = record.tasks, [task for task in record.tasks if task.rank in record.found.done]
    partitions = [sum(len(task.partitions) for task in some) for some in (tasks, done)]
    rows = (
        ("Tasks", f"{len(tasks):,}", f"{len(done):,}", _equal(len(tasks), len(done))),
        ("Partitions", *(f"{count:,}" for count in partitions), _equal(*partitions)),
        ("Bytes of these", *(size(sum(task.size_bytes for task in some)) for some in (tasks, done)), ""),
    )
    notes = ("A script is told which partitions are its own. Whether it read them, and which rows, only it knows.",)
    wrong = tuple(number for number, row in enumerate(rows) if row[3] == "differ")
    head = ("", "Planned", "Of scripts that ended well", "Agree")
    return Grid(head, rows, "What was planned, and what ended well", notes, (0, 3), marked=wrong)


def _size_written(record: Record) -> str:
    return size(sum(report.output.bytes for report in record.seen.slim if report.output is not None))


def _equal(*numbers: int | None) -> str:
    known = {number for number in numbers if number is not None}
    if len(known) > 1:
        return "differ"
    return "yes" if None not in numbers else "as far as known"


def _states(record: Record) -> list[tuple[str, str, str]]:
    found = record.found
    return [
        ("Tasks failed", f"{len(found.failed):,}", "whose last attempt failed"),
        (
            "Tasks missing",
            f"{len(found.missing):,}",
            f"without a valid report, or without their {'result' if record.scripted else 'part'}",
        ),
        ("Surplus objects", f"{len(found.surplus):,}", "below the run's folders that no task explains"),
        *(_results(record) if record.scripted else _flagged(record)),
    ]


def _results(record: Record) -> list[tuple[str, str, str]]:
    keys = record.keys
    said = f"that scripts left, as {keys.result(0)} and so on, {_size_written(record)}; together in {keys.combined}"
    return [("Results", f"{record.seen.results:,}", said)]


def _flagged(record: Record) -> list[tuple[str, str, str]]:
    summary = record.summary
    flagged = [
        (name, f"{number:,}", "rows with this flag")
        for name, number in sorted(summary.flags.items() if summary else [])
    ]
    return [
        (
            "Rows flagged",
            amounts.count(summary.rows_flagged if summary else None),
            "rows of the catalogue with any flag",
        ),
        *flagged,
    ]


def catalogue_digest(record: Record) -> str:
    """Return one hash for the whole catalogue: sha256 of a line `hash  key` per part, by rank; of scripts, a result."""
    digest = hashlib.sha256()
    for output in (report.output for report in record.seen.slim):
        if output is not None:
            digest.update(f"{output.sha256}  {output.key}\n".encode())
    return digest.hexdigest()


def _hashes(record: Record) -> list[Block]:
    seen = record.seen
    if not seen.first:
        return []
    rows = tuple((str(rank), source, f"{amount:,}", digest) for rank, source, amount, digest in seen.first)
    whole, one, sized = ("results", "result", "Bytes") if record.scripted else ("whole catalogue", "part", "Rows")
    more = (seen.results if record.scripted else len(record.found.done)) - len(rows)
    notes = (
        *((f"The first {SHOWN_PARTS}; {more:,} more are in the run's reports.",) if more > 0 else ()),
        f"Hash of the {whole}: {catalogue_digest(record)} (sha256 of a line 'hash  key' per {one}, by rank).",
    )
    head = ("Task", "Partition", sized, f"sha256 of its {one}")
    return [Grid(head, rows, f"Hashes of the {one}s", notes, (0, 1), (3,))]


def _proof(record: Record) -> list[Block]:
    proven = record.verification
    if proven is None:
        what, does = ("results", "hashes") if record.scripted else ("parts", "hashes and counts")
        said = (
            f"For this report the store was listed and every task's report was read; the {what} were not read again. "
            f"The command below reads, {does} every one of them; so does this report if made with --verify."
        )
        return [Text(said), Code(verify_command(record), "shell")]
    return [_verified(proven)]


def _verified(proven: Verification) -> Notice:
    said = (
        f"{proven.tasks_proven:,} of {counted(proven.tasks, 'task')} have a part with the hash that its report names, "
        f"and in it every row of its partitions once, in order: {proven.rows:,} rows."
    )
    what, did = "part", "read, hashed and counted"
    if proven.script is not None:
        what, did = "result", "read and hashed"
        said = (
            f"The scripts of {proven.tasks_proven:,} of {counted(proven.tasks, 'task')} ended well, and the results "
            "that they left have the hashes that their reports name."
        )
    if proven.complete:
        return Notice("good", f"Every {what} was {did} again for this report", (said,))
    return Notice(
        "bad", f"Every {what} was read again for this report, and not all is well", (said, *proven.problems[:20])
    )
