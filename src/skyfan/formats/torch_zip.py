"""Torch's `.pt` files, read without torch: a zip with a pickle that describes tensors, and their raw numbers."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from skyfan.blob import Blob
from skyfan.errors import PartitionError
from skyfan.formats import tensor_pickle
from skyfan.formats.archive import Archive
from skyfan.formats.layout import canonical_name, short, size_in_bytes
from skyfan.formats.tensor import BlobTensor, Tensor, Tensors
from skyfan.formats.torch_types import StoredDataset, StoredTensor

_NAMES: Final = ("image", "magnitude", "redshift")
_MAX_PICKLE = 1024 * 1024
_PICKLE = re.compile(r"([^/]+)/data\.pkl")
_ZIP_MAGIC = b"PK"
_OLD_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch's old format begins with, pickled


def read(blob: Blob) -> Tensors:
    """Return the tensors of a `.pt` file; only its directory and its pickle have been read.

    A `TensorDataset`, tuple or list of two or three tensors is taken as image, magnitude and redshift; a dict names its
    tensors itself. Nothing in the file is executed or imported.

    Raises
    ------
    PartitionError
        The file is damaged, in torch's format from before 2020, or holds anything but plain dense tensors.
    """
    start = bytes(blob.view(0, min(blob.size, 16)))
    if _OLD_MAGIC in start:
        raise PartitionError(
            f"{blob.name} is in torch's old format, which is no zip; expected the zip format. "
            "Save it again with a torch of 2020 or later: torch.save(torch.load(path), path)."
        )
    if not start.startswith(_ZIP_MAGIC):
        raise PartitionError(
            f"{blob.name} is not a .pt file: it starts with {short(start)}; expected a zip as torch.save writes it. "
            "Write or copy it again."
        )
    archive = Archive(blob, ".pt")
    folder = _folder(blob, archive)
    offset, size = archive.locate(f"{folder}/data.pkl")
    if size > _MAX_PICKLE:
        raise PartitionError(
            f"{blob.name}: the pickle that describes its tensors has {size} bytes; expected at most {_MAX_PICKLE}. "
            "Save a few large tensors instead of many small ones."
        )
    content = tensor_pickle.load(blob.name, bytes(blob.view(offset, offset + size)))
    arrays: dict[str, Tensor] = {}
    for name, tensor in _named(blob, content).items():
        where = f"{blob.name}: tensor {short(name)}"
        if type(tensor) is not StoredTensor:
            raise PartitionError(
                f"{where} is a {type(tensor).__name__}; expected a plain dense tensor. Save the tensors alone."
            )
        arrays[canonical_name(blob.name, name, arrays)] = _place(blob, where, archive, folder, tensor)
    return Tensors(arrays)


def _folder(blob: Blob, archive: Archive) -> str:
    """Return the folder that torch has put everything into, having checked the order of bytes."""
    folders = [found[1] for name in archive.entries if (found := _PICKLE.fullmatch(name))]
    if len(folders) != 1:
        raise PartitionError(
            f"{blob.name} has {len(folders)} entries called data.pkl; expected one, as torch.save writes it. "
            "Save it again with torch.save."
        )
    order = f"{folders[0]}/byteorder"
    if order in archive.entries:
        offset, size = archive.locate(order)
        text = bytes(blob.view(offset, offset + min(size, 16)))
        if text != b"little":
            raise PartitionError(
                f"{blob.name} was written in byte order {short(text)}; expected little. "
                "Save it again on a little-endian machine."
            )
    return folders[0]


def _named(blob: Blob, content: Any) -> Mapping[str, Any]:
    if isinstance(content, StoredDataset):
        content = content.tensors
    if isinstance(content, dict) and content:
        return content
    if isinstance(content, Sequence) and not isinstance(content, str) and 2 <= len(content) <= len(_NAMES):
        return dict(zip(_NAMES, content, strict=False))
    counted = f" of {len(content)}" if isinstance(content, Sequence | dict) else ""
    raise PartitionError(
        f"{blob.name} holds a {type(content).__name__}{counted}; expected a TensorDataset, tuple or list of images, "
        "magnitudes and perhaps redshifts, or a dict of named tensors. Save the tensors so."
    )


def _place(blob: Blob, where: str, archive: Archive, folder: str, tensor: StoredTensor) -> BlobTensor:
    """Return the tensor where it lies in the blob, having checked that it lies within its storage."""
    storage, shape, width = tensor.storage, tensor.shape, tensor.dtype.itemsize
    size_in_bytes(where, tensor.dtype, shape)
    start, size = archive.locate(f"{folder}/data/{storage.key}")
    if storage.size != size // storage.dtype.itemsize:
        _refuse(where, f"its storage has {size} bytes, and should have {short(storage.size)} of {storage.dtype}")
    if len(tensor.strides) != len(shape) or min(tensor.offset, *shape, *tensor.strides) < 0:
        _refuse(
            where,
            f"its shape {short(shape)}, strides {short(tensor.strides)} and offset {short(tensor.offset)} do not fit",
        )
    reach = sum((n - 1) * stride for n, stride in zip(shape, tensor.strides, strict=True)) + 1 if 0 not in shape else 0
    if tensor.offset + reach > size // width:
        _refuse(
            where, f"it ends at number {short(tensor.offset + reach)} of its storage, which has {size // width} of them"
        )
    if math.prod(shape) > size // width:
        raise PartitionError(
            f"{where} of shape {short(shape)} repeats the {size // width} numbers of its storage; expected each number "
            "to be stored. Save it after .contiguous()."
        )
    # Torch keeps any stride where there is nothing to step over; numpy wants one that fits its integers.
    strides = tuple(stride * width if n > 1 else 0 for n, stride in zip(shape, tensor.strides, strict=True))
    return BlobTensor(blob, tensor.dtype, shape, start + tensor.offset * width, strides)


def _refuse(where: str, reason: str) -> NoReturn:
    raise PartitionError(f"{where} cannot be: {reason}. The file is damaged: write or copy it again.")
