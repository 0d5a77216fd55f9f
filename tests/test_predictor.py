"""The built-in worker: bad rows are flagged and disturb no other, bad models are refused with the reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from factories import doubtful_model, doubtful_rows, expected_z, make_rows, parsed_model, tiny_model
from skyfan.blob import BufferBlob
from skyfan.errors import ModelError, PartitionError
from skyfan.measure import Meter
from skyfan.partitions import Partition, open_partition
from skyfan.predictions import NO_VALUE, Flag, missing
from skyfan.predictor import Predicted, Predictor

ROWS = 10


def mean_of_magnitude(output: str = "z", **metadata: str) -> bytes:
    return parsed_model(
        f"(float[n,5] magnitude) => (float[n] {output})"
        f"<int64[1] one = {{1}}> {{ {output} = ReduceMean<keepdims=0>(magnitude, one) }}",
        **metadata,
    )


def partition(**changes: Any) -> Partition:
    arrays = {name: values for name, values in (make_rows(ROWS) | changes).items() if values is not None}
    return open_partition(BufferBlob("sky/1.safetensors", safetensors.numpy.save(arrays)))


def predicted(source: Path | bytes, batch_size: int = 4, **changes: Any) -> Predicted:
    return Predictor(source, "m").predict(partition(**changes), batch_size, Meter())


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.onnx")


def changed(name: str, row: int | slice, value: float) -> NDArray[Any]:
    values = make_rows(ROWS)[name]
    values[row] = value
    return values


@pytest.mark.parametrize("batch_size", [1, 3, ROWS, 1000])
def test_every_row_is_predicted_whatever_the_batch(tiny: Path, batch_size: int) -> None:
    result = predicted(tiny, batch_size)
    np.testing.assert_allclose(result.outputs["z_phot"], expected_z(make_rows(ROWS)), rtol=1e-5)
    assert result.outputs["pdf"].shape == (ROWS, 10)
    assert result.flags.tolist() == [0] * ROWS
    assert result.batches == -(-ROWS // batch_size)


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("image", np.nan, Flag.NON_FINITE_IMAGE),
        ("image", np.inf, Flag.NON_FINITE_IMAGE),
        ("image", 0.0, Flag.DEAD_BAND),
        ("magnitude", np.nan, Flag.NON_FINITE_MAGNITUDE),
        ("magnitude", -np.inf, Flag.NON_FINITE_MAGNITUDE),
    ],
)
@pytest.mark.parametrize("row", [0, 5, ROWS - 1])
def test_a_bad_row_is_flagged_and_no_other_changes_by_a_bit(
    tiny: Path, name: str, value: float, flag: Flag, row: int
) -> None:
    good = predicted(tiny)
    result = predicted(tiny, **{name: changed(name, row, value)})
    assert result.flags.tolist() == [flag.value if number == row else 0 for number in range(ROWS)]
    others = np.arange(ROWS) != row
    for output, values in result.outputs.items():
        assert values[others].tobytes() == good.outputs[output][others].tobytes()


def test_a_row_gives_the_same_bytes_wherever_its_file_lies_in_memory(tiny: Path) -> None:
    data = safetensors.numpy.save(make_rows(ROWS))
    given = set()
    for offset in range(0, 64, 4):
        room = np.zeros(len(data) + 128, np.uint8)
        start = -room.ctypes.data % 64 + offset
        room[start : start + len(data)] = np.frombuffer(data, np.uint8)
        placed = open_partition(BufferBlob("x.safetensors", room[start : start + len(data)].data))
        given.add(Predictor(tiny, "m").predict(placed, 4, Meter()).outputs["z_phot"].tobytes())
    assert len(given) == 1


def test_the_model_never_sees_a_bad_row() -> None:
    largest = parsed_model(
        "(float[n,5] magnitude) => (float[n,5] z)"
        "{ top = ReduceMax<keepdims=0>(magnitude) zero = Sub(top, top) z = Add(magnitude, zero) }"
    )
    result = predicted(largest, ROWS, magnitude=changed("magnitude", 3, np.inf))
    assert np.isfinite(np.delete(result.outputs["z"], 3, axis=0)).all()


def test_a_number_that_float32_cannot_hold_is_flagged_like_infinity(tiny: Path) -> None:
    wide = make_rows(ROWS)["magnitude"].astype(np.float64)
    wide[2, 1] = 1e39
    result = predicted(tiny, magnitude=wide)
    assert result.flags.tolist() == [Flag.NON_FINITE_MAGNITUDE.value if row == 2 else 0 for row in range(ROWS)]


def test_a_batch_without_a_good_row_is_left_out(tiny: Path) -> None:
    result = predicted(tiny, 4, image=changed("image", slice(4, 8), np.nan))
    assert [bool(flag) for flag in result.flags] == [4 <= row < 8 for row in range(ROWS)]
    good = [0, 1, 2, 3, 8, 9]
    np.testing.assert_allclose(result.outputs["z_phot"][good], expected_z(make_rows(ROWS))[good], rtol=1e-5)


def test_a_partition_without_a_good_row_has_its_columns_all_the_same(tiny: Path) -> None:
    good = predicted(tiny)
    result = predicted(tiny, image=changed("image", slice(None), np.nan))
    assert (result.flags == Flag.NON_FINITE_IMAGE.value).all()
    assert {name: (values.dtype, values.shape) for name, values in result.outputs.items()} == {
        name: (values.dtype, values.shape) for name, values in good.outputs.items()
    }


def test_columns_of_a_width_that_the_model_does_not_say_are_found_out() -> None:
    wide = parsed_model("(float[n,5] magnitude) => (float[n,k] pdf) { pdf = Concat<axis=1>(magnitude, magnitude) }")
    assert predicted(wide, magnitude=changed("magnitude", slice(None), np.nan)).outputs["pdf"].shape == (ROWS, 10)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_images_of_another_float_are_converted(tiny: Path, dtype: type[Any]) -> None:
    content = make_rows(ROWS)
    image = content["image"].astype(dtype)
    result = predicted(tiny, image=image, magnitude=content["magnitude"].astype(np.float64))
    np.testing.assert_allclose(result.outputs["z_phot"], expected_z(content | {"image": image}), rtol=1e-3)
    assert not result.flags.any()


def test_a_model_that_wants_whole_numbers_gets_them_even_beside_bad_rows() -> None:
    counts = parsed_model(
        "(int64[n] object_id, float[n,5] magnitude) => (int64[n] twice) { twice = Add(object_id, object_id) }"
    )
    result = predicted(counts, magnitude=changed("magnitude", 1, np.nan))
    assert result.outputs["twice"].dtype == np.int64
    assert np.delete(result.outputs["twice"], 1).tolist() == [2 * row for row in range(ROWS) if row != 1]


def test_an_output_that_is_not_finite_is_flagged() -> None:
    logarithm = parsed_model("(float[n,5] magnitude) => (float[n,5] z) { z = Log(magnitude) }")
    result = predicted(logarithm, magnitude=changed("magnitude", 6, -1.0))
    assert result.flags.tolist() == [Flag.NON_FINITE_OUTPUT.value if row == 6 else 0 for row in range(ROWS)]


def test_a_row_with_one_output_that_is_not_finite_keeps_the_others() -> None:
    result = predicted(doubtful_model(), magnitude=doubtful_rows(ROWS)["magnitude"])
    bad = Flag.NON_FINITE_OUTPUT.value
    assert result.flags[:6].tolist() == [0, bad, Flag.NON_FINITE_MAGNITUDE.value, bad, bad, 0]
    absent = {name: np.flatnonzero(missing(values, result.flags)).tolist() for name, values in result.outputs.items()}
    intervals = {name: [2, 3, 4] for name in ("z_l68", "z_u68", "z_l95", "z_u95")}
    assert absent == {"z_phot": [2, 4], "pdf": [1, 2], "anomaly_score": [2]} | intervals


def test_an_output_above_what_the_model_calls_usual_is_flagged_and_given() -> None:
    source = doubtful_model(unusual_above=json.dumps({"anomaly_score": 50, "pdf": 1.5}))
    result = predicted(source, magnitude=doubtful_rows(ROWS)["magnitude"])
    assert np.flatnonzero(result.flags & Flag.UNUSUAL_OUTPUT.value).tolist() == [5]
    assert result.outputs["anomaly_score"][5] == 99
    assert not Flag.UNUSUAL_OUTPUT & NO_VALUE


def test_what_is_no_output_has_no_usual_value() -> None:
    source = mean_of_magnitude(unusual_above=json.dumps({"anomaly_score": 4.0}))
    said = "'unusual_above' names 'anomaly_score', which is not an output; expected some of z; correct it in the export"
    with pytest.raises(ModelError, match=said):
        Predictor(source, "m", to_predict=False)


def test_usual_values_that_cannot_be_read_are_found_at_load() -> None:
    with pytest.raises(ModelError, match=r"model m: its metadata 'unusual_above' is '4\.0' .*; expected JSON"):
        Predictor(mean_of_magnitude(unusual_above="4.0"), "m", to_predict=False)


def test_a_row_out_of_range_is_flagged_and_predicted(tmp_path: Path) -> None:
    valid_range = json.dumps({"magnitude": {"min": 10, "max": 25}})
    path = tiny_model(tmp_path / "m.onnx", metadata={"valid_range": valid_range})
    magnitude = changed("magnitude", 4, 26.0)
    result = predicted(path, magnitude=magnitude)
    assert result.flags.tolist() == [Flag.OUT_OF_RANGE.value if row == 4 else 0 for row in range(ROWS)]
    assert not Flag.OUT_OF_RANGE & NO_VALUE
    expected = expected_z(make_rows(ROWS) | {"magnitude": magnitude})
    np.testing.assert_allclose(result.outputs["z_phot"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "limits", [{"min": [1, 2], "max": [3, 4]}, {"min": 1, "max": [9] * 4}, {"min": [[1]], "max": 2}]
)
def test_a_range_that_does_not_fit_the_bands_is_the_models_fault(limits: dict[str, Any]) -> None:
    valid_range = json.dumps({"magnitude": limits})
    said = r"'min' and 'max' of 'magnitude' .* expected one number, or a list of 5"
    with pytest.raises(ModelError, match=said):
        Predictor(mean_of_magnitude(valid_range=valid_range), "m", to_predict=False)
    of_any = parsed_model(
        "(float[n,bands] magnitude) => (float[n,bands] z) { z = Abs(magnitude) }", valid_range=valid_range
    )
    of_partition = r"sky/1\.safetensors: its magnitude has 5 bands, and the limits of the model m .* or a list of 5"
    with pytest.raises(PartitionError, match=of_partition):
        Predictor(of_any, "m").check(partition())


def test_a_range_of_what_is_no_input_is_the_models_fault() -> None:
    source = mean_of_magnitude(valid_range=json.dumps({"magnitudes": {"min": 1, "max": 2}}))
    with pytest.raises(ModelError, match="names 'magnitudes', which is not an input; expected some of magnitude"):
        Predictor(source, "m")


@pytest.mark.parametrize("edges", ["[0, 0.1]", json.dumps(list(range(12)))])
def test_bins_that_do_not_fit_the_pdf_are_found_as_soon_as_they_are_known(tiny: Path, edges: str) -> None:
    said = r"output 'pdf' has the shape \(%s, 10\) and its metadata 'pdf_edges' .* expected one number more than bins"
    source = tiny_model(tiny, metadata={"pdf_edges": edges})
    with pytest.raises(ModelError, match=said % "any"):
        Predictor(source, "m", to_predict=False)
    of_any = parsed_model(
        "(float[n,bands] magnitude) => (float[n,k] pdf) { pdf = Concat<axis=1>(magnitude, magnitude) }", pdf_edges=edges
    )
    for magnitude, rows in ((make_rows(ROWS)["magnitude"], 4), (changed("magnitude", slice(None), np.nan), 1)):
        with pytest.raises(PartitionError, match=r"sky/1\.safetensors: .*" + said % rows):
            predicted(of_any, magnitude=magnitude)


def test_bins_of_a_pdf_that_is_no_list_a_row_do_not_fit() -> None:
    source = mean_of_magnitude("pdf", pdf_edges="[0, 1, 2]")
    with pytest.raises(ModelError, match=r"output 'pdf' has the shape \(any\)"):
        Predictor(source, "m", to_predict=False)


def test_bins_that_fit_are_known(tiny: Path) -> None:
    edges = np.linspace(0, 1, 11)
    found = Predictor(tiny_model(tiny, metadata={"pdf_edges": json.dumps(edges.tolist())}), "m").pdf_edges
    assert found is not None
    assert found.tolist() == edges.tolist()
    assert Predictor(mean_of_magnitude(), "m").pdf_edges is None


def test_a_missing_input_says_what_there_is(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "m.onnx", image="cutout")
    with pytest.raises(
        PartitionError, match=r"sky/1\.safetensors: no tensor 'cutout', .* it has dec, image, magnitude"
    ):
        predicted(path)


@pytest.mark.parametrize("shape", [(ROWS, 4, 8, 8), (ROWS, 5, 8, 9)])
def test_a_wrong_shape_says_got_and_expected(tiny: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        PartitionError, match=r"image has the shape \(10, .*\); expected \(any, 5, 8, 8\) for the model m"
    ):
        predicted(tiny, image=np.zeros(shape, np.float32))


@pytest.mark.parametrize("content", [b"", b"not ONNX", bytes(1000)], ids=["empty", "text", "zeros"])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(ModelError, match=r"model m: cannot be loaded as ONNX .*; expected one \.onnx file"):
            Predictor(source, "m")


def test_a_truncated_model_is_refused(tiny: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as ONNX"):
        Predictor(tiny.read_bytes()[:-20], "m")


def test_a_model_whose_weights_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "m.onnx")
    source = onnx.load(path)
    source.graph.initializer[0].ClearField("float_data")
    source.graph.initializer[0].raw_data = np.float32(100).tobytes()
    onnx.external_data_helper.set_external_data(source.graph.initializer[0], "weights.bin", 0, 4)
    source.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(source.SerializeToString())
    with pytest.raises(ModelError, match=r"expected one \.onnx file with its weights inside"):
        Predictor(path, "m")


def test_a_fixed_batch_axis_is_refused(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "m.onnx", batch=4)
    with pytest.raises(ModelError, match=r"input 'image' has the shape \(4, 5, 8, 8\); .* dynamic batch axis"):
        Predictor(path, "m")


def test_an_input_of_text_is_refused() -> None:
    source = parsed_model("(string[n] name) => (string[n] z) { z = Identity(name) }")
    with pytest.raises(ModelError, match=r"input 'name' is tensor\(string\); expected one of tensor\(float\)"):
        Predictor(source, "m")


def test_a_model_without_an_input_is_refused() -> None:
    source = parsed_model("() => (float[1] z) { z = Constant<value_floats = [1.0]>() }")
    with pytest.raises(ModelError, match="has no input; expected tensors of a partition"):
        Predictor(source, "m")


@pytest.mark.parametrize("name", ["source", "row", "object_id", "ra", "dec", "z_spec", "flags"])
def test_an_output_called_like_a_column_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"an output is called '{name}', which is a column of its own; rename it"):
        Predictor(mean_of_magnitude(name), "m")


@pytest.mark.parametrize(
    ("graph", "got"),
    [
        ("(float[n,5] magnitude) => (float[] z) { z = ReduceMean<keepdims=0>(magnitude) }", r"float32 \(\)"),
        ("(float[n,5] magnitude) => (float[5,n] z) { z = Transpose(magnitude) }", r"float32 \(5, 4\)"),
        ("(float[n,5] magnitude) => (string[n,5] z) { z = Cast<to=8>(magnitude) }", r"object \(4, 5\)"),
        ("(float[n,5] magnitude) => (seq(float[n,5]) z) { z = SequenceConstruct(magnitude) }", "list"),
    ],
    ids=["one number in all", "turned", "text", "a sequence"],
)
def test_an_output_that_is_not_one_number_or_list_a_row_is_refused(graph: str, got: str) -> None:
    said = rf"sky/1\.safetensors: output 'z' of the model m is {got} for 4 rows; expected one number or list per row"
    with pytest.raises(PartitionError, match=said):
        predicted(parsed_model(graph))


def test_an_output_as_wide_as_its_batch_is_refused() -> None:
    source = parsed_model(
        "(float[n,5] magnitude) => (float[n,n] z) { t = Transpose(magnitude) z = MatMul(magnitude, t) }"
    )
    said = r"sky/1\.safetensors: output 'z' of the model m is \(2, 2\) for one batch, \(4,\) a row for another"
    with pytest.raises(PartitionError, match=said):
        predicted(source)


def test_a_model_that_fails_on_a_batch_says_so() -> None:
    source = parsed_model(
        "(float[n,5] magnitude) => (float[n,k] z) <int64[2] s = {3, 7}> { z = Reshape(magnitude, s) }"
    )
    with pytest.raises(PartitionError, match=r"sky/1\.safetensors: the model m failed on a batch of 4 rows: .*Reshape"):
        predicted(source)


def test_phases_are_measured(tiny: Path) -> None:
    meter = Meter()
    Predictor(tiny, "m").predict(partition(), 4, meter)
    seconds = meter.seconds()
    assert seconds.predict > 0
    assert seconds.read > 0
    assert seconds.read + seconds.predict <= seconds.total
