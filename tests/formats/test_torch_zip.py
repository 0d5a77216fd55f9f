"""Our reading of `.pt` files against torch's own, on files that torch makes."""

import collections
import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfan.blob import BufferBlob, MappedBlob, RangedBlob
from skyfan.errors import PartitionError
from skyfan.formats import torch_zip
from skyfan.formats.tensor import Tensors

torch = pytest.importorskip("torch")
from torch.utils.data import TensorDataset  # noqa: E402

IMAGE = torch.arange(6 * 5 * 4 * 4, dtype=torch.float32).reshape(6, 5, 4, 4)
MAGNITUDE = torch.linspace(14, 22, 30, dtype=torch.float64).reshape(6, 5)
REDSHIFT = torch.linspace(0, 0.4, 6)
NAMES = ("image", "magnitude", "redshift")


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def read(data: bytes) -> Tensors:
    return torch_zip.read(BufferBlob("x.pt", data))


def zipped_again(data: bytes, changes: dict[str, bytes | None], **options: Any) -> bytes:
    """Return the archive with entries replaced, or left out where None."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", **options) as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return file.getvalue()


def assert_equal(tensors: Tensors, expected: Iterable[tuple[str, Any]]) -> None:
    wanted = dict(expected)
    assert tensors.arrays.keys() == wanted.keys()
    for name, tensor in wanted.items():
        array = tensor.detach().numpy()
        assert tensors.arrays[name].dtype == array.dtype
        assert tensors.arrays[name].shape == array.shape
        np.testing.assert_array_equal(tensors.arrays[name].rows(0, len(array)), array)
        np.testing.assert_array_equal(tensors.arrays[name].rows(1, 3), array[1:3])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("container", [tuple, list, lambda tensors: TensorDataset(*tensors)])
def test_positional_tensors_are_what_torch_loads(count: int, container: Callable[[Any], object]) -> None:
    tensors = (IMAGE, MAGNITUDE, REDSHIFT)[:count]
    data = saved(container(tensors))
    loaded = torch.load(io.BytesIO(data), weights_only=False)
    assert_equal(
        read(data), zip(NAMES, list(loaded.tensors if isinstance(loaded, TensorDataset) else loaded), strict=False)
    )


def test_a_dict_names_its_tensors() -> None:
    names = {"images": IMAGE, "magnitudes": MAGNITUDE, "redshifts": REDSHIFT, "object_id": torch.arange(6)}
    expected = [*zip(NAMES, (IMAGE, MAGNITUDE, REDSHIFT), strict=True), ("object_id", torch.arange(6))]
    assert_equal(read(saved(names)), expected)
    assert_equal(read(saved(collections.OrderedDict(names))), expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(protocol: int) -> None:
    assert_equal(
        read(saved(TensorDataset(IMAGE, MAGNITUDE), pickle_protocol=protocol)),
        zip(NAMES, (IMAGE, MAGNITUDE), strict=False),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool",
                                   "uint16", "uint32", "uint64"])  # fmt: skip
def test_every_plain_type_is_read(dtype: str) -> None:
    tensor = torch.tensor([[0, 1], [1, 0], [1, 1]]).to(getattr(torch, dtype))
    assert_equal(read(saved({"a": tensor})), [("a", tensor)])


def test_parameters_and_gradients_are_plain_tensors() -> None:
    parameter = torch.nn.Parameter(IMAGE.clone())
    assert_equal(
        read(saved((parameter, MAGNITUDE.clone().requires_grad_()))), zip(NAMES, (parameter, MAGNITUDE), strict=False)
    )


def test_where_a_tensor_was_computed_does_not_matter() -> None:
    data = saved((IMAGE, MAGNITUDE))
    pickled = zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")
    moved = pickled.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert moved != pickled
    data = zipped_again(data, {"archive/data.pkl": moved})
    assert_equal(read(data), zip(NAMES, (IMAGE, MAGNITUDE), strict=False))


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t[2:5],
        lambda t: t[::2],
        lambda t: t[:, 1:3],
        lambda t: t[..., ::2, 1::3],
        lambda t: t.transpose(0, 3),
        lambda t: t.permute(3, 2, 1, 0),
        lambda t: t.contiguous(memory_format=torch.channels_last),
        lambda t: t[3:3],
        lambda t: t[5:6].transpose(0, 1),
        lambda t: t.as_strided((4, 2), (2, 1), 7),
        lambda t: t.unfold(0, 2, 2),
        lambda t: t[0, 0, 0].as_strided((1, 4), (10**9, 1)),
    ],
)
def test_views_of_a_larger_storage_are_what_torch_loads(view: Callable[[Any], Any]) -> None:
    array = view(IMAGE).numpy()
    tensor = read(saved({"a": view(IMAGE), "b": IMAGE})).arrays["a"]
    assert tensor.shape == array.shape
    np.testing.assert_array_equal(tensor.rows(0, len(array)), array)
    for row in range(len(array)):
        np.testing.assert_array_equal(tensor.rows(row, row + 1), array[row : row + 1])


def test_shared_storages_and_the_same_tensor_twice() -> None:
    base = torch.arange(24.0).reshape(6, 4)
    shared = {"a": base[:3], "b": base[3:], "c": base, "d": base}
    assert_equal(read(saved(shared)), shared.items())


def test_nothing_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(TensorDataset(IMAGE, MAGNITUDE), path)
    blob = MappedBlob(path)
    for tensor in torch_zip.read(blob).arrays.values():
        rows = tensor.rows(1, 5)
        assert np.shares_memory(rows, np.frombuffer(blob.view(0, blob.size), np.uint8))
        assert not rows.flags.writeable


def test_a_remote_file_is_read_by_range() -> None:
    data = saved(TensorDataset(torch.zeros(300, 5, 32, 32), torch.zeros(300, 5, dtype=torch.float64)))
    fetched: list[int] = []

    def fetch(start: int, stop: int) -> memoryview:
        fetched.append(stop - start)
        return memoryview(data)[start:stop]

    tensors = torch_zip.read(RangedBlob("s3://bucket/x.pt", len(data), fetch))
    assert len(fetched) <= 8
    assert sum(fetched) < 70_000 < len(data) / 50
    tensors.arrays["image"].rows(10, 12)
    assert fetched[-1] == 2 * 5 * 32 * 32 * 4


def test_zip64_and_files_from_before_byteorder_was_written() -> None:
    data = saved((IMAGE, MAGNITUDE))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            if name != "archive/byteorder":
                with new.open(name, "w", force_zip64=True) as entry:
                    entry.write(old.read(name))
    assert_equal(read(file.getvalue()), zip(NAMES, (IMAGE, MAGNITUDE), strict=False))
    assert_equal(read(b"PK" + bytes(50) + data), zip(NAMES, (IMAGE, MAGNITUDE), strict=False))


@settings(max_examples=50)
@given(st.data())
def test_any_view_is_what_torch_loads(data: st.DataObject) -> None:
    base = torch.arange(120.0)
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    strides = data.draw(st.lists(st.integers(1, 12), min_size=len(shape), max_size=len(shape)))
    view = base.as_strided(shape, strides, data.draw(st.integers(0, 20)))
    tensor = read(saved({"a": view, "whole": base})).arrays["a"]
    np.testing.assert_array_equal(tensor.rows(0, shape[0]), view.numpy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (IMAGE.bfloat16(), MAGNITUDE), r"of the kind torch\.BFloat16Storage.*\.float\(\)"),
        (lambda: (IMAGE.to(torch.float8_e4m3fn), MAGNITUDE), r"of the kind torch\.float8_e4m3fn.*\.float\(\)"),
        (lambda: {"a": torch.zeros(2, dtype=torch.complex64)}, r"torch\.ComplexFloatStorage.*view_as_real"),
        (lambda: {"a": IMAGE.to_sparse()}, r"torch\._utils\._rebuild_sparse_tensor.*\.to_dense\(\)"),
        (lambda: {"a": IMAGE.to("meta")}, r"torch\._utils\._rebuild_meta_tensor_no_storage"),
        (lambda: {"a": np.zeros(3)}, r"_reconstruct.*torch\.from_numpy\(\)"),
        (
            lambda: {"a": torch.zeros(2, dtype=torch.complex64).conj().imag, "b": IMAGE},
            r"resolve_conj\(\)\.resolve_neg\(\)",
        ),
        (lambda: {"a": torch.zeros(()), "b": IMAGE}, "tensor 'a' is a single number"),
        (lambda: {"a": torch.zeros(1).expand(10**9, 5)}, r"repeats the 1 numbers.*\.contiguous\(\)"),
        (lambda: {"images": IMAGE, "image": IMAGE}, "has array 'image' twice"),
        (lambda: {"a": [IMAGE]}, "tensor 'a' is a list; expected a plain dense tensor"),
        (lambda: {"a": "text"}, "tensor 'a' is a str"),
        (lambda: {1: IMAGE}, "expected names as the keys of a dict, got a int"),
        (lambda: IMAGE, "holds a StoredTensor; expected a TensorDataset"),
        (lambda: (IMAGE,), "holds a tuple of 1; expected"),
        (lambda: [IMAGE] * 4, "holds a list of 4; expected"),
        (dict, "holds a dict of 0; expected"),
        (lambda: None, "holds a NoneType; expected"),
        (IMAGE.untyped_storage, "holds a Storage; expected"),
        (lambda: torch.nn.Linear(2, 2), r"wants to call torch\.nn\.modules\.linear\.Linear"),
    ],
)
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_what_is_no_plain_tensor_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PartitionError, match=rf"^x\.pt.*{message}"):
        read(saved(make()))


def test_the_old_format_is_refused_with_the_way_out() -> None:
    data = saved(TensorDataset(IMAGE, MAGNITUDE), _use_new_zipfile_serialization=False)
    with pytest.raises(PartitionError, match=r"x\.pt is in torch's old format.*torch\.save\(torch\.load"):
        read(data)
