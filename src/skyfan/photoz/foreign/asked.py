"""What an export is asked for beside the files, checked before anything runs."""

import json
import math
import operator
from collections.abc import Mapping, Sequence

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import WAYS

MAX_ELEMENTS = 2**22
"""Of a row, all inputs together: some tens of rows must fit into memory. An image of 4 bands has 1024 pixels a side."""


def checked_shapes(inputs: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row by input.

    Raises
    ------
    ModelError
        If one is no shape, or a row of them is too large.
    """
    shapes = {name: _checked_shape(name, shape) for name, shape in inputs.items()}
    elements = sum(map(math.prod, shapes.values()))
    if elements > MAX_ELEMENTS:
        raise ModelError(
            f"a row of the inputs {shapes} has {elements:,} numbers; expected at most {MAX_ELEMENTS:,} - give the "
            "shape of one row, without the number of rows"
        )
    return shapes


def _checked_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = None if isinstance(shape, (str, bytes)) else tuple(map(operator.index, shape))
    except TypeError:
        sizes = None
    if sizes is None or min(sizes, default=1) < 1 or not isinstance(name, str) or not name:
        raise ModelError(
            f"input {name!r} has the shape {shape!r}; expected a name, and the sizes of a row, each 1 or more - as in "
            "{'image': (5, 32, 32), 'ra': ()}, or --input image=5x32x32"
        )
    return sizes


def check_asked(inputs_as: str | None, outputs: Sequence[str]) -> None:
    """Check how forward is said to be called, and what its outputs are to be called.

    Raises
    ------
    ModelError
        If it is neither way, or these are no names.
    """
    if inputs_as not in (None, *WAYS):
        raise ModelError(f"inputs_as is {inputs_as!r}; expected one of {', '.join(WAYS)}, or none to have it found out")
    if isinstance(outputs, str) or not all(isinstance(name, str) and name for name in outputs):
        raise ModelError(f"outputs is {outputs!r}; expected a list of names, as ['z_phot'], or --output z_phot")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Check what is to be written into the file beside what it says of itself.

    Raises
    ------
    ModelError
        If it is not text, or `outputs` is none that a catalogue can be described with.
    """
    for key, value in metadata.items():
        if not isinstance(key, str) or not key or not isinstance(value, str):
            raise ModelError(
                f"metadata {key!r} is {value!r}; expected text, as the file holds nothing else - json.dumps makes it"
            )
    try:
        said = json.loads(metadata.get("outputs", "{}"))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not all(isinstance(entry, dict) for entry in said.values()):
        raise ModelError(
            f"metadata 'outputs' is {metadata['outputs'][:40]!r}; expected a JSON object, for each output one with "
            'its unit and description, as {"z_phot": {"unit": "", "description": "photometric redshift"}}'
        )
