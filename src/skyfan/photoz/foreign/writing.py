"""A network written as an ONNX file, by torch's newer exporter or, where that cannot, by its older one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz.export import OPSET
from skyfan.photoz.foreign.adapter import Adapter
from skyfan.photoz.foreign.exchange import first_line
from skyfan.photoz.onnx_file import load, strip

_TRACED_OPSET = 17


def write_onnx(adapter: Adapter, rows: Sequence[Tensor], outputs: list[str], path: Path) -> str:
    """Write the ONNX file; return why torch's newer exporter could not, if the older had to.

    Raises
    ------
    ModelError
        Neither can, or what they wrote cannot be read or written again.
    """
    refused = _refusal(lambda: _follow(adapter, rows, outputs, path))
    also = refused and _refusal(lambda: _trace(adapter, rows, outputs, path))
    if also:
        raise ModelError(
            f"torch cannot export the network, neither by following its code ({refused}) nor by tracing it ({also}) - "
            "write forward in torch operations alone, for any number of rows"
        )
    written = load(path)
    strip(written)
    try:
        onnx.save(written, path)
    except (OSError, ValueError, EncodeError) as error:
        raise ModelError(
            f"the exported file cannot be written ({first_line(error)}); expected room in {path.parent}, and a network "
            "of less than 2 GB - set TMPDIR to a larger place"
        ) from error
    return refused


def _follow(adapter: Adapter, rows: Sequence[Tensor], outputs: list[str], path: Path) -> None:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        adapter,
        tuple(rows),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(tuple({0: batch} for _ in rows),),
        **_named(adapter, outputs),
    )
    if program is None:
        raise ModelError("nothing was exported")
    program.save(str(path), external_data=False)


def _trace(adapter: Adapter, rows: Sequence[Tensor], outputs: list[str], path: Path) -> None:
    torch.onnx.export(
        adapter,
        tuple(rows),
        str(path),
        dynamo=False,
        opset_version=_TRACED_OPSET,
        dynamic_axes={name: {0: "batch"} for name in (*adapter.names, *outputs)},
        **_named(adapter, outputs),
    )


def _named(adapter: Adapter, outputs: list[str]) -> dict[str, Any]:
    return {"input_names": list(adapter.names), "output_names": outputs, "verbose": False}


def _refusal(write: Callable[[], None]) -> str:
    """Return why an exporter fails, '' if it does not."""
    try:
        write()
    except Exception as error:  # noqa: BLE001  its errors share no base class
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return f"{type(cause).__name__}: {first_line(cause)}"
    return ""
