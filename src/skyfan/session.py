"""The runtime that executes a model: opened from an ONNX file, given one batch at a time."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from skyfan.errors import ModelError

_OUT_OF_MEMORY = re.compile(r"bad[_ ]alloc|failed to allocate|out of memory", re.IGNORECASE)
_ALIGNMENT = 64


def open_session(source: Path | bytes, name: str, to_predict: bool, threads: int) -> ort.InferenceSession:
    """Open an ONNX file, or its content.

    Parameters
    ----------
    source : Path or bytes
    name : str
        For messages.
    to_predict : bool
        False to look at its inputs and outputs only.
    threads : int
        Of one call of `run_session`.

    Raises
    ------
    ModelError
        If the runtime does not take it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if not to_predict:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 4  # what goes wrong comes as an exception; nothing else belongs into a run's output
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # its own format can have weights elsewhere
    content = source if isinstance(source, bytes) else str(source)
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # the runtime's own errors share no base class
        raise ModelError(
            f"model {name}: cannot be loaded as ONNX ({_first_line(error)}); expected one .onnx file with its weights "
            "inside; export it anew, for your own torch model see 'skyfan export --help'"
        ) from error


def run_session(session: ort.InferenceSession, feed: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Run a model on a batch, input -> values, and return its outputs.

    Raises
    ------
    MemoryError
        If there was not enough.
    ValueError
        If the model failed otherwise; its text is a line that says why.
    """
    try:
        results: list[Any] = session.run(None, {name: _aligned(values) for name, values in feed.items()})
    except MemoryError:
        raise
    except Exception as error:  # as above
        said = _first_line(error)
        raise MemoryError(said) if _OUT_OF_MEMORY.search(str(error)) else ValueError(said) from error
    return results


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values contiguous, at an address that is a multiple of `_ALIGNMENT`.

    The runtime adds up in another order where memory is aligned otherwise, and a sum may differ in its last bit: the
    same row must give the same bytes from a mapped file, a buffer, or a batch in which another row was replaced.
    """
    if values.flags.c_contiguous and values.ctypes.data % _ALIGNMENT == 0:
        return values
    room = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    placed: NDArray[Any] = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    placed[...] = values
    return placed


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
