"""A model's hash is of what was checked and loaded, and covers all of its weights."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import AttributeProto, SparseTensorProto, TensorProto

from factories import parsed_model, tiny_model
from skyfan import staging
from skyfan.errors import ModelError
from skyfan.payload import parse_payload
from skyfan.predictor import Predictor
from skyfan.staging import load_model, resolve_model
from skyfan.storage import Bucket, Store
from skyfan.task import ModelRef

PLAIN = b"\n\x08location\x12\x05w.bin"
"""How protobuf writes an entry of `external_data`, its key first."""
SWAPPED = b"\x12\x05w.bin\n\x08location"


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Store(f"memory://{tmp_path}").bucket("sky")


def resolve(bucket: Bucket, content: bytes) -> ModelRef:
    bucket.put("m.onnx", content)
    asked = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "25MB", "result_path": "one", "model": "m.onnx"}
    return resolve_model(parse_payload(asked)[0], bucket)


def outside(*, located: bool = True) -> TensorProto:
    """Return a tensor of which the numbers lie in w.bin."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    if located:
        tensor.external_data.add(key="location", value="w.bin")
    else:  # with the field alone that says so
        tensor.external_data.add(key="offset", value="0")
        tensor.ClearField("data_location")
    return tensor


def graph(*nodes: onnx.NodeProto, initializer: Any = (), sparse: Any = ()) -> onnx.GraphProto:
    return onnx.GraphProto(name="g", node=nodes, initializer=initializer, sparse_initializer=sparse)


def attribute(**fields: Any) -> onnx.NodeProto:
    return onnx.NodeProto(op_type="If", attribute=[AttributeProto(name="a", **fields)])


def model(found: onnx.GraphProto, **fields: Any) -> bytes:
    return onnx.ModelProto(ir_version=9, graph=found, **fields).SerializeToString()


def in_function(node: onnx.NodeProto) -> bytes:
    return model(graph(), functions=[onnx.FunctionProto(name="f", node=[node])])


PLACES: dict[str, Callable[[TensorProto], bytes]] = {
    "initializer": lambda tensor: model(graph(initializer=[tensor])),
    "attribute": lambda tensor: model(graph(attribute(t=tensor))),
    "list of tensors": lambda tensor: model(graph(attribute(tensors=[tensor]))),
    "subgraph": lambda tensor: model(graph(attribute(g=graph(initializer=[tensor])))),
    "list of subgraphs": lambda tensor: model(
        graph(attribute(graphs=[graph(attribute(g=graph(attribute(t=tensor))))]))
    ),
    "sparse values": lambda tensor: model(graph(sparse=[SparseTensorProto(values=tensor)])),
    "sparse indices": lambda tensor: model(graph(sparse=[SparseTensorProto(indices=tensor)])),
    "sparse attribute": lambda tensor: model(graph(attribute(sparse_tensor=SparseTensorProto(values=tensor)))),
    "sparse attributes": lambda tensor: model(graph(attribute(sparse_tensors=[SparseTensorProto(indices=tensor)]))),
    "function": lambda tensor: in_function(attribute(t=tensor)),
    "default of a function": lambda tensor: model(
        graph(), functions=[onnx.FunctionProto(name="f", attribute_proto=[AttributeProto(name="a", t=tensor)])]
    ),
    "training": lambda tensor: model(
        graph(), training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[tensor]))]
    ),
    "start of training": lambda tensor: model(
        graph(), training_info=[onnx.TrainingInfoProto(initialization=graph(initializer=[tensor]))]
    ),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("located", [True, False], ids=["location", "no location"])
def test_weights_in_another_file_are_found_wherever_a_tensor_may_be(
    bucket: Bucket, place: Callable[[TensorProto], bytes], located: bool
) -> None:
    with pytest.raises(ModelError, match=r"model m\.onnx: keeps weights in another file; expected one \.onnx file"):
        resolve(bucket, place(outside(located=located)))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_weights_inside_are_taken_wherever_a_tensor_may_be(
    bucket: Bucket, place: Callable[[TensorProto], bytes]
) -> None:
    inside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], raw_data=PLAIN)
    content = place(inside)
    assert resolve(bucket, content).sha256 == hashlib.sha256(content).hexdigest()


def field_with(number: int, value: bytes) -> bytes:
    """Return a field of bytes as protobuf writes it."""
    assert number < 16
    size, length = len(value), b""
    while size > 0x7F:
        size, length = size >> 7, length + bytes([size & 0x7F | 0x80])
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def of_tensor(content: bytes) -> bytes:
    """Return a model of one initializer, whose bytes these are."""
    return field_with(7, field_with(5, content))


def test_the_order_of_fields_does_not_matter(bucket: Bucket) -> None:
    content = PLACES["initializer"](outside())
    assert PLAIN in content
    with pytest.raises(ModelError, match="keeps weights in another file"):
        resolve(bucket, content.replace(PLAIN, SWAPPED))


