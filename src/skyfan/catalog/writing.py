"""Writing a run's predictions as one catalogue: what is asked is checked, rows stream by, the result appears whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from skyfan.errors import InputError
from skyfan.standing import Standing
from skyfan.wording import with_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyfan.catalog.content import Content, Progress
    from skyfan.runs import Run

Format = Literal["parquet", "fits", "votable", "hats"]
FORMATS: tuple[str, ...] = get_args(Format)

_WRITERS = {
    "parquet": ("skyfan.catalog.votable_parquet", "write_parquet"),
    "fits": ("skyfan.catalog.fits", "write_fits"),
    "votable": ("skyfan.catalog.votable", "write_votable"),
    "hats": ("skyfan.catalog.hats", "write_hats"),
}


def write_catalog(
    run: "Run",
    out: Path,
    format: Format,  # noqa: A002  (what astropy and every other tool calls it)
    *,
    overwrite: bool = False,
    allow_incomplete: bool = False,
    progress: "Progress" = lambda done, total: None,
) -> Path:
    """Write a run's predictions as one catalogue, as `skyfan.Run.catalog` says."""
    writer = _writer(format)
    _check_target(out, format, overwrite=overwrite)
    standing = run.status()
    if standing.state != "complete" and not allow_incomplete:
        raise InputError(
            f"{run.id}: is {standing.state}, {standing.tasks_ok} of {standing.tasks} tasks are done; expected a "
            "complete run; run its payload again: it goes on; or take what is there with --allow-incomplete"
        )
    content = _content(run, standing)
    with _appearing(out, format) as partial:
        writer(content, partial, progress)
    return out


def _writer(format: str) -> "Callable[[Content, Path, Progress], None]":  # noqa: A002
    if format not in _WRITERS:
        raise InputError(f"format {format!r}: no such format of a catalogue; expected {', '.join(FORMATS)}")
    module, name = _WRITERS[format]
    try:
        found: Callable[[Content, Path, Progress], None] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"format {format!r} needs {error.name}, which is not installed; {with_extra('catalog')}"
        ) from error
    return found


def _check_target(out: Path, format: str, *, overwrite: bool) -> None:  # noqa: A002
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; expected one to write into; make it first")
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise InputError(f"{out}: exists; expected a new name; give another, or replace it with --overwrite")
    replaceable = (out / "hats.properties").is_file() if format == "hats" else not out.is_dir()
    if not replaceable:
        kind = "a HATS catalogue" if format == "hats" else "a file"
        raise InputError(f"{out}: is not {kind}, so it is not replaced; expected a new name; give another")


def _content(run: "Run", standing: Standing) -> "Content":
    import pyarrow as pa

    from skyfan.catalog.columns import describe
    from skyfan.catalog.content import Content, encode_text

    metadata = run.metadata
    keys = [encode_text(ref.key) for task in run.tasks for ref in task.partitions]
    columns = describe(pa.schema(run.predictions().schema), metadata.get("outputs", ""), max(map(len, keys), default=1))
    complete = standing.state == "complete"
    infos = {
        "skyfan_run": run.id,
        "skyfan_model": metadata.get("model", ""),
        "skyfan_model_sha256": metadata.get("model_sha256", ""),
        "skyfan_version": metadata.get("version", ""),
        "skyfan_complete": "yes"
        if complete
        else f"NO, {standing.state}, {standing.tasks_ok} of {standing.tasks} tasks are in it",
    }
    return Content(run.id, columns, infos, standing.rows_done, run.predictions)


@contextmanager
def _appearing(out: Path, format: str) -> "Iterator[Path]":  # noqa: A002
    """Give a name beside the target, which becomes the target if all goes well and is gone if not."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    replaced = out.with_name(f".{out.name}.{os.getpid()}.replaced")
    try:
        if format == "hats":
            partial.mkdir()
        yield partial
        if partial.is_dir() and out.exists():
            out.rename(replaced)  # a folder cannot be replaced in one step
        partial.replace(out)
    except OSError as error:
        raise InputError(
            f"cannot write the catalogue {out}: {error.strerror or error}; expected a folder with room that may be "
            "written; choose another place"
        ) from error
    finally:
        _remove(partial)
        if not os.path.lexists(out) and replaced.is_dir():
            replaced.rename(out)
        _remove(replaced)


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
