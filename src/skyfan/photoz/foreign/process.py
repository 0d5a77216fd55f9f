"""A process of its own for someone else's code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import Translation, read_result


def translate_elsewhere(folder: Path, checkpoint: Path) -> Translation:
    """Have the job in `folder` done by another process.

    Raises
    ------
    ModelError
        It cannot be done, or the code ended the process.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "skyfan.photoz.foreign.translation", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    try:
        found = read_result(folder)
    except (OSError, ValueError) as error:
        code = done.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise ModelError(
            f"{checkpoint}: its code ended the process that exported it ({how}{f': {said}' if said else ''}); expected "
            "a network that only computes - try it with torch.load and a call in Python"
        ) from error
    if isinstance(found, ModelError):
        raise ModelError(f"{checkpoint}: {found}")
    return found
