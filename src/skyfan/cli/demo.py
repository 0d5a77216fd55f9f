"""skyfan demo."""

import sys

import click

from skyfan.cli.group import store_option


@click.command()
@click.option("--rows", type=int, default=4000, show_default=True, metavar="N", help="Galaxies to simulate.")
@store_option
def demo(rows: int, store: str | None) -> None:
    """Do the whole thing on a small simulated survey: simulate, partition, run, verify, look.

    Needs the extra `simulate`.

    \b
    Example:  skyfan demo
    """
    from skyfan.demo import prepare, run_demo
    from skyfan.progress import counting, watching
    from skyfan.tables import show, summary_rows, verification_rows

    demonstration = prepare(store)
    with counting("simulate") as simulated, watching(json_lines=False, quiet=not sys.stderr.isatty()) as watch:
        run = run_demo(demonstration, rows, say=lambda text: click.echo(f"$ {text}"), simulated=simulated, watch=watch)
    click.echo()
    summary = run.summary
    if summary is not None:
        show(run.id, summary_rows(summary, run.where))
    show("verification", verification_rows(run.verify()))
