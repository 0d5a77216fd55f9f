"""The `skyfan` command and what all its commands share: lazy loading, options, and how an error ends."""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

from skyfan import __version__
from skyfan.errors import SkyfanError

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS = {
    "demo": "skyfan.cli.demo",
    "simulate": "skyfan.cli.surveys",
    "partition": "skyfan.cli.surveys",
    "run": "skyfan.cli.runs",
    "status": "skyfan.cli.runs",
    "stop": "skyfan.cli.runs",
    "verify": "skyfan.cli.runs",
    "catalog": "skyfan.cli.catalogs",
    "evaluate": "skyfan.cli.evaluations",
    "estimate": "skyfan.cli.estimates",
    "profile": "skyfan.cli.profiles",
    "bench": "skyfan.cli.benchmarks",
    "tune": "skyfan.cli.tuning",
    "report": "skyfan.cli.reports",
    "graph": "skyfan.cli.graphs",
    "import-results": "skyfan.cli.imports",
    "train": "skyfan.cli.models",
    "export": "skyfan.cli.models",
    "aws": "skyfan.cli.clouds",
}
"""Command -> the module that has it, in the order of a user's day."""

INTERRUPTED = 130
CLOSED_PIPE = 141


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command


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
        cli(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Abort:
        _end("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except click.ClickException as error:
        usage = error.ctx.get_usage() + "\n" if isinstance(error, click.UsageError) and error.ctx else ""
        _end(f"{error.format_message()} {usage}".strip(), 2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except SkyfanError as error:
        _end(str(error), error.exit_code)
    except OSError as error:  # what is printed has nowhere to go; what a command does has its own errors
        _end_unheard(error)
    sys.exit(0)


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
    return click.option("--json", "json_lines", is_flag=True, help="Print JSON for machines, one object a line.")(
        function
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Treat SIGTERM, as a batch system sends it, and a terminal that goes away like Ctrl-C."""
    raise KeyboardInterrupt


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
