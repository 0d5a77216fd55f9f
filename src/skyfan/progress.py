"""Showing a run while it goes on: one live line in a terminal, plain lines elsewhere, JSON lines for machines."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec

from skyfan.watching import (
    Billed,
    Ended,
    Planned,
    Priced,
    RunEvent,
    Started,
    TaskDone,
    TaskGivenUp,
    TaskRetried,
    Ticked,
    Waiting,
    Watcher,
    unwatched,
)
from skyfan.wording import counted, duration

LINE_EVERY_S = 10.0

_STYLES: dict[type, str] = {TaskGivenUp: "red", Priced: "dim", Started: "dim", Billed: "dim"}


class Tally:
    """Adds up a run's events into what a line of progress says."""

    def __init__(self) -> None:
        self.tasks = self.tasks_done = self.failed = self.retried = 0
        self.rows_done = 0
        self._rows: int | None = None
        self._scripted = False
        self._bytes = self._bytes_done = self._tasks_now = self._rows_now = 0
        self._started = time.monotonic()

    def add(self, event: RunEvent) -> None:
        """Take an event into account."""
        match event:
            case Planned():
                self.tasks, self.tasks_done = event.tasks, event.tasks_done
                self._rows, self.rows_done = event.rows, event.rows_done
                self._bytes, self._scripted = event.bytes, event.script is not None
                self._started = time.monotonic()
            case TaskDone():
                self.tasks_done += 1
                self._tasks_now += 1
                self.rows_done += event.report.rows_out
                self._rows_now += event.report.rows_out
                self._bytes_done += sum(ref.bytes for ref in event.report.partitions)
            case TaskRetried():
                self.retried += 1
            case TaskGivenUp():
                self.failed += 1
            case Ended():
                self._rows = event.summary.rows_out if event.summary.complete else self._rows
                self._scripted = event.summary.script is not None

    @property
    def rows(self) -> tuple[int, bool] | None:
        """Rows of the whole run, and whether that is exact: without an index it is reckoned from the bytes.

        None if that cannot be, or a script decides.
        """
        if self._scripted:
            return None
        if self._rows is not None:
            return self._rows, True
        if not self._bytes_done:
            return None
        return max(self.rows_done, round(self._bytes * self._rows_now / self._bytes_done)), False

    @property
    def rows_per_s(self) -> float:
        """Rows of this drive by its wall clock so far."""
        elapsed = self._elapsed_s
        return self._rows_now / elapsed if elapsed > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at that rate, of scripts at that of tasks; None before the first task is done."""
        if self._scripted:
            left = self.tasks - self.tasks_done - self.failed
            return left * self._elapsed_s / self._tasks_now if self._tasks_now and left > 0 else None
        total = self.rows
        if total is None or not self._rows_now:
            return None
        return max(0.0, (total[0] - self.rows_done) / self.rows_per_s)

    def text(self) -> str:
        """Return the line."""
        # what matters most comes first: a narrow terminal cuts the end off
        pieces = [f"ETA {duration(self.eta_s)}"] if self.eta_s is not None and self.tasks_done < self.tasks else []
        pieces += [f"{count} {name}" for count, name in ((self.failed, "failed"), (self.retried, "retried")) if count]
        pieces += [] if self._scripted else self._of_rows()
        return ", ".join([*pieces, f"{self.tasks_done}/{self.tasks} tasks"])

    def _of_rows(self) -> list[str]:
        total = self.rows
        of = f" of {'' if total[1] else 'about '}{total[0]:,}" if total else ""
        rate = [f"{self.rows_per_s:,.0f} rows/s"] if self._rows_now else []
        return [f"{self.rows_done:,}{of} rows", *rate]

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started


def _notices(event: RunEvent) -> list[str]:
    """Return what is worth lines of its own."""
    notices: list[str] = []
    match event:
        case Priced():
            notices = _price(event)
        case Started():
            notices = [f"{'watching' if event.attached else 'started'} the execution {event.execution}"]
        case Planned():
            notices = [f"warning: {warning}" for warning in event.warnings]
        case TaskRetried():
            failed = f"task {event.rank}: attempt {event.attempt} failed"
            notices = [f"{failed}, next in {event.delay_s:.0f} s: {event.error.message}"]
        case TaskGivenUp():
            failed = f"task {event.rank}: failed after {counted(event.attempts, 'attempt')}"
            notices = [f"{failed}: {event.error.message}"]
        case Waiting():
            notices = [event.reason]
        case Ended() if event.found_finished:
            finished = f"{event.summary.run}: complete since {event.summary.ended_at}, nothing was done"
            notices = [*(f"warning: {warning}" for warning in event.warnings), finished]
        case Billed():
            least = "" if event.is_whole else "at least "
            notices = [f"{event.run}: cost {least}{event.cost.total_usd:.4f} USD"]
    return notices


def _price(event: Priced) -> list[str]:
    estimate = event.estimate
    low, high = estimate.low.total_usd, estimate.high.total_usd
    return [
        f"{event.run}: will cost about {estimate.typical.total_usd:.4f} USD, {low:.4f} to {high:.4f}",
        *(
            f"  {line.what}: {line.quantity:,.2f} {line.unit}, {line.usd:.6f} USD"
            for line in estimate.typical.lines
            if line.usd
        ),
        *(f"  {text}" for text in event.basis),
    ]


@contextmanager
def watching(*, json_lines: bool, quiet: bool) -> Iterator[Watcher]:
    """Give the watcher that fits where the output goes; progress goes to stderr, JSON lines to stdout."""
    if json_lines:
        yield JsonLines(sys.stdout)
    elif quiet:
        yield unwatched
    elif draws(sys.stderr):
        with live() as watcher:
            yield watcher
    elif sys.stderr is not None:
        yield PlainLines(sys.stderr)
    else:
        yield unwatched


def draws(out: TextIO | None) -> bool:
    """Whether an output is a terminal that can draw a line anew."""
    return out is not None and out.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


class JsonLines:
    """One JSON object a line; `event` says which, the other keys are the event's own."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Ticked):
            return
        content: dict[str, Any] = {"event": type(event).__name__, **msgspec.to_builtins(event)}
        if isinstance(event, TaskDone):
            del content["report"]["science"]  # kilobytes of sums, which the stored report has
        print(msgspec.json.encode(content).decode(), file=self._out, flush=True)


