"""The original report's table, from any runs: right units, costs of a named kind, and its own columns beside them."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import structs

from skyfan.bench.groups import Group, Origin, groups
from skyfan.bench.measurement import SCRIPT, Measurement
from skyfan.estimating.bill import MB_BYTES
from skyfan.prices import age_warning
from skyfan.wording import counted

UNKNOWN = "–"  # noqa: RUF001  what a reader takes for "not known"
LISTED = 20
"""Runs that are left out, and named."""
MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_SPECIAL = re.compile(r"([\\`*\[\]|~])")

Cell = Callable[[Group], str]


class Table(NamedTuple):
    """A table as text: what stands above it, its columns, its rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    """What must be known before rows are compared: whose they are, what is left out, what is repeated."""


def seed_table(measurements: Iterable[Measurement]) -> str:
    """Return the table of runs as Markdown; see `table_rows`."""
    head, rows, notes = table_rows(measurements)
    lines = [f"- {escaped(note)}" for note in notes]
    if not head:
        return "\n".join([*lines, ""])
    lines += ["", _line(head), "| " + " | ".join("---" for _ in head) + " |", *map(_line, rows), ""]
    return "\n".join(lines)


def table_rows(measurements: Iterable[Measurement]) -> Table:
    """Return one row per configuration: medians over its complete runs.

    Runs of different machines, models, data or origin never share a row; where they share the table, a column marks
    them, and the notes say what the marks are. A run that is not complete is in no figure, and is named.

    Parameters
    ----------
    measurements : iterable of Measurement

    Returns
    -------
    Table
        Cells are text. What is not known is `–`; a column that no row knows is left out, and named in the notes.
    """
    everything = groups(measurements)
    found = [group for group in everything if group.used or group.configuration.partitions]
    if not found:
        return Table((), (), ("There is no run to show.", *_left_out(everything)))
    origins = sorted({group.configuration.origin for group in found})
    columns = dict(_columns())
    unlike = _unlike_in_content(found)
    if unlike:
        columns["content"] = lambda group: group.configuration.content[:12] or UNKNOWN
    if len(origins) > 1:
        columns = {"set": lambda group: _mark(origins.index(group.configuration.origin)), **columns}
    cells = {name: [cell(group) for group in found] for name, cell in columns.items()}
    known = {name: column for name, column in cells.items() if any(text != UNKNOWN for text in column)}
    absent = [name for name in cells if name not in known]
    if all(tasks == files for tasks, files in zip(cells["tasks"], cells["files"], strict=True)):
        known.pop("tasks", None)
    notes = [*_origins(origins), *_differing(origins), *unlike, *_repeated(found), *_left_out(everything)]
    notes += [*_meanings(known), *_costs(found)]
    if absent:
        notes.append(f"Not known of any of these runs, so that there is no column: {'; '.join(absent)}.")
    return Table(tuple(known), tuple(zip(*known.values(), strict=True)), tuple(notes))


RUN_WALL, MAP_WALL = "run, wall clock, s", "map, wall clock, s"
TASK, COLD, WARM = "per task, median, s", "cold task, s", "warm task, s"
PEAK = "largest peak memory of a worker, MB"
RATE_RUN, RATE_MAP = "rows/s by the run's wall clock", "rows/s by the map's wall clock"
MB_MAP, RATE_SUM = "MB/s by the map's wall clock", "rows/s, sum of the workers' rates"
COST, COST_KIND = "cost, USD", "cost is"
SEED_TIME, SEED_MEMORY = "original's avg runtime, s", "original's memory, MB"
SEED_COST = "original's cost formula, USD"
SEED_THROUGHPUT = "original's 'throughput MB/s' (is GB/s: all data divided by the mean time of one worker)"


