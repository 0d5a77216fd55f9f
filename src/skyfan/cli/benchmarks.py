"""skyfan bench."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from skyfan.cli.group import json_option, store_option
from skyfan.cli.settings import cloud_options
from skyfan.cli.surveys import ingest_options

if TYPE_CHECKING:
    from skyfan.bench.events import Planned, SweepEvent, SweepWatcher
    from skyfan.bench.measurement import Measurement
    from skyfan.bench.sweep import Cut
    from skyfan.storage import Store
    from skyfan.tables import Rows

INCOMPLETE = 3
ENGINES = ("local", "dask", "aws")
PLACES = {"dask": ("scheduler", "cluster_options"), "aws": ("stack", "region", "profile")}
"""Options that say where the runs of an engine go."""


def _texts(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in value.split(",")) if value else ()


def _numbers(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(piece) for piece in value.split(",")) if value else ()
    except ValueError as error:
        said = f"{value!r}; expected whole numbers with commas between them, as in 16,32,64"
        raise click.BadParameter(said) from error


@click.command()
@click.argument("source", required=False)
@click.option(
    "--payload",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Gives buckets, model and other keys of all runs.",
)
@click.option("--partition-sizes", callback=_texts, metavar="SIZE,...", help="To cut the survey into, as in 25MB,50MB.")
@click.option("--data-sizes", callback=_texts, metavar="SIZE,...", help="As in 1GB,12.6GB. Default: all there is.")
@click.option("--files", callback=_numbers, metavar="N,...", help="Numbers of partitions, beside or instead of sizes.")
@click.option("--batch-sizes", callback=_numbers, metavar="N,...", help="Rows that the model is given at once.")
@click.option("--threads", callback=_numbers, metavar="N,...", help="Of one worker's model. Default: 1.")
@click.option(
    "--workers",
    callback=_numbers,
    metavar="N,...",
    help="Worker processes; on AWS and with a scheduler that has its own, tasks at a time. Default: as many as fill "
    "the cores.",
)
@click.option("--repeats", type=int, default=3, show_default=True, metavar="N", help="Runs of each combination.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Of the order within a round.")
@click.option("--name", metavar="NAME", help="Of the sweep. Default: as SOURCE or the payload's file is called.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="For tables and figures. Default: bench-NAME."
)
@click.option("--bucket", metavar="NAME", help="Of the runs. Default: the payload's or the partitions', else bench.")
@click.option("--data-bucket", metavar="NAME", help="Of the partitions. Default: the payload's, else as --bucket.")
@click.option("--result-path", metavar="PATH", help="Folder of the runs. Default: bench/NAME.")
@click.option("--data-prefix", metavar="PREFIX", help="Folder of what is cut. Default: bench/NAME/data.")
@click.option(
    "--model", metavar="KEY|NAME", help="Key of an ONNX file in the bucket, or a model that ships with skyfan."
)
@click.option("--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="Where the tasks run.")
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE|slurm",
    help="Of Dask, as 'skyfan run' has it. Default: a cluster on this machine, started anew for each run.",
)
@click.option("--cluster-options", metavar="FILE", help="YAML file: what the jobs are, with --scheduler slurm.")
@click.option(
    "--speed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What 'skyfan profile --out' wrote: how long it takes is then known before anything is measured.",
)
@click.option("--keep-runs", is_flag=True, help="Do not delete runs from the store once they are measured.")
@click.option("--overwrite", is_flag=True, help="Begin anew: forget what was measured in the folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop; nothing is written.")
@cloud_options
@click.option("--max-cost", type=float, metavar="USD", help="On AWS: refuse a sweep that may cost more.")
@ingest_options
@store_option
@json_option
def bench(
    source: str | None,
    payload: Path | None,
    out: Path | None,
    engine: str,
    speed: Path | None,
    keep_runs: bool,
    overwrite: bool,
    dry_run: bool,
    max_cost: float | None,
    store: str | None,
    json_lines: bool,
    **options: Any,
) -> None:
    """Measure runs over every combination of the sizes and numbers that are asked for, in rounds.

    SOURCE is a survey, which is cut into partitions of each of --partition-sizes, or <bucket>/<prefix> of partitions
    that are there; by default the payload's. Data sizes beyond what there is are made by repeating partitions.

    The plan is printed first. Each run is a process of its own. Ctrl-C stops, the same command goes on. Exit code 3 if
    a run did not end well: it is in the tables with its problem, and averaged into nothing.

    \b
    Example:  skyfan bench survey.safetensors --partition-sizes 25MB,50MB --data-sizes 1GB --batch-sizes 32,256
    """
    from skyfan.bench.asked import asked_sweep
    from skyfan.bench.folder import is_whole
    from skyfan.bench.sweeping import look_ahead, run_sweep
    from skyfan.profiling.profile import load_profile

    place = _place(engine, options)
    opened = _open(engine, store, place, max_cost)
    sweep = asked_sweep(source, payload, engine=engine, place=place, ingest=_ingest(options), **options)
    folder = out if out is not None else Path(f"bench-{sweep.name}")
    profile = load_profile(speed) if speed is not None else None
    watch = _watching(json_lines=json_lines)
    if dry_run:
        watch(look_ahead(sweep, folder, opened, profile=profile))
        return
    measurements = run_sweep(
        sweep,
        folder,
        opened,
        watch,
        profile=profile,
        overwrite=overwrite,
        keep_runs=keep_runs,
        max_cost=max_cost,
    )
    unfit = [item for item in measurements if not is_whole(item)]
    if not json_lines:
        _show_end(folder, measurements, unfit)
    if unfit:
        sys.exit(INCOMPLETE)


def _place(engine: str, options: dict[str, Any]) -> dict[str, str]:
    """Take out of the options where the runs go; what only another engine takes is refused."""
    place: dict[str, str] = {}
    for of, names in PLACES.items():
        given = {name: value for name in names if (value := options.pop(name)) is not None}
        if given and of != engine:
            raise click.UsageError(
                f"--{next(iter(given)).replace('_', '-')} is for --engine {of}; expected it there only"
            )
        place |= given
    return place


def _open(engine: str, store: str | None, place: dict[str, str], max_cost: float | None) -> "Store":
    """Open the store that an engine works on; a limit of the cost is refused where none is known."""
    from skyfan.storage import open_store

    if engine != "aws":
        if max_cost is not None:
            raise click.UsageError("--max-cost is for --engine aws; expected it there only")
        return open_store(store)
    from skyfan.aws.session import Cloud

    if store is not None and store.rstrip("/") != "s3:":
        raise click.UsageError(f"--store {store} with --engine aws; expected s3://, or none: its buckets lie on S3")
    return Cloud(place.get("region"), place.get("profile")).store()


def _ingest(options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options what is said of the survey, as far as it is given."""
    from skyfan.cli.surveys import column_pairs

    names = ("bands", "size_pixels", "image_unit", "zero_point", "magnitude_columns", "magnitude_system", "catalog")
    given = {name: options.pop(name) for name in (*names, "pixel_scale", "survey")}
    given |= {"pad": options.pop("pad") or None, "columns": column_pairs(options.pop("named")) or None}
    return {name: value for name, value in given.items() if value is not None}


