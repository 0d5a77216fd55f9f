"""skyfan import-results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyfan.cli.group import json_option

if TYPE_CHECKING:
    from skyfan.bench.importing import Import

INCOMPLETE = 3


@click.command("import-results")
@click.argument("place", metavar="FOLDER")
@click.option("--out", metavar="FILE", help="Write one row per run: a .parquet or .csv file.")
@click.option("--table", is_flag=True, help="Print the table of all runs, as Markdown.")
@click.option(
    "--figures", "folder", metavar="FOLDER", help="Draw the figures that the runs allow. Needs the extra `plots`."
)
@click.option(
    "--expect", type=int, metavar="N", help="Records that every run must have, where you know better than the paths."
)
@json_option
def import_results(
    place: str, out: str | None, table: bool, folder: str | None, expect: int | None, json_lines: bool
) -> None:
    """Read results of the original system: every combined_data.json in FOLDER, or one such file.

    Says of each whether it is the whole of its run, and why not. Runs that are not are kept, marked, and in no average.
    Exit code: 0 all are complete, 3 some are not, 2 nothing was found.

    \b
    Example:  skyfan import-results results --out results.parquet --table
    """
    from skyfan.bench import importing
    from skyfan.bench.tidy import write_tidy

    found = importing.import_results(place, expect=expect)
    if out is not None:
        write_tidy(found.measurements, out)
    if json_lines:
        _print_json(found)
    else:
        _print(found)
    if table:
        from skyfan.bench.table import seed_table

        click.echo(seed_table(found.measurements), err=json_lines)
    if folder is not None:
        _draw(found, Path(folder), quiet=json_lines)
    if not found.complete:
        sys.exit(INCOMPLETE)


def _print_json(found: "Import") -> None:
    import msgspec

    for run in found.runs:
        click.echo(msgspec.json.encode(run).decode())


def _print(found: "Import") -> None:
    from skyfan.bench.importing import counts_of
    from skyfan.tables import show
    from skyfan.wording import counted

    rows = []
    for run in found.runs:
        said = [f"{run.verdict}, {counted(run.records, 'record')}", run.measurement.problem, *run.notes]
        rows.append((run.measurement.run, "; ".join(text for text in said if text)))
    show("results", [*rows, *(("not read", text) for text in found.skipped)])
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts_of(found).items()))


def _draw(found: "Import", folder: Path, *, quiet: bool) -> None:
    from skyfan.bench.charts import charts
    from skyfan.errors import InputError
    from skyfan.wording import with_extra

    try:
        from skyfan.bench.figures import draw_figures
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed, and the figures need it; {with_extra('plots')}") from error
    files = draw_figures(found.measurements, folder)
    if not quiet:
        click.echo(f"{folder}: {', '.join(file.name for file in files)}")
        for name, reason in charts(found.measurements)[1].items():
            click.echo(f"no figure {name}: {reason}")
