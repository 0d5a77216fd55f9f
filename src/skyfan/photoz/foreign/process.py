"""A process of its own for someone else's code."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import Translation, read_result

_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|^AWS_", re.IGNORECASE)
"""In names of variables that someone else's code is not handed."""
_SAID = "stderr.txt"
_SAID_BYTES = 4096
"""Of the end of what was said, that are looked at."""


def translate_elsewhere(folder: Path, checkpoint: Path) -> Translation:
    """Have the job in `folder` done by another process.

    Raises
    ------
    ModelError
        It cannot be done, or the code ended the process.
    """
    environment = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    with (folder / _SAID).open("wb") as said:  # no pipe, which a process that it leaves behind would hold open
        done = subprocess.run(
            [sys.executable, "-P", "-m", "skyfan.photoz.foreign.translation", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
    try:
        found = read_result(folder)
    except (OSError, ValueError) as error:
        code = done.returncode
        how = f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        words = _last_words(folder / _SAID)
        raise ModelError(
            f"{checkpoint}: its code ended the process that exported it ({how}{words and f': {words}'}); expected a "
            "network that only computes - try it with torch.load and a call in Python"
        ) from error
    if isinstance(found, ModelError):
        raise ModelError(f"{checkpoint}: {found}")
    return found


def _last_words(path: Path) -> str:
    """Return the last line of a file, of which only the end is read."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _SAID_BYTES))
        return file.read().decode(errors="replace").strip().rpartition("\n")[2][:300]