def _columns() -> list[tuple[str, Cell]]:
    return [
        ("partition, MB", lambda group: figure(group.configuration.partition_mb or None, 3)),
        ("files", _files),
        ("tasks", lambda group: _count(group.configuration.tasks)),
        ("data, GB", lambda group: figure(group.data_gb, 4)),
        ("batch size", lambda group: _count(group.configuration.batch_size)),
        ("workers", lambda group: _count(group.configuration.workers)),
        ("threads of each", lambda group: _count(group.configuration.threads)),
        ("runs", lambda group: f"{len(group.used)} of {len(group.used) + len(group.left_out)}"),
        (RUN_WALL, _spread("run_wall_s")),
        (MAP_WALL, _median("map_wall_s")),
        (TASK, _median("task_s_p50")),
        (COLD, _median("cold_task_s_p50")),
        (WARM, _median("warm_task_s_p50")),
        (PEAK, lambda group: figure(max(group.values("peak_memory_mb_max"), default=None), 4)),
        (RATE_RUN, _median("rows_per_s_run_wall")),
        (RATE_MAP, _median("rows_per_s_map_wall")),
        (MB_MAP, lambda group: figure(_scaled(group.median("bytes_per_s_map_wall"), MB_BYTES), 3)),
        (RATE_SUM, _median("rows_per_s_workers_sum")),
        (COST, _median("cost_usd")),
        (COST_KIND, lambda group: group.cost_kind or UNKNOWN),
        (SEED_TIME, _median("seed_avg_runtime_s", 5)),
        (SEED_MEMORY, _median("seed_memory_mb", 5)),
        (SEED_COST, _median("seed_cost_usd", 4)),
        (SEED_THROUGHPUT, _median("seed_throughput_gb_s", 5)),
    ]


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number with that many significant digits, never with an exponent; a dash for None."""
    if value is None:
        return UNKNOWN
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text and math.isclose(value, round(value), rel_tol=1e-9) else text


def _median(name: str, digits: int = 3) -> Cell:
    return lambda group: figure(group.median(name), digits)


def _spread(name: str) -> Cell:
    """Return a median with its range, where there are several runs."""

    def cell(group: Group) -> str:
        found = group.quantiles(name)
        if found is None or found.count == 1:
            return figure(found.median if found else None)
        return f"{figure(found.median)} ({figure(found.min)} to {figure(found.max)})"

    return cell


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _count(number: int | None) -> str:
    return f"{number:,}" if number else UNKNOWN


def _files(group: Group) -> str:
    files = _count(group.configuration.partitions)
    return f"{files} ({_count(group.distinct)} distinct)" if group.repeated else files


def _mark(number: int) -> str:
    return MARKS[number] if number < len(MARKS) else str(number + 1)


def described(origin: Origin) -> str:
    """Return in words whose runs these are."""
    by = f"run by skyfan {origin.skyfan}".strip() if origin.origin == "skyfan" else "imported results"
    by += f" of skyfan {origin.skyfan}" if origin.origin == "imported" and origin.skyfan else ""
    named = origin.model if origin.model.startswith(SCRIPT) else f"model {origin.model}"
    model = named if origin.model else "model not known"
    return ", ".join(
        [
            by + (f", engine {origin.engine}" if origin.engine else ""),
            f"machine: {origin.machine or 'not known'}",
            model + (f" (sha256 {origin.model_sha256[:12]})" if origin.model_sha256 else ""),
            f"data {origin.data}" if origin.data else "data not known",
        ]
    )


def _origins(origins: Sequence[Origin]) -> list[str]:
    if len(origins) == 1:
        return [f"All rows: {described(origins[0])}."]
    return [f"{_mark(number)}: {described(origin)}." for number, origin in enumerate(origins)]


def _differing(origins: Sequence[Origin]) -> list[str]:
    labels = {
        "origin": "origins",
        "engine": "engines",
        "machine": "machines",
        "skyfan": "versions of skyfan",
        "model_sha256": "models",
        "data": "data",
    }
    differ = [label for name, label in labels.items() if len({getattr(origin, name) for origin in origins}) > 1]
    if not differ:
        return []
    return [f"Rows of different {', '.join(differ)} are in one table, marked in the column 'set': compare with care."]


def _unlike_in_content(found: Sequence[Group]) -> list[str]:
    """Say which rows would be one if the content of their partitions were not known."""
    alike = Counter(structs.replace(group.configuration, content="") for group in found)
    rows = sum(count for count in alike.values() if count > 1)
    if not rows:
        return []
    said = (
        f"{counted(rows, 'row')} differ in nothing but the content of their partitions: see the column 'content', the "
    )
    return [f"{said}first digits of a hash. They are of different data, or it is not known that they are not."]


def _repeated(found: Sequence[Group]) -> list[str]:
    notes: dict[str, None] = {}
    for group in found:
        if group.repeated and group.distinct and group.data_gb:
            distinct_gb = group.data_gb * group.distinct / group.configuration.partitions
            notes[f"{figure(group.data_gb)} GB from {figure(distinct_gb)} GB of distinct data"] = None
    return [f"Partitions were repeated to be more data than there are: {'; '.join(notes)}."] if notes else []


def _left_out(found: Sequence[Group]) -> list[str]:
    runs = [run for group in found for run in group.left_out]
    if not runs:
        return []
    more = len(runs) - LISTED
    return [
        f"{counted(len(runs), 'run')} left out of every figure:",
        *(f"left out: {run.run}: {run.problem or 'not complete'}." for run in runs[:LISTED]),
        *([f"and {more:,} more."] if more > 0 else []),
    ]


def _meanings(known: Iterable[str]) -> list[str]:
    known = set(known)
    meanings = {
        RUN_WALL: "Figures are medians over complete runs; after the wall clock of the run, its least and greatest "
        "are in brackets. MB is 1,048,576 bytes, GB is 1,024 MB. A dash is: not known.",
        COLD: "A cold task is the first of its worker's process and loads the model; the process's start is not in it.",
        RATE_SUM: "The sum of the workers' rates is what they would reach if never idle; it is no throughput of a run.",
        COST: "Cost: 'rented' is the run's wall clock on whole machines on demand, 60 s at least, 'billed' is what AWS "
        "bills, 'at least' is a bill with lines missing.",
        SEED_COST: "The original's columns are computed as it computed them. Its cost takes memory used, not "
        "configured, and is no bill; its throughput assumes that all workers start and end at once.",
    }
    return [text for name, text in meanings.items() if name in known or name == RUN_WALL]


def _costs(found: Sequence[Group]) -> list[str]:
    """Say by which prices costs are, and which costs are in no median."""
    bounds = [run.run for group in found for run in group.used if run.cost_usd is not None and run not in group.priced]
    notes = of_prices(found)
    if bounds:
        more = f" and {len(bounds) - LISTED:,} more" if len(bounds) > LISTED else ""
        said = "Bills with lines missing are in no median of a cost beside whole ones"
        notes.append(f"{said}: {', '.join(bounds[:LISTED])}{more}.")
    problems = Counter(run.cost_problem for group in found for run in group.used if run.cost_problem)
    return notes + [f"The cost of {counted(count, 'run')} is not known: {why}." for why, count in problems.items()]


def of_prices(found: Sequence[Group]) -> list[str]:
    """Return by which prices the costs of these runs are, and which of the prices are old, as sentences."""
    priced = [run for group in found for run in group.priced]
    lists = sorted({(run.prices_region, run.prices_read_in) for run in priced if run.prices_read_in})
    if not lists:
        return []
    named = ", and ".join(f"{region}, looked up in {read_in}" for region, read_in in lists)
    old = filter(None, (age_warning(region, read_in) for region, read_in in lists if _MONTH.fullmatch(read_in)))
    return [f"Costs are by the prices of {named}.", *(f"{text[:1].upper()}{text[1:]}." for text in old)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: names come from files of others."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
