"""Opens a file of arrays by what its name ends in."""

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from skyfan.blob import Blob
from skyfan.errors import PartitionError
from skyfan.formats import npz, safetensors, torch_zip
from skyfan.formats.layout import short
from skyfan.formats.tensor import Tensors

_READERS: Final[Mapping[str, Callable[[Blob], Tensors]]] = {
    ".safetensors": safetensors.read,
    ".pt": torch_zip.read,
    ".npz": npz.read,
}
SURVEY_SUFFIXES: Final = tuple(_READERS)
"""What a survey's name may end in."""
PARTITION_SUFFIXES: Final = (".safetensors", ".pt")
"""What a partition's name may end in; a worker needs any row at any time, which a compressed `.npz` cannot give."""


def read(blob: Blob) -> Tensors:
    """Return the arrays of a file in the format that its name ends in.

    Raises
    ------
    PartitionError
        The name ends in none of `SURVEY_SUFFIXES`, or the file is empty or cannot be read.
    """
    suffix = PurePosixPath(blob.name).suffix
    reader = _READERS.get(suffix)
    if reader is None:
        raise PartitionError(
            f"{blob.name} ends in {short(suffix)}; expected one of {', '.join(SURVEY_SUFFIXES)}. "
            "Write it in one of these formats, or give it the name of its own."
        )
    if not blob.size:
        raise PartitionError(f"{blob.name} is empty (0 bytes); write or copy it again")
    return reader(blob)
