"""skyfan report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from skyfan.cli.group import store_option
from skyfan.cli.settings import cloud_options

if TYPE_CHECKING:
    from skyfan.runs import Run
    from skyfan.storage import Store

INCOMPLETE = 3


@click.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: report.html, or report.md with --format md.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md"]),
    default="html",
    show_default=True,
    help="html: one file that needs no network. md: Markdown, with the figures in a folder beside it.",
)
@click.option(
    "--measurements",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="More rows for the scaling table: the Parquet or CSV of skyfan bench or import-results. Can be repeated.",
)
@click.option(
    "--gallery", type=click.IntRange(0, 200), default=24, show_default=True, metavar="N", help="Images in the gallery."
)
@click.option("--verify", is_flag=True, help="Read, hash and count every part again, as skyfan verify does.")
@click.option("--overwrite", is_flag=True, help="Write over a file that is no report of skyfan's.")
@store_option
@cloud_options
def report(
    names: tuple[str, ...],
    out: Path | None,
    form: str,
    measurements: tuple[Path, ...],
    gallery: int,
    verify: bool,
    overwrite: bool,
    store: str | None,
    **place: str | None,
) -> None:
    """Write the report of one or more RUNs: verdict, workflow, execution, proof, cost, scaling, science and sources.

    RUN is a payload file or <bucket>/<result_path>. With an option of AWS the store is S3, and AWS is asked for the
    execution's history and the stack's settings. Needs the extra `plots`.

    Exit code 3 if a run is not complete; the report is written all the same, and says so.

    \b
    Example:  skyfan report demo/results/first-run
              skyfan report sky/results/a sky/results/b --measurements bench.parquet --out scaling.html
    """
    from skyfan.report.writing import check_extra, check_target, write_report

    check_extra()
    target = out if out is not None else Path(f"report.{form}")
    kind: Literal["html", "md"] = "md" if form == "md" else "html"
    check_target(target, kind, overwrite=overwrite)
    runs, opened, options = _open(names, store, place)
    complete = write_report(
        runs,
        opened,
        target,
        kind,
        measurements=[row for path in measurements for row in _rows(path)],
        images=gallery,
        verify=verify,
        overwrite=overwrite,
        **options,
    )
    click.echo(f"{target}: {'complete' if complete else 'NOT COMPLETE: the report says what to do'}")
    if not complete:
        sys.exit(INCOMPLETE)


def _open(
    names: tuple[str, ...], store: str | None, place: dict[str, str | None]
) -> "tuple[list[Run], Store, dict[str, Any]]":
    """Open the runs, with AWS's own credentials if an option of AWS is given."""
    import skyfan
    from skyfan.runs import Run
    from skyfan.storage import open_store

    if not any(place.values()):
        return [skyfan.open_run(name, store=store) for name in names], open_store(store), {}
    from skyfan.aws.session import Cloud

    if store is not None and store.rstrip("/") != "s3:":
        raise click.BadParameter(f"--store {store} with an option of AWS; expected s3://, or none")
    cloud = Cloud(place["region"], place["profile"])
    opened = cloud.store()
    found = []
    for name in names:
        bucket, _, result_path = skyfan.open_run(name, store="s3://").id.partition("/")
        found.append(Run(opened, bucket, result_path))
    return found, opened, {"cloud": cloud, "stack": place["stack"]}


def _rows(path: Path) -> "list[Any]":
    from skyfan.bench.tidy import read_tidy

    return list(read_tidy(path))
