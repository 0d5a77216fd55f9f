"""What a run took: time, rates, memory and money, each figure named for what it is."""

from skyfan.bench.table import figure
from skyfan.cost import Cost, local_run
from skyfan.prices import load_prices
from skyfan.report import amounts
from skyfan.report.document import Block, Facts, Grid, Notice
from skyfan.report.record import Record
from skyfan.report.verdict import cost_of, old_prices, partial
from skyfan.summary import Drive, Summary

NOT_YET = "They are added up when a run comes to its end."
ALONE = "; of the last drive alone"
MEANINGS = {
    "model": "fetching and loading the model",
    "open": "opening partitions and reading their columns; with a remote store, fetching them",
    "hash": "hashing partitions",
    "read": "reading, checking and converting batches",
    "predict": "the model itself",
    "write": "encoding, hashing and storing parts",
    "other": "between the phases",
}
MEANINGS_OF_SCRIPTS = {
    "model": "fetching the script's code, and laying it out for each task",
    "script": "the script itself, from its start to its end",
    "write": "storing what it printed, and reading its result",
    "other": "between the phases",
}


def numbers(record: Record) -> list[Block]:
    """Return the figures of a run."""
    summary = record.summary
    if summary is None:
        said = "The summary that holds them cannot be read." if record.unreadable else NOT_YET
        return [Notice("bad", "There are no figures", (said,))]
    return [
        *partial(record, summary.tasks_ok),
        Facts(tuple(_times(record, summary))),
        *_phases(record, summary),
        Facts(tuple(_memory(record, summary))),
        *_cost(record),
    ]


def _times(record: Record, summary: Summary) -> list[tuple[str, str, str]]:
    drive, task = summary.drive, summary.task_seconds
    alone = ALONE if record.before else ""
    spread = f"{task.median:.2f} s median, {task.p95:.2f} s 95th percentile, {task.max:.2f} s longest"
    spread = spread if summary.tasks_ok else amounts.UNKNOWN
    return [
        (
            "Wall clock of the run",
            amounts.seconds(drive.run_wall_s),
            f"from the driver's start until it asked for the summary{alone}",
        ),
        (
            "Wall clock of the map",
            amounts.seconds(drive.map_wall_s),
            f"from the first task handed out to the last one's end{alone}",
        ),
        _workers(record, drive),
        ("Seconds of a task", spread, "from its start to its report, over all tasks"),
        *(_rate_of_tasks(drive) if record.scripted else _rates(record, summary)),
    ]


def _workers(record: Record, drive: Drive) -> tuple[str, str, str]:
    if record.idle:
        return "Workers", "none", "no task was left to do"
    return "Workers", f"{drive.workers:,}", "side by side; on AWS, the most at once"


def _rate_of_tasks(drive: Drive) -> list[tuple[str, str, str]]:
    rate = (
        f"{figure(drive.tasks / drive.map_wall_s)} tasks/s" if drive.tasks and drive.map_wall_s > 0 else amounts.UNKNOWN
    )
    return [("Rate by the map's wall clock", rate, "tasks divided by the map's wall clock; rows only the script knows")]


def _rates(record: Record, summary: Summary) -> list[tuple[str, str, str]]:
    measured = record.measurement
    rows = [
        (
            "Rate by the run's wall clock",
            amounts.rate(measured.rows_per_s_run_wall),
            "rows divided by the wall clock of the run: what whoever waits for it sees",
        ),
        (
            "Rate by the map's wall clock",
            amounts.rate(measured.rows_per_s_map_wall),
            "rows divided by the wall clock of the map",
        ),
        (
            "Sum of the workers' rates",
            amounts.rate(measured.rows_per_s_workers_sum),
            "rows divided by seconds of work, times workers: what they would reach if never idle; no run is as fast",
        ),
    ]
    if summary.first_prediction_s.max:
        first = summary.first_prediction_s
        said = f"{first.median:.2f} s median, {first.max:.2f} s longest"
        rows.append(("To a worker's first prediction", said, "from the start of its process, waiting left out"))
    return rows


