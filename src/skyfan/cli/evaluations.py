"""skyfan evaluate."""

from pathlib import Path

import click

from skyfan.cli.group import json_option, store_option


@click.command()
@click.argument("name", metavar="RUN")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the files go. Default: evaluation-<bucket>-<result_path>.",
)
@click.option(
    "--bootstrap", type=int, default=200, show_default=True, metavar="N", help="Resamples for the errors; 0 for none."
)
@store_option
@json_option
def evaluate(name: str, out: Path | None, bootstrap: int, store: str | None, json_lines: bool) -> None:
    """Hold the predictions of RUN against true redshifts: every metric with its error, in bins, and plots.

    RUN is a payload file or <bucket>/<result_path>; its partitions must have true redshifts. Writes metrics.json,
    metrics.md and the plots as PNG and SVG. Needs the extra `plots`.

    \b
    Example:  skyfan evaluate demo/results/first-run
    """
    import skyfan
    from skyfan.tables import evaluation_rows, show

    run = skyfan.open_run(name, store=store)
    folder = out if out is not None else Path(f"evaluation-{run.id.replace('/', '-')}")
    evaluation = run.evaluate(folder, bootstrap=bootstrap)
    if json_lines:
        click.echo(evaluation.encode().decode())
    else:
        show(run.id, evaluation_rows(evaluation))
        click.echo(f"{folder}: {', '.join(Path(file).name for file in evaluation.files)}")
