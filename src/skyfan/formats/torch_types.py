"""What torch's pickles may speak of: tensors, their storages, and the globals that stand for them."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from skyfan.formats.layout import DTYPES


@dataclass(frozen=True)
class StorageType:
    """A storage class of torch."""

    dtype: np.dtype[Any] | None
    """None if the tensor says how its bytes are to be read."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers, kept as an entry of its own beside the pickle."""

    key: str
    dtype: np.dtype[Any]
    """One byte wide if the tensor says how its bytes are to be read."""
    size: int
    """In elements of `dtype`."""


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage, as the file says it: nothing is checked but that these are whole numbers."""

    storage: Storage
    dtype: np.dtype[Any]
    offset: int
    """In elements of `dtype`, as are the strides."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass
class StoredDataset:
    """A `torch.utils.data.TensorDataset`."""

    tensors: Any = ()


class Known(enum.Enum):
    """The globals of torch's pickles that are called."""

    TENSOR = "torch._utils _rebuild_tensor_v2"
    TENSOR_OF_DTYPE = "torch._utils _rebuild_tensor_v3"
    PARAMETER = "torch._utils _rebuild_parameter"
    ORDERED_DICT = "collections OrderedDict"
    DATASET = "torch.utils.data.dataset TensorDataset"


_CLASSES: Final[Mapping[str, np.dtype[Any]]] = {
    "Double": DTYPES["F64"],
    "Float": DTYPES["F32"],
    "Half": DTYPES["F16"],
    "Long": DTYPES["I64"],
    "Int": DTYPES["I32"],
    "Short": DTYPES["I16"],
    "Char": DTYPES["I8"],
    "Byte": DTYPES["U8"],
    "Bool": DTYPES["BOOL"],
}
GLOBALS: Final[Mapping[str, object]] = {
    **{known.value: known for known in Known},
    **{f"torch {name}Storage": StorageType(dtype) for name, dtype in _CLASSES.items()},
    "torch.storage UntypedStorage": StorageType(None),
    **{f"torch {dtype.name}": dtype for dtype in DTYPES.values()},
}
"""Everything that a pickle may name, and what stands for it here: constants, nothing that could be run."""
MODULES: Final[Mapping[str, str]] = {"__builtin__": "builtins", "posix": "os", "nt": "os"}
"""What users know a module as that pickles name otherwise."""
REMEDIES: Final[Mapping[str, str]] = {
    "BFloat16": ".float()",
    "bfloat16": ".float()",
    "float8": ".float()",
    "Complex": "torch.view_as_real()",
    "_rebuild_qtensor": ".dequantize()",
    "_sparse": ".to_dense()",
    "_nested": "torch.nested.to_padded_tensor()",
    "_reconstruct": "torch.from_numpy()",
}
"""How to make a plain tensor of other kinds, by a part of the name of a global that stands for the kind."""
