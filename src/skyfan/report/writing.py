"""Making a report and putting it where it belongs, never over a file that is not one of ours."""

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from skyfan.blob import write_whole
from skyfan.errors import InputError, SkyfanError
from skyfan.report.document import Document
from skyfan.runs import Run
from skyfan.storage import Store
from skyfan.wording import with_extra

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud
    from skyfan.aws.stack import Stack
    from skyfan.bench.measurement import Measurement
    from skyfan.report.history import History
    from skyfan.report.record import Record

Format = Literal["html", "md"]

GALLERY = 24
"""Images, if not told otherwise."""
NEEDED = ("jinja2", "matplotlib")
HEAD_BYTES = 1024
"""In which the mark of one of our own files lies."""

_OURS = re.compile(rb'<meta name="generator" content="skyfan report">|\A<!-- skyfan report -->')


def write_report(
    runs: Sequence[Run],
    store: Store,
    out: Path,
    format: Format = "html",  # noqa: A002  (what every other tool calls it)
    *,
    measurements: "Sequence[Measurement]" = (),
    images: int = GALLERY,
    verify: bool = False,
    overwrite: bool = False,
    cloud: "Cloud | None" = None,
    stack: str | None = None,
) -> bool:
    """Write the report of runs; return whether all of them are complete. Needs the extra `plots`.

    Parameters
    ----------
    runs : sequence of Run
        At least one, all in the same store; one that is named twice is reported once.
    store : Store
    out : Path
        The file; with `md` the figures go to a folder beside it, `report_files` for `report.md`.
    format : str
        `html`, one file with everything in it, or `md`.
    measurements : sequence of Measurement
        Of other runs, for the scaling table.
    images : int
        In the gallery of most anomalous images; 0 for none.
    verify : bool
        Read, hash and count every part again.
    overwrite : bool
        Write over a file that is there and no report of ours.
    cloud : Cloud, optional
        Ask AWS of the runs' executions, and of the stack.
    stack : str, optional
        The stack that they ran on. Without, the usual one is asked for, and its absence is no error.

    Raises
    ------
    InputError
        If there is no run, the extra is missing, or the file cannot be written.
    SkyfanError
        If a run cannot be read, or there is no such `stack`. Other trouble with AWS is told in the report.
    """
    check_extra()
    check_target(out, format, overwrite=overwrite)
    if not runs:
        raise InputError("report: got no run; expected <bucket>/<result_path>, or a payload file")
    from skyfan.report.composing import compose
    from skyfan.report.record import read_record

    found, no_stack = _stack(cloud, stack)
    records = [read_record(run, store, verify=verify, cloud=cloud) for run in {run.id: run for run in runs}.values()]
    histories, silent = _histories(records, cloud)
    document = compose(
        records, measurements, images=images, histories=histories, stack=found, unanswered=silent | no_stack
    )
    _write(document, out, format)
    return all(verdict.good for verdict in document.verdicts)


def check_extra() -> None:
    """Check that what draws and writes a report is installed.

    Raises
    ------
    InputError
        If not.
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        raise InputError(f"{' and '.join(absent)} is not installed, and a report needs it; {with_extra('plots')}")


def check_target(out: Path, format: Format = "html", *, overwrite: bool) -> None:  # noqa: A002  (as above)
    """Check that a file, and with `md` the folder of its figures, may be written, before any work is done for it.

    Raises
    ------
    InputError
        If it is there and not a report of ours, is no file at all, or its folder is not there.
    """
    try:
        if not out.parent.is_dir():
            raise InputError(f"{out}: there is no folder {out.parent}; make it, or name another file with --out")
        if out.is_dir():
            raise InputError(f"{out}: is a folder; expected the name of a file: give one with --out")
        there = out.exists()
        if there and not out.is_file():  # a pipe would be waited for, for ever
            raise InputError(f"{out}: is there and not a file; name another file with --out")
        ours = there and not overwrite and _is_ours(out)
        if there and not ours and not overwrite:
            raise InputError(
                f"{out}: is there already, and no report of skyfan's; name another file with --out, or --overwrite"
            )
        if format == "md":
            _check_folder(_folder(out), ours=ours or overwrite)
    except OSError as error:
        raise InputError(f"{out}: cannot be read ({error}); name another file with --out") from error


def _is_ours(out: Path) -> bool:
    with out.open("rb") as file:
        return _OURS.search(file.read(HEAD_BYTES)) is not None


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.stem}_files")


def _check_folder(folder: Path, *, ours: bool) -> None:
    """Check that figures may be put into a folder: not through a link, nor among the files of somebody else."""
    if folder.is_symlink():
        raise InputError(f"{folder}: is a link, and figures would go elsewhere; name another file with --out")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is there and not a folder, and figures go there; name another file with --out")
    if folder.exists() and not ours:
        raise InputError(
            f"{folder}: is there already, without a report of skyfan's beside it; name another file with --out, or "
            "--overwrite"
        )


def _histories(records: "Sequence[Record]", cloud: "Cloud | None") -> "tuple[dict[str, History], dict[str, str]]":
    """Return what AWS says of the runs' executions, and why it says nothing."""
    found: dict[str, History] = {}
    unanswered: dict[str, str] = {}
    if cloud is None:
        return found, unanswered
    from skyfan.report.history import read_history

    for record in records:
        try:
            history = read_history(cloud, record.execution) if record.execution else None
        except SkyfanError as error:
            unanswered[record.id] = str(error)
            continue
        if history is not None:
            found[record.id] = history
    return found, unanswered


def _stack(cloud: "Cloud | None", name: str | None) -> "tuple[Stack | None, dict[str, str]]":
    """Return the stack, and why it is not known; one that was asked for by name must be there."""
    if cloud is None:
        return None, {}
    from skyfan.aws.session import resolve_stack
    from skyfan.aws.stack import existing_stack

    try:
        return existing_stack(cloud, resolve_stack(name)), {}
    except SkyfanError as error:
        if name is not None:
            raise
        return None, {"": str(error)}


def _write(document: Document, out: Path, form: Format) -> None:
    """Write a report and its figures; the page comes last, and whole."""
    try:
        if form == "html":
            from skyfan.report.html import to_html

            write_whole(out, to_html(document).encode(errors="replace"))
            return
        from skyfan.report.markdown import to_markdown

        folder = _folder(out)
        page, files = to_markdown(document, quote(os.fsencode(folder.name)))
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            write_whole(folder / name, data)
        write_whole(out, page.encode(errors="replace"))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error}); name another file with --out") from error
