"""What happened when: states and their times, the map's progress, who was at work, what was tried again or failed."""

from skyfan.report import amounts
from skyfan.report.document import Block, Code, Facts, Figure, Grid, Notice, Text, grid
from skyfan.report.drawing import draw_gantt, draw_progress
from skyfan.report.history import History
from skyfan.report.record import Record, Span, moment
from skyfan.report.timeline import axis_of, progress
from skyfan.report.verdict import unended
from skyfan.summary import Drive, Summary
from skyfan.wording import counted

SHOWN_FAILURES = 50
SHOWN_LOGS = 10
"""Failed tasks of which the end of what their script printed is shown."""
CLOCKS_S = 1.0
"""By which the clocks of driver and workers may differ."""
NOTHING_DONE = "no task was left to do"
MAP_CLOCK = (
    "from the first one's start to the last one's end; the map's wall clock, under Time, memory and cost, is longer by "
    "the start of its workers"
)
APART = (
    "Tasks begin before the run did, or end after it: what lies between times of two clocks is not known. Times of the "
    "tasks are those of the workers' clocks."
)


def execution(record: Record, history: History | None, name: str) -> list[Block]:
    """Return what happened in a run.

    Parameters
    ----------
    record : Record
    history : History, optional
        What AWS says of the execution, if it was asked.
    name : str
        With which the figures' names begin.
    """
    return [
        *_states(record),
        *(_history(history) if history else []),
        *_charts(record, name),
        *_retries(record),
        *_failures(record),
        *_logs(record),
    ]


def _states(record: Record) -> list[Block]:
    summary = record.summary
    if summary is None:
        return [Notice("bad", "There are no times of the states", (unended(record),))]
    start, end = moment(summary.drive.started_at), moment(summary.ended_at)
    spans, tasks = _of_last_drive(record, start), summary.drive.tasks
    first = last = None
    if spans and len(spans) == tasks:
        first, last = spans[0].start, max(span.stop for span in spans)
    apart = _is_negative(start, first) or _is_negative(last, end)
    of_map = f"{counted(tasks, 'task')}, {MAP_CLOCK}" if tasks else NOTHING_DONE
    rows = [
        ("Initialize", start, first, _between(start, first, apart=apart), "lists, checks and plans; workers start"),
        ("Infer (the map)", first, last, _between(first, last), of_map),
        ("Summarize", last, end, _between(last, end, apart=apart), "checks every task and adds up"),
    ]
    table = grid(
        ["State", "From", "To", "Seconds", "What it does"],
        [(state, amounts.clock(a, start), amounts.clock(b, start), taken, said) for state, a, b, taken, said in rows],
        caption=f"States, on {amounts.at(start)[:10]}, by the clocks of the driver and of the tasks' reports",
        words=(0, 4),
        codes=(1, 2),
    )
    doubts = [Notice("note", "The clocks of driver and workers differ", (APART,))] if apart else []
    return [table, *_untold(summary.drive, len(spans)), *doubts, *_resumed(summary, record.before)]


def _untold(drive: Drive, spans: int) -> list[Block]:
    if spans == drive.tasks:
        return []
    line = (
        f"It did {counted(drive.tasks, 'task')}; reports of its time: {spans:,}. Reports are gone or have no times, or "
        "the clocks of driver and workers differ."
    )
    return [Notice("note", "Which tasks the last drive did is not known", (line,))]


def _resumed(summary: Summary, before: int) -> list[Block]:
    if not before:
        return []
    line = (
        f"{counted(before, 'task')} of {summary.tasks:,} were done in earlier drives. Wall clocks and rates are those "
        "of the last drive alone; seconds of work and everything that is counted are of all tasks."
    )
    return [Notice("note", "The run was resumed", (line,))]


def _of_last_drive(record: Record, start: float | None) -> list[Span]:
    """Return the tasks of the last drive; of a run that was not resumed all, whatever the clocks say."""
    spans = record.seen.spans
    if start is None or not record.before:
        return spans
    return [span for span in spans if span.start >= start - CLOCKS_S]


def _is_negative(start: float | None, stop: float | None) -> bool:
    return start is not None and stop is not None and stop < start


def _between(start: float | None, stop: float | None, *, apart: bool = False) -> str:
    if start is None or stop is None or stop < start or apart:
        return amounts.UNKNOWN
    return f"{stop - start:,.2f}"


