"""The picture of the workflow, with what became of each state in this run."""

from skyfan.engines.choosing import DASK, LOCAL
from skyfan.graph.definition import own_machine
from skyfan.graph.marks import StateMark, Status
from skyfan.graph.svg import draw_svg
from skyfan.report.document import Block, Figure
from skyfan.report.history import History
from skyfan.report.record import Record
from skyfan.wording import counted

NOT_ON_AWS = {LOCAL: "on one machine", DASK: "on a Dask cluster"}
"""Where the workers of an engine are."""


def workflow(record: Record, history: History | None, name: str) -> list[Block]:
    """Return the picture of the state machine, marked.

    Parameters
    ----------
    record : Record
    history : History, optional
        What AWS says of the execution, if it was asked; without, the marks are from the store.
    name : str
        With which the figure's name begins.
    """
    marks = marks_of(record, history)
    title = f"The state machine of {record.id}"
    svg = draw_svg(own_machine(), states=marks, title=title)
    said = ", ".join(f"{state} {mark.status}" for state, mark in marks.items())
    source = "by the execution's history and the store" if history else "by what the store shows"
    caption = f"Drawn from the definition that is deployed on AWS; states are marked {source}.{_elsewhere(record)}"
    return [Figure(f"{name}-workflow", svg.encode(), "svg", f"{title}: {said}", caption, inline=True)]


def marks_of(record: Record, history: History | None = None) -> dict[str, StateMark]:
    """Return what became of each state, as far as it is known.

    A run on one's own machine goes through the same states: the names are those of the definition.
    """
    state, found, total = record.standing.state, record.found, len(record.tasks)
    if not total:
        return {"Initialize": StateMark("running" if state == "running" else "failed", "no plan yet")}
    infer: Status = "succeeded"
    if found.failed or found.missing:
        infer = "running" if state == "running" else "failed"
    worker = "InferScript" if record.scripted else "Infer"
    marks = {
        "Initialize": StateMark("succeeded", counted(total, "task")),
        "AnythingPending": StateMark("succeeded"),
        "InferAll": StateMark(infer, _tasks(record, infer)),
        "HasScript": StateMark("succeeded"),
        worker: StateMark(infer),
    }
    if record.summary is not None and state != "running":
        marks["Summarize"] = StateMark("succeeded", "complete" if record.complete else "not complete")
    if record.complete:
        marks |= {"Verdict": StateMark("succeeded"), "Done": StateMark("succeeded")}
    if history is not None and "InferAll" not in {item.name for item in history.states}:
        marks["InferAll"] = StateMark("skipped", "nothing to do")
        marks |= dict.fromkeys(("HasScript", worker), StateMark("skipped"))
    return marks


def _tasks(record: Record, status: Status) -> str:
    """Return how many tasks the mark of the map speaks of: those that failed or were not done, else those done."""
    found, total = record.found, counted(len(record.tasks), "task")
    if status != "failed":
        return f"{len(found.done):,} of {total} done"
    if not found.failed:
        return f"{len(found.missing):,} of {total} not done"
    return f"{len(found.failed):,} of {total}" + (f", {len(found.missing):,} not done" if found.missing else "")


def _elsewhere(record: Record) -> str:
    """Say that what the picture shows of Lambda was not in force, where the run was not on AWS."""
    where = NOT_ON_AWS.get(record.measurement.engine, "")
    return f" This run was {where}: limits and retries of Lambda did not apply." if where else ""
