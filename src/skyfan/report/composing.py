"""The report of runs, put together section by section."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from skyfan import __version__
from skyfan.bench.measurement import Measurement
from skyfan.report.catalogue import Glance, glance
from skyfan.report.completeness import completeness
from skyfan.report.document import Block, Document, Heading, Notice, Section, Terms, Text
from skyfan.report.execution import execution
from skyfan.report.gallery import gallery
from skyfan.report.glossary import TERMS
from skyfan.report.history import History
from skyfan.report.numbers import numbers
from skyfan.report.permissions import permissions
from skyfan.report.record import Record, damaged
from skyfan.report.scaling import scaling
from skyfan.report.science import is_evaluated, science
from skyfan.report.sources import sources
from skyfan.report.verdict import verdict
from skyfan.report.workflow import workflow
from skyfan.wording import counted

if TYPE_CHECKING:
    from skyfan.aws.stack import Stack

DETAILED = 3
"""Runs of one report with plots and a gallery each: more would be a book, and a file that no mail takes."""

NO_CATALOGUE = (
    "Its tasks ran a script: skyfan has no catalogue of it, so there are no metrics, plots or gallery. What the script "
    "wrote is its own; where its results and its logs lie is said under Completeness and Sources."
)
INTROS = {
    "workflow": (
        "Workflow",
        (
            "A run goes through these states, on AWS as a state machine and elsewhere in one program: Initialize plans "
            "the tasks, the map does one Infer for each, many at once, and Summarize checks that nothing is missing."
        ),
    ),
    "execution": (
        "Execution",
        "What happened when. Times are UTC, from the clocks of the driver and of the tasks' own reports.",
    ),
    "completeness": (
        "Completeness",
        (
            "The proof that nothing is missing: what the manifest planned is held against what the tasks did and what "
            "lies in the store."
        ),
    ),
    "numbers": (
        "Time, memory and cost",
        (
            "What the run took. Each figure is named for what it is: wall clock is time as it passes for whoever "
            "waits, seconds of workers are added up over all of them."
        ),
    ),
    "scaling": (
        "Scaling",
        (
            "The same figures by the size of partitions and data, over every run given. Runs that are not whole are "
            "never averaged in."
        ),
    ),
    "science": (
        "Science",
        "How good the predictions are where the true redshift is known, and which images the model finds strangest.",
    ),
    "sources": (
        "Sources",
        "What each run was made from, down to the hash, and the commands that make it again.",
    ),
}


def compose(
    records: Sequence[Record],
    measurements: Sequence[Measurement] = (),
    *,
    images: int,
    histories: Mapping[str, History],
    stack: "Stack | None" = None,
    unanswered: Mapping[str, str] | None = None,
) -> Document:
    """Return the report of runs; a verdict is good only if the catalogue could be read, as far as it was.

    Parameters
    ----------
    records : sequence of Record
        At least one.
    measurements : sequence of Measurement
        Of other runs, for the scaling table; those that are of a run and a drive that is there already are left out.
    images : int
        In the gallery of each of the first `DETAILED` runs; 0 for none.
    histories : mapping
        What AWS says of their executions, by the run's name.
    stack : Stack, optional
        That they ran on.
    unanswered : mapping, optional
        Why AWS told nothing, by the run's name; by an empty name, of the stack.
    """
    several = len(records) > 1
    glances = [_glanced(record, images) for record in records[:DETAILED]]
    records = [*map(damaged, records, (found.problem for found in glances)), *records[DETAILED:]]
    contents = _Contents(records, measurements, glances, images, histories, stack, unanswered or {}).blocks()
    sections = [Section(name, title, intro, contents[name]) for name, (title, intro) in INTROS.items()]
    words = Section("words", "Words", "What the words of this report mean.", (Terms(TERMS),))
    return Document(
        title=f"Report of {records[0].id}" if not several else f"Report of {counted(len(records), 'run')}",
        made_by=f"skyfan {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        verdicts=tuple(map(verdict, records)),
        overall=_overall(records) if several else "",
        sections=(*sections, words),
    )


@dataclass(frozen=True)
class _Contents:
    """What the sections are made of, and what stands in them."""

    records: Sequence[Record]
    measurements: Sequence[Measurement]
    glances: Sequence[Glance]
    """At the catalogues of the first `DETAILED` runs."""
    images: int
    histories: Mapping[str, History]
    stack: "Stack | None"
    unanswered: Mapping[str, str]

    def blocks(self) -> dict[str, tuple[Block, ...]]:
        """Return the content of each section, by its name."""
        return {
            "workflow": self._each(self._workflow),
            "execution": self._each(self._execution),
            "completeness": self._each(lambda record, _: completeness(record)),
            "numbers": self._each(lambda record, _: numbers(record)),
            "scaling": tuple(scaling(_once([*(record.measurement for record in self.records), *self.measurements]))),
            "science": self._each(self._science),
            "sources": (*_silence(self.unanswered, ""), *self._each(self._sources)),
        }

    def _each(self, of_run: Callable[[Record, int], list[Block]]) -> tuple[Block, ...]:
        """Return the blocks of every run, told of its number from 1, below its name if there are several."""
        found: list[Block] = []
        for number, record in enumerate(self.records, 1):
            found += [Heading(record.id)] if len(self.records) > 1 else []
            found += of_run(record, number)
        return tuple(found)

    def _workflow(self, record: Record, number: int) -> list[Block]:
        return workflow(record, self.histories.get(record.id), _name(number))

    def _execution(self, record: Record, number: int) -> list[Block]:
        told = execution(record, self.histories.get(record.id), _name(number))
        return [*_silence(self.unanswered, record.id), *told]

    def _science(self, record: Record, number: int) -> list[Block]:
        if record.scripted:
            return [Text(NO_CATALOGUE)]
        if number > DETAILED:
            said = f"Plots and galleries are those of the first {DETAILED} runs of this report."
            return [*science(record, Glance(), _name(number)), Text(said)]
        found = self.glances[number - 1]
        shown = gallery(record, found, f"{_name(number)}-image") if self.images and record.found.done else []
        return [*science(record, found, _name(number)), *shown]

    def _sources(self, record: Record, _number: int) -> list[Block]:
        return [*sources(record), *permissions(record, self.stack)]


def _name(number: int) -> str:
    """Return what begins the names of a run's own drawings."""
    return f"run{number}"


def _glanced(record: Record, images: int) -> Glance:
    has_catalogue = record.found.done and not record.scripted
    return glance(record, images, compared=is_evaluated(record)) if has_catalogue else Glance()


def _silence(unanswered: Mapping[str, str], name: str) -> list[Block]:
    """Say that AWS could not be asked."""
    return [Notice("note", "AWS could not be asked", (unanswered[name],))] if name in unanswered else []


def _once(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Leave out what is there twice: the same drive of a run, or, where no time tells, the same row."""
    found: dict[object, Measurement] = {}
    for row in measurements:
        found.setdefault((row.origin, row.run, row.started_at) if row.started_at else row, row)
    return list(found.values())


def _overall(records: Sequence[Record]) -> str:
    partial = [record.id for record in records if not record.complete]
    if not partial:
        return f"{'Both runs' if len(records) == 2 else f'All {len(records):,} runs'} are complete."
    return f"{len(partial)} of {counted(len(records), 'run')} NOT COMPLETE: {', '.join(partial)}"
