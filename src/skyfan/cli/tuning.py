"""skyfan tune."""

import sys
from pathlib import Path
from typing import Any

import click

from skyfan.cli.group import json_option, store_option
from skyfan.cli.settings import cloud_options

NOT_MET = 3


def _numbers(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    try:
        return None if value is None else tuple(int(piece) for piece in value.split(","))
    except ValueError as error:
        said = f"{value!r}; expected whole numbers with commas between them, as in 16,32,64"
        raise click.BadParameter(said) from error


def _texts(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(piece.strip() for piece in value.split(",") if piece.strip())


def _architectures(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    named = _texts(ctx, option, value)
    if named is not None and (not named or not {"arm64", "x86_64"}.issuperset(named)):
        raise click.BadParameter(f"{value!r}; expected arm64, x86_64 or both with a comma between them")
    return named


@click.command()
@click.argument("payload")
@store_option
@click.option(
    "--goal",
    type=click.Choice(["cost", "time", "balanced"]),
    default="balanced",
    show_default=True,
    help="The cheapest, the fastest, or the least cost x time.",
)
@click.option("--deadline", metavar="TIME", help="The run must take no longer: seconds, or as in 90s, 10m, 1h30m.")
@click.option("--budget", type=float, metavar="USD", help="The run must cost no more.")
@click.option(
    "--engine", type=click.Choice(["local", "aws"]), default="local", show_default=True, help="Where it would run."
)
@click.option(
    "--model", metavar="KEY|NAME", help="Takes the place of PAYLOAD's model or script: its key, or one that ships."
)
@click.option("--pilot-partitions", type=int, metavar="N", help="Read at most so many in the pilot. Default: 4.")
@click.option("--seconds", type=float, metavar="S", help="Of the pilot, for each way that is measured. Default: 2.")
@click.option(
    "--partition-sizes",
    callback=_texts,
    metavar="SIZE,...",
    help="That partitions might be cut anew to. Default: 10MB,25MB,50MB,100MB.",
)
@click.option("--no-cutting", is_flag=True, help="Keep the partitions that are there; group them only.")
@click.option("--batch-sizes", callback=_numbers, metavar="N,...", help="Default: 16,32,64,128.")
@click.option("--threads", callback=_numbers, metavar="N,...", help="Of a worker's model. Default: 1, and all cores.")
@click.option("--workers", callback=_numbers, metavar="N,...", help="Local. Default: 1, and as many as fill the cores.")
@click.option("--memory", callback=_numbers, metavar="MB,...", help="AWS: of a worker. Default: 1024,1769,3008.")
@click.option("--architectures", callback=_architectures, metavar="NAME,...", help="AWS. Default: arm64,x86_64.")
@click.option("--concurrency", type=int, metavar="N", help="AWS: tasks at a time. Default: as the stack has it.")
@click.option("--no-pilot", is_flag=True, help="AWS: reckon from this machine's speed; nothing is asked of AWS.")
@click.option("--max-cost", type=str, metavar="USD", help="AWS: refuse a pilot that may cost more, stop one that has.")
@click.option("--yes", is_flag=True, help="AWS: do not ask before the pilot.")
@cloud_options
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the frontier: .svg or .png.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write all of it there, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def tune(
    payload: str,
    goal: Any,
    deadline: str | None,
    budget: float | None,
    no_cutting: bool,
    yes: bool,
    plot: Path | None,
    out: Path | None,
    quiet: bool,
    json_lines: bool,
    **options: Any,
) -> None:
    """Recommend partition size, batch size, threads, and workers or memory for PAYLOAD, a JSON file.

    A pilot measures the model on a few of its partitions, on this machine or on AWS. Every way to run is then reckoned:
    wall clock, cost, memory. Nothing of the payload is run or claimed. On AWS the stack's memory is changed for the
    pilot and put back.

    Exit code 3 if nothing meets the deadline and the budget; what comes nearest is shown.

    \b
    Example:  skyfan tune payload.json --goal cost --deadline 10m --plot frontier.svg
              skyfan tune payload.json --engine aws --memory 1024,1769,3008 --max-cost 0.50
    """
    from skyfan.cli.stacks import confirm
    from skyfan.tuning.asked import Asked, decimal
    from skyfan.tuning.showing import show_recommendation
    from skyfan.tuning.tuner import tune as do
    from skyfan.tuning.wish import Wish, parse_duration

    wish = Wish(goal=goal, deadline_s=parse_duration(deadline) if deadline else None, budget_usd=budget)
    limit = decimal(options.pop("max_cost"))
    given = {name: value for name, value in options.items() if value is not None}
    if no_cutting:
        given["partition_sizes"] = ()
    if out is not None:
        _check_out(out)
    if plot is not None:
        _check_plot(plot)
    found = do(
        payload,
        wish,
        Asked(**given, max_cost=limit),
        watch=_silent if quiet else _say,
        ask=lambda question: yes or confirm(question),
    )
    if plot is not None:
        from skyfan.tuning.plot import draw

        _write(plot, draw(found, plot.suffix), f"plot {plot}")
    if out is not None:
        _write(out, found.encode(), str(out))
    if json_lines:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
    else:
        show_recommendation(found)
    if not found.met:
        sys.exit(NOT_MET)


def _check_out(out: Path) -> None:
    from skyfan.errors import InputError

    if not out.absolute().parent.is_dir() or out.is_dir():
        raise InputError(f"{out}: no file can be written there; expected a name in a folder that exists")


def _check_plot(plot: Path) -> None:
    from skyfan.errors import InputError
    from skyfan.wording import with_extra

    try:
        from skyfan.tuning.plot import check_target
    except ImportError as error:
        raise InputError(f"plot {plot}: needs matplotlib, which is not installed; {with_extra('plots')}") from error
    check_target(plot)


def _write(file: Path, content: bytes, what: str) -> None:
    """Write a file whole or not at all; a link, a device or a pipe stays, and is written to as it is."""
    from skyfan.blob import write_whole
    from skyfan.errors import InputError

    try:
        if file.is_symlink() or (file.exists() and not file.is_file()):  # /dev/stdout is a link
            file.write_bytes(content)
        else:
            write_whole(file, content)
    except OSError as error:
        raise InputError(f"{what}: cannot be written ({error.strerror}); expected a folder with room") from error


def _say(text: str) -> None:
    click.echo(text, err=True)


def _silent(text: str) -> None:
    pass