@pytest.mark.parametrize(
    "said",
    [
        b"\x70\x01",  # data_location = EXTERNAL
        b"\x70\x01\x70\x00",  # and then DEFAULT
        b"\xf0\x00\x01",  # its tag in two bytes
        b"\x70\x81\x80\x80\x80\x10",  # of which the runtime takes 32 bits
        b"\x6a\x00",  # an entry of external_data that is empty
        b"\xea\x80\x00\x00",
    ],
    ids=lambda said: said.hex(),
)
def test_another_way_to_write_the_same_is_found(bucket: Bucket, said: bytes) -> None:
    for content in (said, b"\x08\x01" + said + b"\x42\x01w"):
        with pytest.raises(ModelError, match="keeps weights in another file"):
            resolve(bucket, of_tensor(content))


@pytest.mark.parametrize(
    "content",
    [
        b"not a model",
        b"\x3a\x05\x2a",  # longer than what is there
        of_tensor(b"\x4a\x7f"),
        field_with(7, b"\x2a\x03\x4a\x7f\x00") + b"\x70\x01",  # a tensor that reaches out of its graph
        of_tensor(b"\x73\x70\x01\x74"),  # a group, which ONNX has not
        of_tensor(b"\xf0\x80\x80\x80\x10\x01"),  # a tag of more than 32 bits
        of_tensor(b"\x00\x00"),  # field 0
        of_tensor(b"\x08" + b"\x80" * 11 + b"\x01"),  # a number without an end
        of_tensor(b"\x4d\x00"),  # four bytes of which one is there
    ],
    ids=lambda content: content.hex()[:30],
)
def test_what_cannot_be_walked_is_refused_as_no_onnx(bucket: Bucket, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"model m\.onnx: cannot be loaded as ONNX .*; expected one \.onnx file"):
        resolve(bucket, content)


def test_bytes_that_look_like_weights_elsewhere_are_no_harm(bucket: Bucket, tmp_path: Path) -> None:
    looks = field_with(13, PLAIN).decode()
    content = tiny_model(tmp_path / "m.onnx", metadata={"description": looks}).read_bytes()
    assert looks.encode() in content
    assert resolve(bucket, content)


def test_subgraphs_in_any_depth_end_in_no_recursion(bucket: Bucket) -> None:
    found = field_with(5, outside().SerializeToString())
    for _ in range(2000):
        found = field_with(1, field_with(5, field_with(6, found)))
    with pytest.raises(ModelError, match="keeps weights in another file"):
        resolve(bucket, field_with(7, found))


def test_a_model_in_the_runtimes_own_format_is_refused(tmp_path: Path) -> None:
    """It may keep weights elsewhere too, and is taken for ONNX by what its bytes say."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(tiny_model(tmp_path / "m.onnx")), options, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="cannot be loaded as ONNX"):
        Predictor((tmp_path / "m.ort").read_bytes(), "m")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Predictor]:
    """What a worker has loaded: nothing yet."""
    nothing: dict[Any, Predictor] = {}
    monkeypatch.setattr(staging, "_LOADED", nothing)
    return nothing


def test_a_model_that_is_changed_between_its_hash_and_its_loading_is_refused(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch, loaded: dict[Any, Predictor]
) -> None:
    path = root / "sky" / "models" / "tiny.onnx"
    os.utime(path, (1e9, 1e9))
    ref = ModelRef("models/tiny.onnx", hashlib.sha256(path.read_bytes()).hexdigest())
    other = parsed_model("(float[n,5] magnitude) => (float[n,5] z) { z = Abs(magnitude) }")

    def predictor(*arguments: Any, **options: Any) -> Predictor:
        path.write_bytes(other)
        return Predictor(*arguments, **options)

    monkeypatch.setattr(staging, "Predictor", predictor)
    with pytest.raises(ModelError, match=r"model models/tiny\.onnx: was changed while it was read; .* run .* again"):
        load_model(ref, store.bucket("sky"))
    assert not loaded


def test_a_model_that_is_changed_between_its_check_and_its_hash_is_refused(
    store: Store, root: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = root / "sky" / "models" / "tiny.onnx", hashlib.sha256
    os.utime(path, (1e9, 1e9))

    def sha256(*arguments: Any) -> Any:
        path.write_bytes(PLACES["initializer"](outside()))
        return real(*arguments)

    monkeypatch.setattr(hashlib, "sha256", sha256)
    with pytest.raises(ModelError, match=r"keeps weights in another file|was changed while it was read"):
        resolve_model(parse_payload(asked)[0], store.bucket("sky"))


def test_weights_elsewhere_are_refused_by_a_worker_too(store: Store, root: Path, loaded: dict[Any, Predictor]) -> None:
    """A plan may be older than the check, or was changed by hand."""
    path = root / "sky" / "models" / "tiny.onnx"
    content = onnx.load(path)
    content.graph.initializer[0].CopyFrom(outside())
    content.graph.initializer[0].name = "hundred"
    path.write_bytes(content.SerializeToString())
    (path.parent / "w.bin").write_bytes(np.float32(7).tobytes())
    ref = ModelRef("models/tiny.onnx", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="keeps weights in another file"):
        load_model(ref, store.bucket("sky"))