class PlainLines:
    """A line at the start, every ten seconds, and for every failure."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._tally = Tally()
        self._next = 0.0
        self._last = ""

    def __call__(self, event: RunEvent) -> None:
        self._tally.add(event)
        for notice in _notices(event):
            self._say(notice)
        if isinstance(event, Ended) and (event.found_finished or self._tally.text() == self._last):
            return  # it was said
        if isinstance(event, Planned | Ended) or (self._tally.tasks and time.monotonic() >= self._next):
            self._next = time.monotonic() + LINE_EVERY_S
            self._last = self._tally.text()
            self._say(self._last)

    def _say(self, text: str) -> None:
        print(f"skyfan: {text}", file=self._out, flush=True)


@contextmanager
def live() -> Iterator[Watcher]:
    """Show one line in a terminal that is drawn anew four times a second."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[line]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        transient=True,
        refresh_per_second=4,
    )
    tally = Tally()
    with bar:
        task = bar.add_task("run", total=None, line="planning")

        def watch(event: RunEvent) -> None:
            tally.add(event)
            for notice in _notices(event):
                style = _STYLES.get(type(event), "yellow")
                console.print(notice, style=style, markup=False, highlight=False)
            bar.update(task, total=tally.tasks or None, completed=tally.tasks_done, line=tally.text())

        yield watch


@contextmanager
def counting(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show how far a job of known length is; yields a function of (done, total)."""
    if quiet or not draws(sys.stderr):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
