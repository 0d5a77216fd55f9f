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
    from skyfan.demo import prepare, run_payload, simulate_survey, split_survey
    from skyfan.progress import counting, draws, watching
    from skyfan.tables import show, summary_rows, verification_rows

    demonstration = prepare(store)
    simulating, splitting, running = demonstration.commands(rows)
    click.echo(f"$ {simulating}")
    with counting("simulate") as progress:
        simulate_survey(demonstration, rows, progress)
    click.echo(f"$ {splitting}")
    with counting("partition") as progress:
        split_survey(demonstration, progress)
    click.echo(f"$ {running}")
    with watching(json_lines=False, quiet=not draws(sys.stderr)) as watch:
        run = run_payload(demonstration, watch)
    click.echo()
    summary = run.summary
    if summary is not None:
        show(run.id, summary_rows(summary, run.where))
    show("verification", verification_rows(run.verify()))
    click.echo(f"next: {demonstration.next}")