def _watching(*, json_lines: bool) -> "SweepWatcher":
    from skyfan.bench.events import Planned, Preparing
    from skyfan.tables import show

    def say(event: "SweepEvent") -> None:
        if json_lines:
            if not isinstance(event, Preparing) or event.done == event.total:
                content = {"event": type(event).__name__, **msgspec.to_builtins(event)}
                click.echo(msgspec.json.encode(content).decode())
        elif isinstance(event, Planned):
            show(f"sweep {event.sweep.name}", plan_rows(event))
        elif text := line_of(event):
            click.echo(f"skyfan: {text}", err=True)

    return say


def plan_rows(planned: "Planned") -> "Rows":
    """Return what a sweep is going to do."""
    from skyfan.wording import counted, size

    plan, sweep = planned.plan, planned.sweep
    total = len(plan.trials)
    before = f", {planned.measured} measured before" if planned.measured else ""
    free = f"; {size(planned.free_bytes)} free" if planned.free_bytes is not None else ""
    return [
        ("runs", f"{counted(len(plan.configurations), 'configuration')} x {sweep.repeats} = {total}{before}"),
        ("time", _time(planned.left_s, planned.unknown, total - planned.measured)),
        ("disk", f"{size(planned.to_cut_bytes)} of partitions to cut, and what one run writes{free}"),
        ("engine", f"{sweep.engine}; runs in {sweep.bucket}/{sweep.result_path}"),
        *[
            (f"partitions {cut.label}", _partitions(cut, plan.most_files(cut.label), server=planned.free_bytes is None))
            for cut in plan.cuts
            if not cut.problem
        ],
        *[("configuration", item.name) for item in plan.configurations],
        *[("NOT run", f"{item.configuration}: {item.reason}") for item in plan.impossible],
        *[("note", text) for text in plan.notes],
    ]


def line_of(event: "SweepEvent") -> str:
    """Return what is said of an event while a sweep runs; nothing of most steps of a preparation."""
    from skyfan.bench.events import CostKnown, Noted, Preparing, TrialEnded, TrialStarted
    from skyfan.bench.folder import is_whole

    text = ""
    match event:
        case Preparing() if event.done == event.total:
            text = f"{event.prefix}: ready"
        case CostKnown():
            text = f"the runs that are left will cost about {event.typical_usd:.4f} USD, at most {event.high_usd:.4f}"
        case TrialStarted():
            left = _time(event.left_s, event.unknown, event.total - event.number + 1)
            text = f"run {event.number} of {event.total}: {event.trial.configuration.name}, "
            text += f"repeat {event.trial.repeat}; to go: {left}"
        case TrialEnded() if is_whole(event.measurement):
            found = event.measurement
            text = f"  {found.run_wall_s or 0:.1f} s, {found.rows_per_s_run_wall or 0:,.0f} rows/s by wall clock"
        case TrialEnded():
            text = f"  NOT measured: {event.measurement.problem}"
        case Noted():
            text = event.text
    return text


def _partitions(cut: "Cut", most: int, *, server: bool) -> str:
    from skyfan.wording import size

    rows = f", {cut.rows:,} rows" if cut.rows is not None else ""
    how = f"copies on the server, {size(most * cut.bytes)} more, stored and paid for" if server else "links"
    repeated = f": they are repeated, as {how}" if most > cut.count else ""
    return f"{cut.count:,} of {size(cut.bytes)}{rows}; at most {most:,} in a run{repeated}"


def _time(seconds: float, unknown: int, left: int) -> str:
    from skyfan.wording import counted, duration

    if not left:
        return "nothing is left to run"
    if unknown == left:
        return f"not known before the first of each configuration has run ({counted(left, 'run')} to go)"
    more = f", and {counted(unknown, 'run')} of which nothing tells yet" if unknown else ""
    return f"about {duration(seconds)} for {counted(left - unknown, 'run')}{more}"


def _show_end(folder: Path, measurements: "list[Measurement]", unfit: "list[Measurement]") -> None:
    from skyfan.wording import counted

    click.echo((folder / "table.md").read_text())
    for item in unfit:
        click.echo(f"NOT averaged: {item.run}: {item.problem}")
    click.echo(f"{folder}: {counted(len(measurements), 'run')}, in measurements.parquet, measurements.csv and table.md")
