"""The `skyfan` command and what all its commands share: lazy loading, options, and how an error ends."""

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, NoReturn, TypeVar

import click

from skyfan import __version__
from skyfan.errors import SkyfanError

F = TypeVar("F", bound=Callable[..., Any])


class Entry(NamedTuple):
    """What is known of a command before it is loaded."""

    module: str
    line: str
    """What it does, for the list of all commands: short enough for a line of 80 characters."""


COMMANDS = {
    "demo": Entry("skyfan.cli.demo", "Try the whole thing on a small simulated survey"),
    "simulate": Entry("skyfan.cli.surveys", "Simulate a survey of ugriz cutouts"),
    "partition": Entry("skyfan.cli.surveys", "Split a survey into partitions"),
    "run": Entry("skyfan.cli.runs", "Run a payload, or go on with it"),
    "status": Entry("skyfan.cli.runs", "Say where a run stands"),
    "stop": Entry("skyfan.cli.runs", "Stop a run"),
    "verify": Entry("skyfan.cli.runs", "Prove that a catalogue is complete"),
    "catalog": Entry("skyfan.cli.catalogs", "Write a run's predictions as one catalogue"),
    "evaluate": Entry("skyfan.cli.evaluations", "Hold a run's redshifts against true ones"),
    "estimate": Entry("skyfan.cli.estimates", "Say what a payload will take and cost"),
    "profile": Entry("skyfan.cli.profiles", "Measure how fast a model is on this machine"),
    "bench": Entry("skyfan.cli.benchmarks", "Measure runs over many sizes and settings"),
    "tune": Entry("skyfan.cli.tuning", "Recommend sizes and settings for a payload"),
    "report": Entry("skyfan.cli.reports", "Write the report of one or more runs"),
    "graph": Entry("skyfan.cli.graphs", "Draw a state machine"),
    "import-results": Entry("skyfan.cli.imports", "Read results of the original system"),
    "train": Entry("skyfan.cli.models", "Train a photometric-redshift network"),
    "export": Entry("skyfan.cli.models", "Write a trained network as an ONNX file"),
    "aws": Entry("skyfan.cli.clouds", "Make the system in your AWS account, or remove it"),
}
"""The commands, in the order of a user's day."""

INTERRUPTED = 130
CLOSED_PIPE = 141


class KnowingGroup(click.Group):
    """Names the nearest of its commands where one is asked for that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            begun = [each for each in known if each.startswith(name.lower())]
            near = begun or difflib.get_close_matches(name.lower(), known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(KnowingGroup):
    """Imports a command's module when the command is asked for, and none to list them all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name].module)
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="skyfan")
def cli() -> None:
    """Run a trained model over every image of a survey.

    \b
    Start with:  skyfan demo
    """


def main() -> NoReturn:
    """Run the command line; every error that skyfan raises on purpose ends as one line and its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _call()
    except click.exceptions.Abort:
        _end("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except click.ClickException as error:
        _end(_said(error), 2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except SkyfanError as error:
        _end(str(error), error.exit_code)
    except OSError as error:  # what is printed has nowhere to go; what a command does has its own errors
        _end_unheard(error)
    sys.exit(0)


def _call() -> None:
    """Call the command that is asked for; where none is, the help is the answer."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    if sys.stdout is not None:
        sys.stdout.flush()


def store_option(function: F) -> F:
    """Add --store."""
    return click.option(
        "--store",
        metavar="URL",
        help="Root of the buckets: a folder, s3:// (AWS_* variables), or an S3 server's address. "
        "Default: SKYFAN_STORE, then ./skyfan-data.",
    )(function)


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "json_lines", is_flag=True, help="Print JSON for machines, one object per line.")(
        function
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Treat SIGTERM, as a batch system sends it, and a terminal that goes away like Ctrl-C."""
    raise KeyboardInterrupt


def _said(error: click.ClickException) -> str:
    """Return what was wrong with a command, and how it is used."""
    said = error.format_message()
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return said
    return f"{said}{'' if said.endswith(('.', '?')) else '.'} {error.ctx.get_usage()}"


def _end_unheard(error: OSError) -> NoReturn:
    """End where the output went away: quietly for a closed pipe (`| head`), as the shell's own tools do."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the interpreter flushes it once more at its end
    if isinstance(error, BrokenPipeError):
        sys.exit(CLOSED_PIPE)
    _end(f"what there is to say cannot be written ({error.strerror}); expected room and permission at the output", 1)


def _end(message: str, code: int) -> NoReturn:
    prefix = "" if code == INTERRUPTED else "error: "
    click.echo(f"skyfan: {prefix}{message}", err=True)
    sys.exit(code)
