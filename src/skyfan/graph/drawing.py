"""From a file with a definition to a file with its picture."""

from pathlib import Path

from skyfan.blob import write_whole
from skyfan.errors import InputError
from skyfan.graph.definition import own_machine, read_machine
from skyfan.graph.mermaid import draw_mermaid
from skyfan.graph.svg import draw_svg

OWN = "skyfan"
_SVG_MARK = b'class="skyfan-graph"'
_TEXT_MARK = "%% skyfan-graph\n"
_HEAD_BYTES = 1024


def draw(definition: Path | None = None, form: str = "svg") -> str:
    """Return the picture of a state machine.

    Parameters
    ----------
    definition : Path, optional
        A file in the Amazon States Language; without it, skyfan's own state machine.
    form : {"svg", "mermaid"}

    Raises
    ------
    InputError
        If the file cannot be read or is no definition or too large a one, or there is no such form.
    """
    if form not in {"svg", "mermaid"}:
        raise InputError(f"a picture cannot be had as {form!r}; expected svg or mermaid")
    machine = own_machine() if definition is None else read_machine(definition)
    if form == "mermaid":
        return draw_mermaid(machine)
    return draw_svg(machine, title=f"State machine: {OWN if definition is None else definition.stem}")


def put(drawn: str, out: Path, source: Path | None = None, *, overwrite: bool = False) -> None:
    """Write a picture to a file, whole or not at all; Mermaid text gets a comment by which it is known again.

    Raises
    ------
    InputError
        If it cannot be written, or would take the place of the definition, `source`, or, without `overwrite`, of a
        file that is no picture of ours.
    """
    text = drawn if drawn.startswith("<svg ") else _TEXT_MARK + drawn
    try:
        if source is not None and out.exists() and out.samefile(source):
            raise InputError(f"{out} is the definition itself: it would be lost; expected another file for --out")
        target = out.resolve()  # a link stays one
        if target.exists() and not target.is_file():
            raise InputError(f"{out} is not a file; expected the name of one for --out")
        if target.exists() and not overwrite and not _is_ours(target):
            raise InputError(
                f"{out} holds something that skyfan did not draw; expected another file for --out, or --overwrite"
            )
        write_whole(target, text.encode())
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error}); expected a name in a folder that exists and has room"
        ) from error


def _is_ours(file: Path) -> bool:
    """Return whether a file begins as a picture that was drawn here."""
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    return (head.startswith(b"<svg ") and _SVG_MARK in head) or head.startswith(_TEXT_MARK.encode())
