"""ONNX files: reading, writing and cleaning them, whatever model is inside."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from skyfan.errors import ModelError


def set_metadata(path: Path, out: Path, metadata: dict[str, str]) -> Path:
    """Write the model of `path` to `out` with exactly this metadata.

    Raises
    ------
    ModelError
        `path` is not an ONNX file, or `out` cannot be written.
    """
    model = load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model)
    try:
        onnx.save(model, out)
    except OSError as e:
        raise ModelError(f"cannot write the model {out} ({e}); expected a place with room - choose another") from e
    return out


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises
    ------
    ModelError
        There is none at `path`.
    """
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as e:
        raise ModelError(f"{path} cannot be read ({e}); expected an ONNX file - check the path") from e
    if not model.ir_version or not model.HasField("graph"):  # no bytes at all are a message without fields
        raise ModelError(f"{path} holds no network; expected an ONNX file - check the path, or export it again")
    return model


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file to run on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of where each node came from: a fifth of a small file, and paths of a machine."""
    for thing in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del thing.metadata_props[:]
        thing.doc_string = ""
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
    del model.graph.value_info[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what exporter and quantiser say of their own insides: nothing in it is for who exports a model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
