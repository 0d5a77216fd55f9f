"""What a person, or a machine, is told of a stack and asked about it."""

import sys
from typing import Any

import click
import msgspec

from skyfan.aws.changes import Change, Changes
from skyfan.aws.destroying import Destroyed, Doomed
from skyfan.aws.overview import Overview
from skyfan.aws.stack import Note, ResourceEvent
from skyfan.errors import InputError
from skyfan.tables import show
from skyfan.wording import counted, size

_STYLES = {"_FAILED": "red", "_COMPLETE": "green"}
_SIGNS = {"Add": "+", "Remove": "-", "Modify": "~"}


def say(event: Any) -> None:
    """Print what happens as it happens, on stderr."""
    match event:
        case Note():
            _line(event.text)
        case Changes():
            for change in event.changes:
                _line(_change(change))
        case ResourceEvent():
            at = event.at[11:19]
            style = next((color for ending, color in _STYLES.items() if event.status.endswith(ending)), None)
            status = click.style(f"{event.status:<19}", fg=style)
            _line(f"{at}  {status}  {event.resource}{f': {event.reason}' if event.reason else ''}")


def say_json(event: Any) -> None:
    """Print one JSON object a line, on stdout; `event` says which."""
    click.echo(
        msgspec.json.encode({"event": type(event).__name__, **msgspec.to_builtins(event, enc_hook=str)}).decode()
    )
    sys.stdout.flush()


def confirm(question: str) -> bool:
    """Ask a person.

    Raises
    ------
    InputError
        If there is nobody to answer.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin is None or not sys.stdin.isatty():
            raise InputError(f"{question} Nobody is there to answer; expected a terminal, or --yes") from None
        raise


def question(name: str, doomed: Doomed) -> str:
    """Return what is asked before anything is deleted."""
    code, results = doomed.code, doomed.results
    lines = []
    if doomed.stack:
        lines.append(f"stack {name} ({doomed.stack.status}) in account {doomed.stack.account}, {doomed.stack.region}")
    if doomed.running:
        lines.append(f"{counted(doomed.running, 'execution')} under way, to be stopped first")
    lines.append(f"{counted(code.objects, 'object')} of code, {size(code.bytes)}, in s3://{code.bucket}/{code.prefix}")
    if results:
        lines.append(f"bucket {results.bucket} with {counted(results.objects, 'object')}, {size(results.bytes)}")
    kept = f"Kept: bucket {doomed.kept} with its results.\n" if doomed.kept else ""
    return "This deletes:\n" + "".join(f"  {line}\n" for line in lines) + kept + "Go on?"


def farewell(name: str, done: Destroyed) -> str:
    """Return what was deleted, and what is left."""
    code = f"{counted(done.code_objects, 'object')} of code{' and their bucket' if done.code_bucket else ''}"
    gone = ", ".join([*(["the stack"] if done.stack else []), code, *_results(done)])
    left = f"; kept: bucket {done.kept} with its results (--delete-results deletes it)" if done.kept else ""
    return f"stack {name}: deleted {gone}{left}"


def show_overview(found: Overview) -> None:
    """Print a stack as tables."""
    stack, code = found.stack, found.code
    rows = [
        ("status", f"{stack.status}{f': {stack.reason}' if stack.reason else ''}"),
        ("changed", stack.changed_at),
        ("place", f"account {stack.account}, region {stack.region}"),
        ("package", "is not there, or may not be read by you"),
    ]
    if code:
        version = f"skyfan {code.version}" if code.version else "no version told"
        rows[-1] = (
            "package",
            f"{version}, {size(code.size_bytes)}, sha256 {code.sha256[:12]}, from {code.uploaded_at}",
        )
    show(f"stack {stack.name}", rows)
    show("outputs", list(stack.outputs.items()))
    show("parameters", [(name, value) for name, value in sorted(stack.parameters.items()) if value])
    runs = [(run.name, f"{run.status}, {run.started_at} to {run.stopped_at or 'now'}") for run in found.executions]
    show("last executions", runs or [("none", "")])


def _line(text: str) -> None:
    click.echo(text, err=True)


def _change(change: Change) -> str:
    replaced = {"True": ", which replaces it", "Conditional": ", which may replace it"}.get(change.replacement, "")
    because = f" ({', '.join(change.because)})" if change.because else ""
    return f"{_SIGNS.get(change.action, change.action)} {change.resource}  {change.kind}{because}{replaced}"


def _results(done: Destroyed) -> list[str]:
    return [f"{counted(done.result_objects, 'object')} of results"] if done.result_objects else []
