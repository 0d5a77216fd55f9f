"""skyfan profile."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyfan.cli.group import json_option, store_option

if TYPE_CHECKING:
    from skyfan.profiling.profile import Point, Profile

HEADS = ("batch size", "threads", "workers", "rows/s per worker", "rows/s of all", "peak MiB")


def _numbers(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    try:
        return None if value is None else tuple(int(piece) for piece in value.split(","))
    except ValueError as error:
        said = f"{value!r}; expected whole numbers with commas between them, as in 16,32,64"
        raise click.BadParameter(said) from error


@click.command()
@click.argument("source", metavar="[MODEL|PAYLOAD]", required=False)
@store_option
@click.option("--model", metavar="KEY|NAME", help="Takes the place of the payload's model.")
@click.option("--batch-sizes", callback=_numbers, metavar="N,...", help="Default: 16,32,64,128.")
@click.option("--threads", callback=_numbers, metavar="N,...", help="Of one worker's model. Default: 1.")
@click.option(
    "--workers", callback=_numbers, metavar="N,...", help="Side by side. Default: 1, and as many as fill the cores."
)
@click.option("--seconds", type=float, metavar="S", help="About how long each combination is measured. Default: 5.")
@click.option("--rounds", type=int, metavar="N", help="Each measures every combination once. Default: 3.")
@click.option("--from-run", metavar="RUN", help="Measure nothing: take the numbers from the reports of this run.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the profile there, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def profile(
    source: str | None,
    store: str | None,
    from_run: str | None,
    out: Path | None,
    quiet: bool,
    json_lines: bool,
    **options: Any,
) -> None:
    """Measure how fast a model is on this machine, and how much memory a worker takes, by batch size and threads.

    MODEL is an ONNX file, <bucket>/<key> of the store, or the name of a model that ships with skyfan (the default); it
    gets random rows. With PAYLOAD, a JSON file, its model is measured on its partitions. Nothing of it is claimed or
    written. The profile is what `skyfan estimate` reckons with.

    \b
    Example:  skyfan profile photoz-sim-2 --batch-sizes 16,64 --out profile.json
    """
    import skyfan
    from skyfan.profiling.measuring import measure_profile, profile_of_run
    from skyfan.profiling.profile import check_target, save_profile

    given = {name: value for name, value in options.items() if value is not None}
    if out is not None:
        check_target(out)
    if from_run is not None:
        if source is not None or given:
            names = ["MODEL|PAYLOAD"] * (source is not None) + [f"--{name.replace('_', '-')}" for name in sorted(given)]
            raise click.UsageError(f"--from-run measures nothing: leave out {', '.join(names)}")
        found = profile_of_run(skyfan.open_run(from_run, store=store))
    else:
        found = measure_profile(source, store=store, watch=_silent if quiet else _say, **given)
    if out is not None:
        save_profile(found, out)
    if json_lines:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found, out)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _silent(text: str) -> None:
    pass


def _show(profile: "Profile", out: Path | None) -> None:
    from skyfan.tables import show

    where = "measured" if profile.origin == "measured" else "from reports"
    machine = profile.machine or "a machine that is not known"
    click.secho(f"{profile.model.name} on {machine}: {where}, {profile.data}", bold=True)
    cells = [HEADS, *map(_cells, profile.points)]
    for line in cells:
        click.echo("  ".join(cell.rjust(len(head)) for cell, head in zip(line, HEADS, strict=True)))
    click.echo()
    if len(profile.points) > 1:
        show("what is best", list(_best(profile)))
    show("besides", list(_besides(profile)))
    if out is not None:
        click.echo(f"{out}: written")


def _cells(point: "Point") -> tuple[str, ...]:
    return (
        f"{point.batch_size:,}",
        f"{point.threads}",
        f"{point.workers}",
        f"{point.rows_per_s:,.1f}",
        f"{point.rows_per_s_workers_sum:,.1f}",
        f"{point.peak_memory_mb:,.0f}",
    )


def _best(profile: "Profile") -> Iterator[tuple[str, str]]:
    for name, point in (
        ("for speed", profile.fastest),
        ("for memory", profile.smallest),
        ("for both", profile.thrifty()),
    ):
        yield (
            name,
            f"{point}: {point.rows_per_s_workers_sum:,.1f} rows/s of all, {point.peak_memory_mb:,.0f} MiB per worker"
            + (", the least memory within 5 % of the fastest" if name == "for both" else ""),
        )


def _besides(profile: "Profile") -> Iterator[tuple[str, str]]:
    yield "new worker", f"{profile.s_per_cold_start:.2f} s to start, import and load the model"
    yield (
        "partitions",
        f"{1000 * profile.s_per_mb:.2f} ms per MiB to open and hash; {profile.row_bytes:,.0f} bytes per row",
    )
    yield "task", f"{1000 * profile.s_per_task:.1f} ms besides"
    yield (
        "scatter",
        f"{profile.spread:.1%} between tasks for equal work" if profile.spread else "not known: too few tasks",
    )
    for note in profile.notes:
        yield "note", note
