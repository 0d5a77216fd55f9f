"""skyfan estimate."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyfan.cli.group import json_option, store_option

if TYPE_CHECKING:
    from skyfan.estimating.outlook import Outlook


@click.command()
@click.argument("payload", required=False)
@store_option
@click.option(
    "--engine", type=click.Choice(["local", "aws"]), help="Where it would run. Default: local with PAYLOAD, else aws."
)
@click.option("--data", metavar="SIZE", help="Without PAYLOAD: so much data, as in 1TB (1024^4 bytes).")
@click.option("--rows", type=float, metavar="N", help="Without PAYLOAD: so many galaxies, as in 20e9.")
@click.option("--partition-size", metavar="SIZE", help="Without PAYLOAD: of a partition. Default: 25MB.")
@click.option(
    "--model", metavar="KEY|NAME", help="Takes the place of PAYLOAD's model or script: its key, or one that ships."
)
@click.option("--file-limit", type=int, metavar="N", help="At most so many partitions of PAYLOAD.")
@click.option("--world-size", type=int, metavar="N", help="Number of tasks.")
@click.option("--batch-size", type=int, metavar="N", help="Rows that the model is given at once.")
@click.option("--threads", type=int, metavar="N", help="Threads of one worker's model.")
@click.option("--workers", type=int, metavar="N", help="Local: worker processes. Default: what fills the cores.")
@click.option("--concurrency", type=int, metavar="N", help="At most so many tasks at a time.")
@click.option("--account-concurrency", type=int, metavar="N", help="AWS: Lambdas of the account. Default: 1000.")
@click.option("--memory", type=int, metavar="MB", help="AWS: of a worker. Default: 1769, one core.")
@click.option("--architecture", type=click.Choice(["arm64", "x86_64"]), help="AWS: processor. Default: arm64.")
@click.option("--children", type=click.Choice(["EXPRESS", "STANDARD"]), help="AWS: of the map. Default: EXPRESS.")
@click.option("--region", metavar="NAME", help="Whose prices. Default: us-east-1.")
@click.option(
    "--speed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Profile of the model, from 'skyfan profile --out FILE'.",
)
@click.option("--from-run", metavar="RUN", help="Take the speed from the reports of RUN.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="S", help="Of the simulation.")
@json_option
def estimate(payload: str | None, json_lines: bool, **options: Any) -> None:
    """Say what PAYLOAD will take: tasks, wall clock, memory, cost, how sure that is, and what will not go well.

    Without PAYLOAD, a survey that is only thought of, by --data or --rows. Nothing is run or written, and AWS is not
    asked, unless the store is S3. The speed is that of --speed or --from-run, else of the tasks of PAYLOAD that are
    done, wherever they ran, else of the shipped model as it was measured once.

    \b
    Example:  skyfan estimate examples/payloads/25MB-8GB.json --model photoz-sim-2
              skyfan estimate --data 1TB --partition-size 25MB --concurrency 10000 --account-concurrency 10000
    """
    from skyfan.estimating.estimate import Asked
    from skyfan.estimating.estimate import estimate as estimated
    from skyfan.tables import show

    title, found = estimated(payload, Asked(**options))
    if json_lines:
        click.echo(found.encode().decode())
        return
    show(title, outlook_rows(found))
    show("cost" if found.engine == "aws" else "cost, if rented", cost_rows(found))
    show("reckoned from", [("", text) for text in found.basis])


def outlook_rows(found: "Outlook") -> list[tuple[str, str]]:
    """Return what a run will take, as a person reads it."""
    from skyfan.wording import counted, size

    rows = f"{found.rows:,}" + ("" if found.rows_known else ", reckoned from bytes")
    memory = f"{found.worker_peak_memory_mb:,.0f} MiB" if found.worker_peak_memory_mb is not None else "never measured"
    given = f" of {found.memory_mb:,} MB" if found.memory_mb is not None else ""
    waits = _span(found.whole_run_s.p10, found.whole_run_s.p50, found.whole_run_s.p90)
    return [
        *[("warning", text) for text in found.warnings],
        ("tasks", f"{found.tasks:,}, {_seconds(found.task_s)} each, the largest {_seconds(found.largest_task_s)}"),
        ("partitions", f"{found.partitions:,}, {size(found.bytes_in)}"),
        ("rows", rows),
        ("workers", f"{counted(found.workers, 'task')} at a time, {counted(found.started, 'worker')} started"),
        ("wall clock", f"{waits}"),
        ("of that the map", _span(found.map_wall_s.p10, found.map_wall_s.p50, found.map_wall_s.p90)),
        ("before, after it", f"{_seconds(found.initialize_s)} to plan, {_seconds(found.summarize_s)} to sum up"),
        ("workers busy", f"{found.utilisation:.0%} of the map"),
        ("worker memory", f"{memory}{given}"),
        *([("core-hours", _range(found))] if found.core_hours is not None else []),
    ]


def cost_rows(found: "Outlook") -> list[tuple[str, str]]:
    """Return the middle bill line by line, and the ends of its range."""
    cost = found.cost
    ends = f"{cost.low.total_usd:,.4f} to {cost.high.total_usd:,.4f} USD"
    return [
        *[
            (line.what, f"{line.usd:,.6f} USD for {line.quantity:,.2f} {line.unit}")
            for line in cost.typical.lines
            if line.usd
        ],
        ("total", f"{cost.typical.total_usd:,.4f} USD, likely {ends}"),
        ("prices", f"of {cost.typical.region}, of {cost.typical.prices_read_in}"),
    ]


def _span(low: float, middle: float, high: float) -> str:
    return f"{_seconds(middle)}, likely {_seconds(low)} to {_seconds(high)}"


def _range(found: "Outlook") -> str:
    hours = found.core_hours
    return f"{hours.p50:.3g}, likely {hours.p10:.3g} to {hours.p90:.3g}" if hours is not None else ""


def _seconds(seconds: float) -> str:
    """Return `2.4 s`, or `1:02:03` of a minute and more."""
    from skyfan.wording import duration

    return f"{seconds:.3g} s" if seconds < 60 else duration(seconds)
