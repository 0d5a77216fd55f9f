"""What the two processes leave each other in a folder: a job and its rows; a file, torch's results, what was found."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import ModelError

Arrays = dict[str, NDArray[Any]]

WAYS = ("list", "arguments")
"""How forward can take its inputs: `forward([image, magnitude])`, or `forward(image, magnitude)`."""

FLOAT32 = "float32.onnx"
"""Name of the translated file."""
_JOB, _ROWS, _EXPECTED, _RESULT = "job.json", "rows.npz", "expected.npz", "result.json"


@dataclass(frozen=True)
class Job:
    """What the other process is to make a file of."""

    checkpoint: str
    """Path of the pickled file."""
    code: str | None
    """The folder that the network's modules are imported from."""
    inputs: list[str]
    """Names, in the order that forward takes them."""
    may_drop: bool
    """Whether the network may turn out to take the first of them alone."""
    inputs_as: str | None
    """One of `WAYS`; None to have it found out."""
    outputs: list[str]
    """Names; [] for those that the network gives them itself, or the usual ones."""


@dataclass(frozen=True)
class Translation:
    """What the other process found out of a network while it made a file of it."""

    network: str
    """Name of its class."""
    key: str
    """That it was under in the file's dict; '' if it is in none."""
    inputs: dict[str, list[int]]
    """Shape of a row, by name, in the order that forward takes them."""
    inputs_as: str
    """One of `WAYS`."""
    outputs: dict[str, list[int]]
    """Shape of a row, by name; [] for one number."""
    parameters: int
    traced: str
    """Why torch's newer exporter could not, if it was traced instead: branches are then fixed as for random rows."""


def write_job(folder: Path, job: Job, rows: Mapping[str, NDArray[Any]]) -> None:
    """Leave a job, and the rows to compare on, as `random/image` or `real/image`."""
    (folder / _JOB).write_text(json.dumps(asdict(job)))
    np.savez(folder / _ROWS, allow_pickle=False, **rows)


def read_job(folder: Path) -> tuple[Job, Arrays]:
    """Return the job and its rows."""
    return Job(**json.loads((folder / _JOB).read_text())), _arrays(folder / _ROWS)


def write_expected(folder: Path, results: Mapping[str, NDArray[Any]]) -> None:
    """Leave torch's outputs on all rows, as `random/0`, `real/0`."""
    np.savez(folder / _EXPECTED, allow_pickle=False, **results)


def read_expected(folder: Path) -> Arrays:
    """Return torch's outputs."""
    return _arrays(folder / _EXPECTED)


def write_result(folder: Path, result: Translation | ModelError) -> None:
    """Leave what was found out, or why there is no file."""
    content = {"error": str(result)} if isinstance(result, ModelError) else asdict(result)
    (folder / _RESULT).write_text(json.dumps(content))


def read_result(folder: Path) -> Translation | ModelError:
    """Return what was found out, or why there is no file.

    Raises
    ------
    OSError, ValueError
        The process ended before it left either.
    """
    content = json.loads((folder / _RESULT).read_text())
    return ModelError(content["error"]) if "error" in content else Translation(**content)


def first_line(error: BaseException) -> str:
    """Return the start of an error's message, or its type where it has none."""
    return (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:300]


def _arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)
