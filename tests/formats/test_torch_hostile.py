"""`.pt` files made to do harm: refused by name, and nothing in them runs."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfan.blob import BufferBlob
from skyfan.errors import PartitionError
from skyfan.formats import torch_zip

torch = pytest.importorskip("torch")

GLOBAL_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08tQ"


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


VALID = saved(torch.utils.data.TensorDataset(torch.arange(8.0).reshape(4, 2), torch.ones(4, 2, dtype=torch.float64)))
VALID_PICKLE = zipfile.ZipFile(io.BytesIO(VALID)).read("archive/data.pkl")


def archive(pickled: bytes = VALID_PICKLE, more: dict[str, bytes] | None = None, **options: Any) -> bytes:
    entries = {"archive/data.pkl": pickled, "archive/byteorder": b"little", "archive/data/0": bytes(32),
               "archive/data/1": bytes(64), **(more or {})}  # fmt: skip
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as new:
        for name, content in entries.items():
            new.writestr(name, content)
    return file.getvalue()


def refuse(data: bytes, message: str) -> None:
    with pytest.raises(PartitionError, match=rf"(?s)^x\.pt.*{message}.*\.") as caught:
        torch_zip.read(BufferBlob("x.pt", data))
    assert len(str(caught.value)) < 600


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def attacks(marker: str) -> dict[str, object]:
    write = f"open({marker!r}, 'w').close()"
    hidden_eval = Calls(getattr, Calls(__import__, "builtins"), "eval")
    return {
        "os.system": Calls(os.system, f"touch {marker}"),
        "builtins.eval": Calls(eval, write),
        "builtins.exec": {"images": Calls(exec, write)},
        "builtins.list": Calls(list, Calls(map, hidden_eval, [write])),
        "os.mkdir": ["image", {"a": (Calls(os.mkdir, marker),)}],
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", attacks(""))
def test_a_call_is_refused_by_name_and_not_made(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    pickled = pickle.dumps(attacks(str(marker))[name], protocol)
    refuse(archive(pickled), f"wants to call {name}; skyfan reads tensors only")
    assert not marker.exists()
    pickle.loads(pickled)  # noqa: S301 - the attack is real: Python's own unpickler falls for it
    assert marker.exists()


@pytest.mark.parametrize(
    "wanted", ["torch.load", "torch.utils.collect_env run", "builtins getattr", "x" * 10_000 + " y"]
)
def test_any_other_global_is_refused_by_name(wanted: str) -> None:
    module, _, name = wanted.replace(".load", " load").partition(" ")
    for pickled in (
        f"c{module}\n{name}\n)R.".encode(),
        pickle.dumps(module, 4)[:-1] + pickle.dumps(name, 4)[:-1] + b"\x93)R.",
    ):
        refuse(archive(pickled), rf"wants to call {module[:60]}.*runs nothing from a file")


def test_torchs_own_dangerous_functions_are_not_known() -> None:
    for name in ("torch.serialization load", "torch._utils _import_dotted_name", "torch.hub load", "torch Tensor"):
        refuse(archive(b"c" + name.replace(" ", "\n").encode() + b"\n."), f"wants to call {name.replace(' ', '.')}")


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02\x82\x01.", "the instruction EXT1, which torch.save does not write"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "the instruction EXT4"),
        (b"(ios\nsystem\n.", "the instruction INST"),
        (b"(o.", "the instruction OBJ"),
        (b"\x80\x04)}\x92.", "the instruction NEWOBJ_EX"),
        (b"P0\n.", "the instruction PERSID"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "the instruction BYTEARRAY8"),
        (b"\xfe.", r"the instruction b'\\xfe'"),
        (b"", "it ends too early"),
        (b".", "pickle inside is damaged"),
        (b"(.", "a mark stands where a value is expected"),
        (b"X\xff\xff\xff\xffab.", "it ends too early"),
        (b"X\x01\x00\x00\x00\xff.", "damaged.*codec can't decode"),
        (b"Nr\xff\xff\xff\xff.", "holds a NoneType"),
        (b"h\x07.", "damaged"),
        (b"cos", "damaged"),
        (b"]q\x00h\x00h\x00\x86.", "tensor 'image' is a list"),
        (b"]q\x00h\x00ah\x00a.", "damaged|list"),
        (b"NN\x93.", "expected a global's name to be text"),
        (b"NNR.", "a NoneType cannot be called"),
        (b"N)R.", "a NoneType cannot be called"),
        (b"ctorch\nFloatStorage\n)R.", "a StorageType cannot be called"),
        (b"ctorch\nfloat32\n)R.", "cannot be called"),
        (GLOBAL_TENSOR + b")R.", "_rebuild_tensor_v2 cannot be called like this"),
        (GLOBAL_TENSOR + b")\x81.", "cannot be made like this"),
        (b"ccollections\nOrderedDict\n]\x85R.", "OrderedDict cannot be called like this"),
        (b"ccollections\nOrderedDict\n}b.", "expected a StoredDataset"),
        (b"ctorch.utils.data.dataset\nTensorDataset\nN}b.", "expected a StoredDataset"),
        (b"ctorch.utils.data.dataset\nTensorDataset\n)\x81}b.", "damaged"),
        (b"ctorch.utils.data.dataset\nTensorDataset\n)\x81.", "holds a tuple of 0"),
        (b"NQ.", "expected a storage"),
        (b"(NNNNNtQ.", "expected a storage"),
        (b"})Ns.", "expected names as the keys of a dict"),
        (b")" + b"q\x00h\x00\x86" * 5000 + b".", "tensor 'image' is a tuple"),
        (b"})" + b"q\x00h\x00\x86" * 5000 + b"Ns.", "expected names as the keys of a dict, got a tuple"),
    ],
)
def test_a_pickle_that_plays_tricks_is_refused(pickled: bytes, message: str) -> None:
    refuse(archive(pickled), message)


def number(n: int) -> bytes:
    width = (n.bit_length() + 8) // 8
    return b"\x8a" + bytes([width]) + n.to_bytes(width, "little", signed=True)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(number(n) for n in values) + b"t"


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], storage: bytes = FLOATS) -> bytes:
    view = number(offset) + numbers(shape) + numbers(strides)
    one = GLOBAL_TENSOR + b"(" + storage + view + b"\x89NtR"
    return b"}X\x01\x00\x00\x00a" + one + b"s."


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "message"),
    [
        (0, (9,), (1,), "'a' cannot be: it ends at number 9 of its storage, which has 8 of them"),
        (1, (4, 2), (2, 1), "ends at number 9"),
        (0, (4, 2), (3, 1), "ends at number 11"),
        (-1, (4,), (1,), "do not fit"),
        (7, (4,), (-1,), "do not fit"),
        (0, (-4,), (1,), "no array can have"),
        (0, (4,), (1, 1), "do not fit"),
        (0, (2**70,), (1,), "no array can have"),
        (0, (2**40, 2**40), (0, 0), "no array can have"),
        (0, (2,), (2**64,), "ends at number 18446744073709551617"),
        (2**64, (1,), (1,), "ends at number 18446744073709551617"),
        (9, (0,), (1,), "ends at number 9"),
        (0, (2**500,), (1,), "no array can have"),
        (0, (10**12,), (0,), r"repeats the 8 numbers of its storage.*\.contiguous\(\)"),
        (0, (), (), "a single number"),
    ],
)
def test_a_view_outside_its_storage_is_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], message: str
) -> None:
    refuse(archive(tensor(offset, shape, strides)), message)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (FLOATS.replace(b"K\x08t", b"K\x09t"), "storage has 32 bytes, and should have 9 of float32"),
        (FLOATS.replace(b"K\x08t", number(2**70) + b"t"), "storage has 32 bytes"),
        (FLOATS.replace(b"K\x08t", number(-8) + b"t"), "storage has 32 bytes"),
        (FLOATS.replace(b"\x01\x00\x00\x000", b"\x01\x00\x00\x007"), "entry 'archive/data/7' is missing"),
        (FLOATS.replace(b"\x01\x00\x00\x000", b"\x05\x00\x00\x00../.."), r"entry 'archive/data/\.\./\.\.' is missing"),
    ],
)
def test_a_storage_that_is_not_there_is_refused(storage: bytes, message: str) -> None:
    refuse(archive(tensor(0, (2,), (1,), storage)), message)


def patched(data: bytes, signature: bytes, at: int, value: bytes, which: int = 0) -> bytes:
    """Return the zip with bytes of the header of one entry overwritten."""
    start = -1
    for _ in range(which + 1):
        start = data.index(signature, start + 1)
    return data[: start + at] + value + data[start + at + len(value) :]


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .pt file: it starts with b''"),
        (b"not a zip file", "not a .pt file: it starts with b'not a zip file'"),
        (VALID[: len(VALID) // 2], "zip directory cannot be read"),
        (VALID[:-1], "zip directory cannot be read"),
        (archive(compression=zipfile.ZIP_DEFLATED), "is compressed; expected raw bytes"),
        (archive(more={"archive/byteorder": b"big"}), "in byte order b'big'; expected little"),
        (archive(bytes(2**20 + 1)), "has 1048577 bytes; expected at most 1048576"),
        (archive(more={"other/data.pkl": b"N."}), "has 2 entries called data.pkl; expected one"),
        (archive(more={"archive/../../x": b""}), r"entry 'archive/\.\./\.\./x' could lead outside"),
        (archive(more={"/etc/passwd": b""}), "entry '/etc/passwd' could lead outside"),
        (archive(more={"a\\b": b""}), "could lead outside"),
        (archive(more={"archive/data/1\n": b""}), "could lead outside"),
        (archive(more={"archive/data/2": b""}).replace(b"data/2", b"data/1"), "entry 'archive/data/1' is there twice"),
        (patched(archive(), CENTRAL, 8, b"\x01\x00", 2), "entry 'archive/data/0' is encrypted"),
        (patched(archive(), LOCAL, 6, b"\x01\x00", 2), "another header than the directory says"),
        (patched(archive(), LOCAL, 8, b"\x08\x00", 2), "another header than the directory says"),
        (patched(archive(), LOCAL, 0, b"PK\x03\x05", 2), "another header than the directory says"),
        (patched(archive(), LOCAL, 28, b"\xff\xff", 2), "does not lie within"),
        (patched(archive(), CENTRAL, 24, struct.pack("<I", 33), 2), "does not lie within"),
        (patched(archive(), CENTRAL, 20, struct.pack("<II", 2**30, 2**30), 2), "does not lie within"),
        (patched(archive(), CENTRAL, 42, struct.pack("<I", 2**30), 2), "does not lie within"),
        (patched(archive(), CENTRAL, 20, b"\xff" * 8, 2), "zip directory cannot be read|does not lie within"),
        (patched(archive(), CENTRAL, 6, b"\xff\x00"), "zip directory cannot be read"),
    ],
)  # fmt: skip
def test_a_zip_that_plays_tricks_is_refused(data: bytes, message: str) -> None:
    refuse(data, message)


def test_a_zip_bomb_is_not_unpacked() -> None:
    data = archive(more={"archive/data/0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    assert len(data) < 20_000
    refuse(data, "is compressed; expected raw bytes")


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(damage: Any, read_or_refuse: Any, data: st.DataObject) -> None:
    read_or_refuse(torch_zip.read, damage(data, VALID))


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_pickle_is_read_or_refused(damage: Any, read_or_refuse: Any, data: st.DataObject) -> None:
    read_or_refuse(torch_zip.read, archive(damage(data, VALID_PICKLE)))


OPCODES = [bytes([code]) for code in b"N\x88\x89()\x85\x86\x87t]ae}suQR\x81b.\x93\x94"]
PIECES = st.sampled_from([
    *OPCODES, b"K\x02", b"h\x00", b"q\x00", FLOATS, GLOBAL_TENSOR, b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nfloat32\n", b"ccollections\nOrderedDict\n",
    b"ctorch.utils.data.dataset\nTensorDataset\n", b"X\x07\x00\x00\x00tensors",
    GLOBAL_TENSOR + b"(" + FLOATS + b"K\x00K\x04\x85K\x01\x85\x89NtR",
])  # fmt: skip


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=25).map(b"".join) | st.binary())
def test_any_pickle_is_read_or_refused(read_or_refuse: Any, pickled: bytes) -> None:
    read_or_refuse(torch_zip.read, archive(pickled + b"."))


@given(st.binary().map(lambda data: b"PK\x03\x04" + data) | st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PartitionError):
        torch_zip.read(BufferBlob("x.pt", data))


def test_reading_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(VALID)
    program = (
        "import sys; from pathlib import Path; from skyfan.blob import MappedBlob; from skyfan.formats import opening;"
        "opening.read(MappedBlob(Path(sys.argv[1]))).arrays['image'].rows(0, 2); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.pt")], check=True)
