"""A plan, a standing, a summary, as a person reads them."""

import sys

import click
from rich.console import Console
from rich.table import Table

from skyfan.cost import local_run
from skyfan.errors import InputError
from skyfan.evaluation import LABELS, Evaluation, shown
from skyfan.host import LAMBDA
from skyfan.keys import RunKeys
from skyfan.photoz.science import Science
from skyfan.planning import Plan
from skyfan.prices import age_warning, load_prices
from skyfan.standing import Standing
from skyfan.summary import Summary
from skyfan.tally import Spread
from skyfan.task import ModelRef, ScriptRef, ScriptSetting, Task
from skyfan.verification import Verification
from skyfan.watching import Billed
from skyfan.wording import counted, size

PIPED_WIDTH = 400  # where nobody's terminal ends, lines are not to be broken

Rows = list[tuple[str, str]]


def show(title: str, rows: Rows) -> None:
    """Print two columns under a title, and an empty line after them."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    console = Console(
        highlight=False, markup=False, width=None if sys.stdout is not None and sys.stdout.isatty() else PIPED_WIDTH
    )
    with console.capture() as captured:
        console.print(table)
    click.secho(title, bold=True)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
    click.echo()


def summary_rows(summary: Summary, where: str) -> Rows:
    """Return what is worth knowing of a run at its end."""
    scripted = summary.script is not None
    rows = [
        ("complete", "yes" if summary.complete else "NO"),
        *[("problem", text) for text in summary.problems],
        *[("warning", text) for text in summary.warnings],
        *[(f"task {failure.rank}", failure.error.message) for failure in summary.failures[:5]],
        ("tasks", _tasks(summary)),
        *([] if scripted else _catalogue_rows(summary)),
        _program(summary.program),
        ("wall clock", _wall_clock(summary)),
        ("rows/s", "" if scripted or not summary.drive.tasks else _rates(summary)),
        *(_task_rows(summary) if summary.tasks_ok else []),
        *([] if scripted else [("catalogue", size(summary.bytes_out))]),
        ("cost", _local_cost(summary)),
        *(_script_rows(summary, where) if scripted else []),
        ("lies in", where if summary.tasks_ok else ""),
        *(science_rows(summary.science) if summary.science else []),
    ]
    return [row for row in rows if row[1]]


def _task_rows(summary: Summary) -> Rows:
    kind = "worker" if summary.script is None else "script"
    return [
        ("task", f"{_spread(summary.task_seconds)} s"),
        (f"{kind} memory", f"{summary.worker_peak_memory_mb.max:.0f} MiB at most"),
    ]


def _program(program: ModelRef | ScriptRef | None) -> tuple[str, str]:
    """Return what the tasks of a run run, and its hash."""
    name = "script" if isinstance(program, ScriptRef) else "model"
    return name, f"{program.name}, sha256 {program.sha256[:12]}" if program else "none"


def _catalogue_rows(summary: Summary) -> Rows:
    expected = (
        f", {summary.rows_expected:,} expected" if summary.rows_expected is not None else ", not known beforehand"
    )
    return [
        ("rows", f"{summary.rows_in:,} read, {summary.rows_out:,} in the catalogue{expected}"),
        ("flagged", _flags(summary)),
    ]


def _script_rows(summary: Summary, where: str) -> Rows:
    """Return where lies what scripts left; which rows they predicted only they know."""
    keys = RunKeys(where)
    return [
        ("logs", f"{keys.logs}/, what each task's script printed"),
        ("results", f"{summary.results:,}, as {keys.result(0)} and so on; together in {keys.combined}")
        if summary.results
        else ("results", f"none: no script left one as {keys.result(0)} and so on"),
    ]


def _wall_clock(summary: Summary) -> str:
    drive = summary.drive
    crew = counted(drive.workers, "worker") if drive.workers else "no worker"
    said = f"{drive.run_wall_s:.1f} s, of which {drive.map_wall_s:.1f} s the map, {crew}"
    return f"{said}{_of_this_drive(summary)}"


def _local_cost(summary: Summary) -> str:
    """Say what the last drive took of one's own machine; a run on AWS has a bill."""
    workers = summary.drive.workers
    if not workers or any(machine.startswith(LAMBDA) for machine in summary.machines):
        return ""
    try:
        prices = load_prices()
    except InputError as error:
        return f"not known: {error}"
    cost = local_run(workers * summary.threads, summary.drive.run_wall_s, prices)
    rented = ", ".join(line.what.removeprefix("EC2: ") for line in cost.rented.lines)
    said = f"{cost.core_hours:.4f} core-hours; the same rented ({rented}): {cost.rented.total_usd:.4f} USD"
    return f"{said}{_of_this_drive(summary)}"


def _of_this_drive(summary: Summary) -> str:
    """Say that a figure is not of the whole run, where tasks were done before."""
    before = summary.tasks_ok - summary.drive.tasks
    if before <= 0:
        return ""
    return f" (of this drive; {counted(before, 'task')} {'was' if before == 1 else 'were'} done before)"


