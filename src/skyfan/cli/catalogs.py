"""skyfan catalog."""

import sys
from pathlib import Path

import click

from skyfan.cli.group import store_option

INCOMPLETE = 3


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "fits", "votable", "hats"]),
    default="parquet",
    show_default=True,
    help="Parquet with IVOA metadata, FITS binary table, VOTable, or HATS.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--allow-incomplete", is_flag=True, help="Write what is there of a run that is not complete.")
@store_option
def catalog(name: str, out: Path, form: str, overwrite: bool, allow_incomplete: bool, store: str | None) -> None:
    """Write the predictions of RUN as one catalogue with units and UCDs: the file OUT, or with hats the folder OUT.

    Needs the extra `catalog`. RUN is a payload file or <bucket>/<result_path>. A run that is not complete is refused;
    with --allow-incomplete the catalogue says so inside, and the exit code is 3.

    \b
    Example:  skyfan catalog results/survey-1 survey-1.fits --format fits
    """
    import skyfan
    from skyfan.progress import counting

    run = skyfan.open_run(name, store=store)
    with counting("catalog") as progress:
        path = run.catalog(
            out,
            form,  # type: ignore[arg-type]
            overwrite=overwrite,
            allow_incomplete=allow_incomplete,
            progress=progress,
        )
    standing = run.status()
    click.echo(f"{path}: {standing.rows_done:,} rows, {form}")
    if standing.state != "complete":
        there = f"{standing.tasks_ok} of {standing.tasks} tasks"
        click.echo(f"skyfan: warning: {run.id} is {standing.state}: {path} holds {there}", err=True)
        sys.exit(INCOMPLETE)
