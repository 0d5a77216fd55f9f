"""The models that ship with skyfan."""

from importlib.resources import as_file, files
from pathlib import Path

from skyfan.errors import ModelError

DEFAULT = "photoz-sim-1"


def names() -> list[str]:
    """Return the names of the models that ship with skyfan."""
    return sorted(item.name.removesuffix(".onnx") for item in files(__name__).iterdir() if item.name.endswith(".onnx"))


def path(name: str) -> Path:
    """Return the ONNX file of a model that ships with skyfan.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    if name not in names():
        raise ModelError(
            f"model {name!r}: no model of that name ships with skyfan; expected one of {', '.join(names())}, "
            "or the key of an ONNX file in the run's bucket, which ends in .onnx"
        )
    with as_file(files(__name__) / f"{name}.onnx") as location:
        return location