def science_rows(science: Science) -> Rows:
    """Return the main figures of predictions against true redshifts."""
    without = science.rows_without_prediction
    return [
        (
            "true redshift",
            f"{science.rows:,} galaxies" + (f", {without:,} more without a prediction" if without else ""),
        ),
        ("bias", _figure(science.bias_mean, "+.5f", science.bias_mean_error)),
        ("sigma_NMAD", _figure(science.sigma_nmad, ".5f")),
        ("outliers", _figure(science.outlier_fraction_005, ".2%", suffix=" with |dz| > 0.05")),
        ("R2", _figure(science.r2, ".4f")),
        ("PDFs", _figure(science.pit_ks, ".3f", suffix=" KS distance of their PIT from a flat one")),
        ("68 % interval", _figure(science.coverage_68, ".1%", suffix=" of true redshifts in it")),
    ]


def _figure(value: float | None, form: str, error: float | None = None, suffix: str = "") -> str:
    if value is None:
        return ""
    return f"{value:{form}}" + (f" ± {error:.5f}" if error is not None else "") + suffix


def _rates(summary: Summary) -> str:
    wall, workers = summary.rows_per_s_map_wall, summary.rows_per_s_workers_sum
    return f"{wall:,.0f} by the map's wall clock, {workers:,.0f} sum of the workers' rates"


def _tasks(summary: Summary) -> str:
    others = [
        f"{summary.tasks_failed} failed" if summary.tasks_failed else "",
        f"{summary.tasks_missing} missing" if summary.tasks_missing else "",
        counted(len(summary.surplus), "surplus object") if summary.surplus else "",
    ]
    drive = summary.drive
    done = f"{summary.tasks_ok} of {summary.tasks} done ({drive.tasks} in this drive, {drive.retries} tried again)"
    return ", ".join([done, *filter(None, others)])


def _flags(summary: Summary) -> str:
    named = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.flags.items()))
    return f"{summary.rows_flagged:,} rows ({named})" if named else ""


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} median, {spread.p95:.2f} p95, {spread.max:.2f} max"


def plan_rows(plan: Plan) -> Rows:
    """Return what a run would do."""
    first = plan.tasks[0]
    return [
        *[("warning", text) for text in plan.warnings],
        ("tasks", f"{len(plan.tasks)}, of which {len(plan.done)} are done"),
        ("partitions", f"{sum(len(task.partitions) for task in plan.tasks)}, {size(plan.size_bytes)}"),
        *([] if first.script else [("rows", _planned_rows(plan))]),
        _program(first.program),
        *(_code_rows(first, first.script, first.setting) if first.script and first.setting else []),
        ("batch size", str(first.batch_size)),
        ("first task", ", ".join(ref.key for ref in first.partitions[:3])),
        ("results", f"{plan.payload.run_id}/"),
    ]


def _planned_rows(plan: Plan) -> str:
    return f"{plan.rows:,}" if plan.rows is not None else "not known: there is no index beside the partitions"


def _code_rows(task: Task, script: ScriptRef, setting: ScriptSetting) -> Rows:
    """Return where a script's code lies, and what it may take."""
    limits = setting.limits
    memory = f"{limits.memory_mb:,.0f} MiB of memory" if limits.memory_mb is not None else "any memory"
    disk = f"{limits.disk_mb:,.0f} MiB of disk" if limits.disk_mb is not None else "any disk"
    taken = f"{limits.timeout_s:,.0f} s, {memory}, {limits.processes:,} processes, {disk}"
    return [("code", f"{task.bucket}/{script.folder}"), ("a script may take", taken)]


def standing_rows(standing: Standing) -> Rows:
    """Return where a run stands."""
    of = f" of {standing.rows:,}" if standing.rows is not None else ""
    rows = [
        ("state", standing.state),
        ("driver", standing.driver or ""),
        ("tasks", f"{standing.tasks_ok} of {standing.tasks} done, {standing.tasks_failed} failed"),
        ("rows", f"{standing.rows_done:,}{of}" if standing.script is None else ""),
        ("script", standing.script or ""),
        *[("problem", text) for text in standing.problems],
    ]
    return [row for row in rows if row[1]]


def bill_rows(bill: Billed) -> Rows:
    """Return what a run did cost, line by line."""
    least = "" if bill.is_whole else "at least "
    old = age_warning(bill.cost.region, bill.cost.prices_read_in)
    return [
        *[
            (line.what, f"{line.usd:.6f} USD for {line.quantity:,.2f} {line.unit}")
            for line in bill.cost.lines
            if line.usd
        ],
        (
            "total",
            f"{least}{bill.cost.total_usd:.6f} USD, by prices of {bill.cost.region} of {bill.cost.prices_read_in}",
        ),
        *[("note", text) for text in dict.fromkeys([old, *bill.notes]) if text],
    ]


def verification_rows(verification: Verification) -> Rows:
    """Return what came of checking a run."""
    proven = "hash, rows and their order as reported"
    if verification.script is not None:
        proven = "the script ended well, and the hash of the result that it left, if any, is as reported"
    return [
        ("complete", "yes, proven" if verification.complete else "NO"),
        *[("problem", text) for text in verification.problems[:20]],
        ("tasks", f"{verification.tasks_proven} of {verification.tasks}: {proven}"),
        ("rows", f"{verification.rows:,}") if verification.script is None else ("script", verification.script),
    ]


def evaluation_rows(evaluation: Evaluation) -> Rows:
    """Return the metrics of a run with their errors."""
    return [
        *[("warning", text) for text in evaluation.warnings],
        ("galaxies", f"{evaluation.rows:,}"),
        *[(LABELS[name], shown(estimate)) for name, estimate in evaluation.metrics.items()],
    ]
