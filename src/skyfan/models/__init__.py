"""The models that ship with skyfan, by name."""

from importlib.resources import files
from pathlib import Path

from skyfan.errors import ModelError

DEFAULT = "photoz-sim-2"
"""What a payload without a model gets."""


def shipped() -> dict[str, Path]:
    """Return the ONNX file of every shipped model, by name."""
    folder = Path(str(files(__name__)))
    return {file.stem: file for file in sorted(folder.glob("*.onnx"))}


def path(name: str) -> Path:
    """Return the ONNX file of a shipped model.

    Raises
    ------
    ModelError
        No model of that name ships with skyfan.
    """
    known = shipped()
    if name not in known:
        raise ModelError(
            f"no model {name!r} ships with skyfan; there is {', '.join(known) or 'none'} - use one of these, or the "
            "key of an ONNX file in the bucket"
        )
    return known[name]