def _phases(record: Record, summary: Summary) -> list[Block]:
    if not summary.tasks_ok:
        return []
    measured = record.measurement
    meanings = MEANINGS_OF_SCRIPTS if record.scripted else MEANINGS
    taken = {name: getattr(measured, f"{name}_s") for name in meanings}
    known = {name: value for name, value in taken.items() if value is not None}
    total = sum(known.values())
    rows = [
        (name, f"{value:,.2f}", f"{value / total:.1%}" if total else "", meanings[name])
        for name, value in known.items()
    ]
    rows.append(
        (
            "total",
            f"{total:,.2f}",
            "",
            "of all tasks that are done, added up; waiting and failed attempts are not in it",
        )
    )
    caption = "Seconds of the workers, by phase"
    return [Grid(("Phase", "Seconds", "Share", "What it is"), tuple(rows), caption, words=(0, 3))]


def _memory(record: Record, summary: Summary) -> list[tuple[str, str, str]]:
    peak, measured = summary.worker_peak_memory_mb, record.measurement
    said = f"{amounts.mib(peak.max)} at most, {amounts.mib(peak.median)} median"
    said = said if summary.tasks_ok else amounts.UNKNOWN
    if record.scripted:
        return [
            ("Memory of a script", said, "of all its processes together, resident, at the peak of each task"),
            ("Batch size", amounts.count(measured.batch_size or None), "that the script was told"),
            ("Threads of a worker", amounts.count(measured.threads), "that numerical libraries in it were told to use"),
        ]
    return [
        ("Memory of a worker", said, "largest resident set of its process up to the end of each task"),
        ("Batch size", amounts.count(measured.batch_size or None), "rows that the model is given at once"),
        ("Threads of a worker", amounts.count(measured.threads), "that its model uses"),
    ]


def _cost(record: Record) -> list[Block]:
    measured, summary = record.measurement, record.summary
    rows = [("Cost", *cost_of(record))]
    if measured.core_hours is not None:
        said = f"a core for each worker's thread, idle or not{ALONE if record.before else ''}"
        rows.append(("Core-hours", f"{measured.core_hours:.4f}", said))
    rows += [
        (
            "Cost by the original's formula",
            amounts.usd(measured.seed_cost_usd),
            "tasks x their mean seconds x memory used x the price of a GB-second: no bill ever says this",
        ),
        (
            "Throughput by the original's formula",
            f"{measured.seed_throughput_gb_s:.4f} GB/s" if measured.seed_throughput_gb_s else amounts.UNKNOWN,
            "all data divided by one task's mean time, as if all tasks ran at once; its table prints this as MB/s",
        ),
    ]
    old = old_prices(record)
    blocks: list[Block] = [Facts(tuple(rows)), *([Notice("note", "The prices are old", (old,))] if old else [])]
    if record.bill is not None:
        least = "" if record.bill.is_whole else ", a lower bound"
        notes = tuple(note for note in record.bill.notes if note != old)
        blocks.append(_lines(record.bill.cost, f"The bill{least}", notes))
    elif measured.cost_kind == "rented" and summary is not None and summary.drive.workers:
        cores = summary.drive.workers * (measured.threads or 1)
        rented = local_run(cores, summary.drive.run_wall_s, load_prices()).rented
        blocks.append(_lines(rented, "The same on rented machines", ()))
    return blocks


def _lines(cost: Cost, caption: str, notes: tuple[str, ...]) -> Grid:
    rows = [
        (line.what, amounts.quantity(line.quantity), line.unit, f"{line.usd:.6f}") for line in cost.lines if line.usd
    ]
    rows.append(("total", "", "", f"{cost.total_usd:.6f}"))
    by = f"Prices of {cost.region}, the oldest looked up in {cost.prices_read_in}; free tiers, discounts, taxes aside."
    return Grid(("Line", "Quantity", "Unit", "USD"), tuple(rows), caption, (by, *notes), (0, 2))