def _history(history: History) -> list[Block]:
    rows = [
        (
            item.name,
            amounts.clock(item.entered, history.started),
            amounts.clock(item.left, history.started),
            _between(item.entered, item.left),
        )
        for item in history.states
    ]
    facts = [
        ("Execution", history.arn, "as Step Functions names it"),
        ("Status", history.status, history.error),
        ("Started", amounts.at(history.started), ""),
        ("Ended", amounts.at(history.stopped), ""),
        *[
            (f"Children {name}", f"{number:,}", "of the Distributed Map, by its own count")
            for name, number in history.children
        ],
    ]
    table = grid(
        ["State", "Entered", "Left", "Seconds"],
        rows,
        caption="The execution's history, as AWS tells it",
        codes=(1, 2),
    )
    return [Facts(tuple(facts)), table]


def _charts(record: Record, name: str) -> list[Block]:
    seen = record.seen
    blocks: list[Block] = []
    if seen.untimed:
        line = "Their reports have no times, as those of another version of skyfan: they are not in the charts."
        blocks.append(Notice("note", f"{counted(seen.untimed, 'task')} without times", (line,)))
    if not seen.spans and not record.failed:
        return [*blocks, Text("There is nothing to draw: no report says when its task was worked at.")]
    if seen.spans:
        blocks.append(_progress(record, name))
    svg, said = draw_gantt(seen.spans, record.failed, len(record.found.failed))
    alt = f"Chart of when each worker was at a task, {counted(len(seen.spans), 'task')} in all"
    blocks.append(Figure(f"{name}-gantt", svg, "svg", alt, f"Who was at work when. {said}", inline=True))
    return blocks


def _progress(record: Record, name: str) -> Figure:
    spans = record.seen.spans
    what, of, expected = "Rows", "rows of tasks", record.standing.rows
    if record.scripted:
        what, of, expected = "Tasks", "tasks", len(record.tasks)
    alt = f"{what} done by time: from 0 to {progress(spans)[-1][1]:,} by the end of the map"
    pause = " Pauses, as before a resume, are shortened and marked." if axis_of(spans).pauses() else ""
    caption = f"Progress of the map: {of} that are done, by the time since the first task's start.{pause}"
    return Figure(f"{name}-progress", draw_progress(spans, expected, what), "svg", alt, caption, inline=True)


def _retries(record: Record) -> list[Block]:
    again = {attempt: tasks for attempt, tasks in sorted(record.seen.attempts.items()) if attempt > 1}
    if not again:
        return [Text("No task that is done needed a second attempt.")] if record.seen.attempts else []
    rows = [(f"attempt {attempt}", f"{tasks:,}") for attempt, tasks in again.items()]
    return [
        grid(["Done at", "Tasks"], rows, caption="Tried again: tasks whose first attempt failed in a way that can pass")
    ]


def _failures(record: Record) -> list[Block]:
    found = record.found
    if not found.failed:
        return []
    rows = [
        (
            str(rank),
            str(failed.attempt),
            failed.error.kind if failed.error else amounts.UNKNOWN,
            failed.error.message if failed.error else "the report says nothing",
            ", ".join(failed.partitions[:3])
            + (f" and {len(failed.partitions) - 3} more" if failed.partitions[3:] else ""),
        )
        for rank, failed in list(found.failures.items())[:SHOWN_FAILURES]
    ]
    more = len(found.failed) - len(rows)
    notes = (f"{more:,} more are not listed here.",) if more else ()
    head = ("Task", "Attempts", "Kind", "What happened, and what to do", "Partitions")
    caption = f"{counted(len(found.failed), 'task')} failed"
    return [Grid(head, tuple(rows), caption, notes, (0, 2, 3, 4), marked=tuple(range(len(rows))))]


def _logs(record: Record) -> list[Block]:
    """Return the last lines that the scripts of failed tasks printed."""
    blocks: list[Block] = []
    for rank, end in sorted(record.failed_ends.items())[:SHOWN_LOGS]:
        ended = f"Task {rank}: exit code {end.exit_code} after {end.wall_s:.1f} s, {amounts.mib(end.peak_memory_mb)}"
        lines = "\n".join(end.last_lines) or "(nothing)"
        blocks.append(Code(lines, "text", f"{ended}; the last lines of {record.bucket.where}/{end.log}"))
    unread = len(record.found.failed) - record.failed_read
    more = len(record.failed_ends) + unread - len(blocks)
    return [*blocks, Text(f"The logs of {counted(more, 'more failed task')} are not shown.")] if more > 0 else blocks
