"""The pickle that says which tensors a torch file holds, read by a small interpreter that cannot run anything.

It knows the instructions that torch's pickles consist of (Python's `pickletools` describes them) and the globals that
describe a tensor, which are constants here, never imports. Python's own unpickler is not used, however restricted: it
allocates what a hostile file asks for, calls what lies on its stack, and sets attributes of any object there.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import numpy as np

from skyfan.errors import PartitionError
from skyfan.formats.layout import DTYPES, short
from skyfan.formats.torch_types import (
    GLOBALS,
    MODULES,
    REMEDIES,
    Known,
    Storage,
    StorageType,
    StoredDataset,
    StoredTensor,
)

_TAKEN: Final = "a TensorDataset, tuple, list or dict of plain dense tensors"
_MARK: Final = object()
_DAMAGE = (ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error, MemoryError, RecursionError)


def load(name: str, data: bytes) -> Any:
    """Return what the pickle describes: `StoredTensor`, `StoredDataset`, tuples, lists, dicts with names, constants.

    Parameters
    ----------
    name
        Of the file, for messages.
    data
        The pickle; the caller bounds its size, and with it time and memory.

    Raises
    ------
    PartitionError
        It asks for anything but the globals of a tensor (the message names what), or is damaged.
    """
    try:
        return _Machine(name, data).run()
    except _DAMAGE as e:
        raise PartitionError(
            f"{name}: the pickle inside is damaged or was not made by torch.save ({short(str(e))}); expected {_TAKEN}. "
            "Write or copy the file again."
        ) from e


class _Machine:
    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data
        self._position = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            step = _STEPS.get(code)
            if step is None:
                self._refuse_instruction(code)
            step(self)
        return self.pop()

    def take(self, count: int) -> bytes:
        data = self._data[self._position : self._position + count]
        if len(data) != count:
            raise ValueError("it ends too early")
        self._position += count
        return data

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, length_layout: str) -> str:
        return self.take(self.number(length_layout)).decode()

    def line(self) -> str:
        return self.take(self._data.index(b"\n", self._position) + 1 - self._position)[:-1].decode()

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark stands where a value is expected")
        return value

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> tuple[Any, ...]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return tuple(reversed(values))

    def top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise TypeError(f"expected a {kind.__name__}, got a {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def remember(self, index: int) -> None:
        value = self.pop()
        self._memo[index] = value
        self.push(value)

    def recall(self, index: int) -> None:
        self.push(self._memo[index])

    def memoize(self) -> None:
        self.remember(len(self._memo))

    def append(self, values: tuple[Any, ...]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: tuple[Any, ...]) -> None:
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Only texts: the hash of nested tuples can take exponential time.
            if type(key) is not str:
                raise TypeError(f"expected names as the keys of a dict, got a {type(key).__name__}")
            target[key] = value

    def find_global(self, module: Any, attribute: Any) -> None:
        if type(module) is not str or type(attribute) is not str:
            raise TypeError("expected a global's name to be text")
        found = GLOBALS.get(f"{module} {attribute}")
        if found is None:
            self._refuse_global(f"{MODULES.get(module, module)}.{attribute}")
        self.push(found)

    def load_storage(self) -> None:
        match self.pop():
            case (str(), StorageType(dtype), str() as key, _, int() as size):
                self.push(Storage(key, dtype or DTYPES["U8"], size))
            case _:
                raise TypeError("expected a storage")

    def call(self) -> None:
        function, arguments = self.pop_many(2)
        if type(function) is not Known:
            raise TypeError(f"a {type(function).__name__} cannot be called")
        match function, arguments:
            case Known.ORDERED_DICT, ():
                self.push({})
            case Known.PARAMETER, (StoredTensor() as tensor, _, _):
                self.push(tensor)
            case Known.TENSOR, (Storage() as storage, offset, shape, strides, _, _, *rest):
                self.push(self._tensor(storage, storage.dtype, (offset, shape, strides), rest))
            case Known.TENSOR_OF_DTYPE, (
                Storage() as storage,
                offset,
                shape,
                strides,
                _,
                _,
                np.dtype() as dtype,
                *rest,
            ):
                self.push(self._tensor(storage, dtype, (offset, shape, strides), rest))
            case _:
                raise TypeError(f"{function.value} cannot be called like this")

    def _tensor(
        self, storage: Storage, dtype: np.dtype[Any], view: tuple[Any, Any, Any], rest: list[Any]
    ) -> StoredTensor:
        offset, shape, strides = view
        if any(type(marks) is not dict or marks for marks in rest):
            raise PartitionError(
                f"{self._name} holds a tensor that is only marked as conjugated or negated; expected its own numbers. "
                "Save it after .resolve_conj().resolve_neg()."
            )
        if type(shape) is not tuple or type(strides) is not tuple:
            raise TypeError("expected a tensor's shape and strides to be tuples")
        if not all(type(n) is int for n in (offset, *shape, *strides)):
            raise TypeError("expected a tensor's shape, strides and offset to be whole numbers")
        return StoredTensor(storage, dtype, offset, shape, strides)

    def new_object(self) -> None:
        kind, arguments = self.pop_many(2)
        if kind is not Known.DATASET or type(arguments) is not tuple or arguments:
            raise TypeError(f"a {type(kind).__name__} cannot be made like this")
        self.push(StoredDataset())

    def build(self) -> None:
        state = self.pop()
        dataset = self.top(StoredDataset)
        if type(state) is not dict or "tensors" not in state:
            raise TypeError("expected the tensors of a dataset")
        dataset.tensors = state["tensors"]

    def _refuse_global(self, wanted: str) -> NoReturn:
        shown = short(wanted).strip("'\"")
        for part, remedy in REMEDIES.items():
            if part in wanted and wanted.startswith(("torch.", "numpy.")):
                raise PartitionError(
                    f"{self._name} holds data of the kind {shown}, which skyfan does not read; expected {_TAKEN}. "
                    f"Convert it with {remedy} and save it again."
                )
        raise PartitionError(
            f"{self._name} wants to call {shown}; skyfan reads tensors only and runs nothing from a file. Expected "
            f"{_TAKEN}. Save the tensors alone, and do not load this file with torch unless you trust who made it."
        )

    def _refuse_instruction(self, code: bytes) -> NoReturn:
        known = {opcode.code: opcode.name for opcode in pickletools.opcodes}
        name = known.get(code.decode("latin-1"), short(code))
        raise PartitionError(
            f"{self._name}: the pickle inside has the instruction {name}, which torch.save does not write; "
            f"expected {_TAKEN}. Write the file again."
        )


_STEPS: Final[Mapping[bytes, Callable[[_Machine], object]]] = {
    b"\x80": lambda m: m.take(1),  # the protocol
    b"\x95": lambda m: m.take(8),  # the length of a frame
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8c": lambda m: m.push(m.text("<B")),
    b"X": lambda m: m.push(m.text("<I")),
    b"(": lambda m: m.push(_MARK),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(m.pop_many(1)),
    b"\x86": lambda m: m.push(m.pop_many(2)),
    b"\x87": lambda m: m.push(m.pop_many(3)),
    b"t": lambda m: m.push(m.pop_to_mark()),
    b"]": lambda m: m.push([]),
    b"a": lambda m: m.append(m.pop_many(1)),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.set_items(m.pop_many(2)),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.memoize(),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": lambda m: m.find_global(m.line(), m.line()),
    b"\x93": lambda m: m.find_global(*m.pop_many(2)),
    b"Q": lambda m: m.load_storage(),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.new_object(),
    b"b": lambda m: m.build(),
}
