"""The file that a model is written to: never what it is made from, and whole or as it was."""

import os
import shutil
from pathlib import Path

from skyfan.errors import ModelError


def check_out(out: Path, *sources: Path | None) -> None:
    """Check that a file can be written to `out`, and that this destroys none of what is to be read.

    Raises
    ------
    ModelError
        If not.
    """
    try:
        usable = out.parent.is_dir() and (out.is_file() or not out.exists())
        read = [source for source in sources if source and out.exists() and out.samefile(source)]
    except OSError as error:
        raise ModelError(f"{out} cannot be written ({error}); expected the name of a file - choose another") from error
    if not usable:
        raise ModelError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )
    if read:
        raise ModelError(
            f"{out} is the same file as {read[0]}, which is read: it would be lost; expected a new file - give the "
            "model another name, as model.onnx"
        )


def put_in_place(file: Path, out: Path) -> None:
    """Copy a finished file to `out` by way of one beside it, so that no half of a file is ever called `out`.

    Raises
    ------
    ModelError
        If it cannot be written.
    """
    target = out.resolve()  # a link stays one
    beside = target.with_name(f".skyfan-{os.getpid()}.part")
    try:
        shutil.copyfile(file, beside)
        beside.replace(target)
    except OSError as error:
        raise ModelError(f"{out} cannot be written ({error}); expected a place with room - choose another") from error
    finally:
        beside.unlink(missing_ok=True)
