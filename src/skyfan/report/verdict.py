"""What became of a run, at a glance."""

from skyfan.prices import age_warning
from skyfan.report import amounts
from skyfan.report.document import Block, Notice, Verdict
from skyfan.report.record import Record, advice, moment
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
    elif record.unreadable:
        headline = "NOT COMPLETE: THE SUMMARY CANNOT BE READ"
    elif record.complete and proven is not None:
        headline = "Complete, and proven so"
    return Verdict(
        run=record.id,
        good=record.complete,
        headline=headline,
        sentence=_sentence(record),
        advice=tuple(advice(record)),
        figures=tuple(_figures(record)),
    )


def cost_of(record: Record) -> tuple[str, str]:
    """Return what a run cost, and what kind of cost that is: its bill, if there is one."""
    if record.bill is not None:
        kind = "billed" if record.bill.is_whole else "at least"
        return amounts.usd(float(record.bill.cost.total_usd)), _alone(record) + COSTS[kind]
    measured = record.measurement
    if measured.cost_usd is None:
        return amounts.UNKNOWN, _uncosted(record)
    return amounts.usd(measured.cost_usd), _alone(record) + COSTS.get(measured.cost_kind, "")


def _uncosted(record: Record) -> str:
    """Say why the cost is not known."""
    if record.measurement.engine in {"aws", ""}:
        return "no bill is stored with the run"
    if record.idle:
        return "the last drive had no task left to do"
    problem = record.measurement.cost_problem
    return f"the prices cannot be read: {problem}" if problem else "how many workers it had is not known"


def _alone(record: Record) -> str:
    """Say that a cost is not all of it, as of a run that was resumed."""
    if not record.before:
        return ""
    return f"at least: of the last drive alone, {counted(record.before, 'task')} were done before; "


def old_prices(record: Record) -> str:
    """Say that the prices of the cost are old; nothing if they are not, or there is no cost."""
    measured = record.measurement
    if record.bill is not None:
        return age_warning(record.bill.cost.region, record.bill.cost.prices_read_in)
    return age_warning(measured.prices_region, measured.prices_read_in) if measured.prices_read_in else ""


def partial(record: Record, done: int) -> list[Block]:
    """Return a notice for the head of figures that are not of a whole run; nothing if they are.

    Parameters
    ----------
    record : Record
    done : int
        Tasks that the figures are of.
    """
    if record.complete:
        return []
    title = f"The run is not complete: these figures are of {done:,} of {counted(record.standing.tasks, 'task')} only"
    if done >= record.standing.tasks:
        title = "The run is not complete: do not rely on these figures"
    return [Notice("bad", title, tuple(advice(record)[:1]))]


def _sentence(record: Record) -> str:
    standing, summary = record.standing, record.summary
    done = f"{standing.tasks_ok:,} of {counted(standing.tasks, 'task')} done"
    if record.scripted:
        return f"{done}; {_of_scripts(record)}"
    if summary is None:
        of = f" of {standing.rows:,}" if standing.rows is not None else ""
        return f"{done}; {standing.rows_done:,}{of} rows in the catalogue so far. {unended(record)}"
    equal = "=" if summary.rows_in == summary.rows_out else "but"
    rows = f"{summary.rows_in:,} rows read {equal} {summary.rows_out:,} rows in the catalogue"
    if summary.rows_expected is None:
        return f"{done}; {rows}. How many there must be was not known beforehand: no index lies beside the partitions."
    equal = "=" if summary.rows_expected == summary.rows_out else "but"
    return f"{done}; {rows} {equal} {summary.rows_expected:,} rows expected."


def _of_scripts(record: Record) -> str:
    results = f"{record.seen.results:,}" if record.seen.results else "none"
    ended = f"their scripts ended with exit code 0, and {results} of them left a result"
    ended = ended if record.standing.tasks_ok else "no script has ended well"
    said = f"{ended}. Which rows it predicted only the script knows."
    return said if record.summary is not None else f"{said} {unended(record)}"


def unended(record: Record) -> str:
    """Say why a run has no summary."""
    return "Its summary cannot be read." if record.unreadable else "The run has not come to its end."


def _figures(record: Record) -> list[tuple[str, str, str]]:
    summary, program = record.summary, record.program
    figures = [
        _amount(record),
        (
            "Script" if record.scripted else "Model",
            program.name if program else amounts.UNKNOWN,
            f"sha256 {program.sha256[:12]}" if program else "",
        ),
    ]
    if summary is None:
        return [*figures, ("Lies in", record.bucket.where, record.store.url)]
    drive = summary.drive
    only = f"; of the last drive alone, {counted(record.before, 'task')} were done before" if record.before else ""
    by = "with no worker: no task was left to do" if record.idle else f"with {counted(drive.workers, 'worker')}"
    warnings = [text for text in (*summary.warnings, old_prices(record)) if text]
    warned = [("To be known", counted(len(warnings), "warning"), "; ".join(warnings))] if warnings else []
    return [
        *figures,
        ("Wall clock", amounts.seconds(drive.run_wall_s), f"of the run, {by}{only}"),
        ("Cost", *cost_of(record)),
        ("When", amounts.second(moment(drive.started_at)), f"to {amounts.second(moment(summary.ended_at))}"),
        (
            "Where",
            " + ".join(summary.machines) or amounts.UNKNOWN,
            f"{'logs and results' if record.scripted else f'results, {size(summary.bytes_out)},'} in {_where(record)}",
        ),
        *warned,
    ]


def _amount(record: Record) -> tuple[str, str, str]:
    if record.scripted:
        return ("Tasks", f"{record.standing.tasks_ok:,}", f"done; results of {record.seen.results:,}")
    rows = record.summary.rows_out if record.summary else record.standing.rows_done
    return ("Rows", f"{rows:,}", "in the catalogue")


def _where(record: Record) -> str:
    return f"{record.bucket.where}/{record.keys.result_path}"
