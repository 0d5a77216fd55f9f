"""Where a model's weights lie: inside its one file, or in another that no hash of it would cover."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from skyfan.errors import ModelError

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Kinds of field of protobuf; ONNX has none of the two others."""
_FIXED: Final = MappingProxyType({_EIGHT_BYTES: 8, _FOUR_BYTES: 4})
_MAX_TAG = 2**32 - 1
_MAX_VARINT_BYTES = 10

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor, by which its numbers are elsewhere."""

_INSIDE: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
        "function": {7: "node", 11: "attribute"},
        "training": {1: "graph", 2: "graph"},
        "sparse tensor": {1: "tensor", 2: "tensor"},
        "tensor": {},
    }
)
"""The messages of ONNX in which a tensor can be, by the numbers of the fields that hold them (onnx.proto)."""


class _Field(NamedTuple):
    """One field of a message."""

    number: int
    start: int
    """Of its content."""
    stop: int
    value: int
    """Of a varint."""


def refuse_external_weights(content: memoryview, name: str) -> None:
    """Refuse a model whose weights lie in another file.

    Only tags and lengths are read; the weights themselves are stepped over.

    Parameters
    ----------
    content : memoryview
        Of the ONNX file, bytes.
    name : str
        For messages.

    Raises
    ------
    ModelError
        If it has weights in another file, or is nothing that protobuf can be: what cannot be walked is not believed.
    """
    try:
        found = any(_is_elsewhere(field) for field in _fields_of_tensors(content))
    except ValueError as error:
        raise ModelError(
            f"model {name}: cannot be loaded as ONNX ({error}); expected one .onnx file with its weights inside; "
            "export it anew, for your own torch model see 'skyfan export --help'"
        ) from error
    if found:
        raise ModelError(
            f"model {name}: keeps weights in another file; expected one .onnx file with its weights inside, which "
            "one hash covers: save it with onnx.save(model, path, save_as_external_data=False)"
        )


def _is_elsewhere(field: _Field) -> bool:
    return field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value != 0)


def _fields_of_tensors(content: memoryview) -> Iterator[_Field]:
    """Yield the fields of all tensors of a model, wherever they are in it."""
    waiting = [("model", 0, len(content))]
    while waiting:
        kind, start, stop = waiting.pop()
        inside = _INSIDE[kind]
        for field in _fields(content, start, stop):
            if kind == "tensor":
                yield field
            elif field.number in inside:
                waiting.append((inside[field.number], field.start, field.stop))


def _fields(content: memoryview, start: int, stop: int) -> Iterator[_Field]:
    """Yield the fields of one message, in whatever order they are."""
    at = start
    while at < stop:
        tag, at = _varint(content, at, stop)
        number, wire, value = tag >> 3, tag & 7, 0
        if not number or tag > _MAX_TAG:
            raise ValueError(f"no field can have the tag {tag} at byte {at}")
        if wire == _VARINT:
            begin = at
            value, at = _varint(content, at, stop)
        elif wire == _BYTES:
            length, begin = _varint(content, at, stop)
            at = begin + length
        elif wire in _FIXED:
            begin, at = at, at + _FIXED[wire]
        else:
            raise ValueError(f"field {number} at byte {at} is of a kind that ONNX has not")
        if at > stop:
            raise ValueError(f"field {number} ends at byte {at}, beyond what holds it, {stop}")
        yield _Field(number, begin, at, value)


def _varint(content: memoryview, at: int, stop: int) -> tuple[int, int]:
    """Return a number as protobuf writes it, 7 bits a byte, and where it ends."""
    value = 0
    for place in range(min(_MAX_VARINT_BYTES, stop - at)):
        byte = content[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"the number at byte {at} has no end")
