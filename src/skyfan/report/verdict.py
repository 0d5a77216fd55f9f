"""What became of a run, at a glance."""

from skyfan.report import amounts
from skyfan.report.document import Verdict
from skyfan.report.record import Record, moment
from skyfan.wording import counted, size

HEADLINES = {
    "complete": "Complete",
    "incomplete": "NOT COMPLETE",
    "interrupted": "INTERRUPTED, NOT COMPLETE",
    "running": "STILL RUNNING, NOT COMPLETE YET",
}
COSTS = {
    "rented": "what the same wall clock would cost on a rented machine",
    "billed": "as AWS bills it",
    "reckoned": "reckoned from the tasks' reports, not from a bill",
    "at least": "at least: the bill is a lower bound",
}
"""What a cost of each kind is."""


def verdict(record: Record) -> Verdict:
    """Return the verdict on a run: good only if its summary and its store say the same, and a proof if one was made."""
    proven = record.verification
    headline = HEADLINES[record.standing.state]
    if record.standing.state == "complete" and not record.complete:
        headline = "NOT COMPLETE: A CHECK FAILED"
    elif record.complete and proven is not None:
        headline = "Complete, and proven so"
    return Verdict(
        run=record.id,
        good=record.complete,
        headline=headline,
        sentence=_sentence(record),
        advice=tuple(_advice(record)),
        figures=tuple(_figures(record)),
    )


def cost_of(record: Record) -> tuple[str, str]:
    """Return what a run cost, and what kind of cost that is: its bill, if there is one."""
    if record.bill is not None:
        kind = "billed" if record.bill.is_whole else "at least"
        return amounts.usd(float(record.bill.cost.total_usd)), COSTS[kind]
    measured = record.measurement
    return amounts.usd(measured.cost_usd), COSTS.get(measured.cost_kind, "no bill is stored with the run")


def _sentence(record: Record) -> str:
    standing, summary = record.standing, record.summary
    done = f"{standing.tasks_ok:,} of {counted(standing.tasks, 'task')} done"
    if summary is None:
        of = f" of {standing.rows:,}" if standing.rows is not None else ""
        return f"{done}; {standing.rows_done:,}{of} rows in the catalogue so far. The run has not come to its end."
    equal = "=" if summary.rows_in == summary.rows_out else "but"
    rows = f"{summary.rows_in:,} rows read {equal} {summary.rows_out:,} rows in the catalogue"
    if summary.rows_expected is None:
        return f"{done}; {rows}. How many there must be was not known beforehand: no index lies beside the partitions."
    equal = "=" if summary.rows_expected == summary.rows_out else "but"
    return f"{done}; {rows} {equal} {summary.rows_expected:,} rows expected."


def _advice(record: Record) -> list[str]:
    summary, proven = record.summary, record.verification
    if record.complete:
        return []
    found = list(record.standing.problems)
    if summary is not None:
        found += [text for text in summary.problems if text not in found]
    if proven is not None:
        found += [text for text in proven.problems[:20] if text not in found]
    if record.standing.state == "running":
        found.insert(0, f"{record.standing.driver} drives it now: make the report again when it has ended")
    elif record.standing.state == "interrupted":
        found.insert(0, "its driver is gone: run the same payload again; it does only what is not done")
    return found or ["the summary and the store disagree: run the same payload again, then make the report again"]


def _figures(record: Record) -> list[tuple[str, str, str]]:
    summary = record.summary
    model = summary.model if summary and summary.model else record.tasks[0].model if record.tasks else None
    rows = summary.rows_out if summary else record.standing.rows_done
    figures = [
        ("Rows", f"{rows:,}", "in the catalogue"),
        ("Model", model.name if model else amounts.UNKNOWN, f"sha256 {model.sha256[:12]}" if model else ""),
    ]
    if summary is None:
        return [*figures, ("Lies in", record.bucket.where, record.store.url)]
    drive = summary.drive
    resumed = summary.tasks_ok - drive.tasks
    only = f"; of the last drive, {counted(resumed, 'task')} were done before" if resumed > 0 else ""
    return [
        *figures,
        ("Wall clock", amounts.seconds(drive.run_wall_s), f"of the run, with {counted(drive.workers, 'worker')}{only}"),
        ("Cost", *cost_of(record)),
        ("When", amounts.minute(moment(drive.started_at)), f"to {amounts.minute(moment(summary.ended_at))}"),
        (
            "Where",
            " + ".join(summary.machines) or amounts.UNKNOWN,
            f"results, {size(summary.bytes_out)}, in {_where(record)}",
        ),
    ]


def _where(record: Record) -> str:
    return f"{record.bucket.where}/{record.keys.result_path}"
