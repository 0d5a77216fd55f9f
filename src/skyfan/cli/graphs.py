"""skyfan graph."""

from pathlib import Path

import click


@click.command()
@click.argument("definition", required=False, type=click.Path(path_type=Path), metavar="[DEFINITION]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "mermaid"]),
    default="svg",
    show_default=True,
    help="A picture for browsers and pages, or text that GitHub and many editors draw.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where it goes. Default: it is printed.")
@click.option("--overwrite", is_flag=True, help="Replace FILE even if it is no picture that skyfan drew.")
def graph(definition: Path | None, form: str, out: Path | None, overwrite: bool) -> None:
    """Draw a state machine from its definition: skyfan's own, or any that DEFINITION, a JSON file, holds.

    DEFINITION is in the Amazon States Language, or what `aws stepfunctions describe-state-machine` prints.

    \b
    Example:  skyfan graph --out state-machine.svg
    """
    from skyfan.graph.drawing import draw, put

    drawn = draw(definition, form)
    if out is None:
        click.echo(drawn, nl=False)
    else:
        put(drawn, out, definition, overwrite=overwrite)
        click.echo(f"{out}: written")
