"""What is of no use is flagged, by row, before a model and after; what is unusual is flagged and given all the same."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import make_rows
from skyfan.errors import ModelError
from skyfan.predictions import Flag
from skyfan.screening import parse_unusual_above, parse_valid_range, screen, screen_outputs

ROWS = 5


@pytest.fixture
def batch() -> dict[str, NDArray[Any]]:
    content = make_rows(ROWS)
    return {"image": content["image"], "magnitude": content["magnitude"]}


def only(row: int, flag: Flag) -> list[int]:
    return [flag.value if number == row else 0 for number in range(ROWS)]


def test_good_rows_have_no_flag(batch: dict[str, NDArray[Any]]) -> None:
    assert screen(batch, {}).tolist() == [0] * ROWS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_bad_pixel_flags_its_row(batch: dict[str, NDArray[Any]], value: float, dtype: type[Any]) -> None:
    batch["image"] = batch["image"].astype(dtype)
    batch["image"][3, 4, 7, 7] = value
    assert screen(batch, {}).tolist() == only(3, Flag.NON_FINITE_IMAGE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_magnitude_flags_its_row(batch: dict[str, NDArray[Any]], value: float) -> None:
    batch["magnitude"][0, 2] = value
    assert screen(batch, {}).tolist() == only(0, Flag.NON_FINITE_MAGNITUDE)


@pytest.mark.parametrize("level", [0.0, 7.5])
def test_a_band_of_one_value_is_dead(batch: dict[str, NDArray[Any]], level: float) -> None:
    batch["image"][2, 1] = level
    assert screen(batch, {}).tolist() == only(2, Flag.DEAD_BAND)


def test_a_band_of_nan_is_not_finite_rather_than_dead(batch: dict[str, NDArray[Any]]) -> None:
    batch["image"][2, 1] = np.nan
    assert screen(batch, {}).tolist() == only(2, Flag.NON_FINITE_IMAGE)


def test_two_magnitudes_alike_are_no_dead_band(batch: dict[str, NDArray[Any]]) -> None:
    batch["magnitude"][:] = 20
    assert screen(batch, {}).tolist() == [0] * ROWS


def test_flags_of_one_row_add_up(batch: dict[str, NDArray[Any]]) -> None:
    batch["image"][1, 0, 0, 0] = np.inf
    batch["image"][1, 3] = 0
    batch["magnitude"][1, 1] = np.nan
    expected = Flag.NON_FINITE_IMAGE | Flag.DEAD_BAND | Flag.NON_FINITE_MAGNITUDE
    assert screen(batch, {})[1] == expected.value


def test_an_input_of_one_number_a_row_is_screened_too() -> None:
    assert screen({"z": np.array([1.0, np.nan])}, {}).tolist() == [0, Flag.NON_FINITE_MAGNITUDE.value]


def test_whole_numbers_are_always_finite() -> None:
    assert screen({"object_id": np.array([1, 2])}, {}).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ('{"magnitude": {"min": 10, "max": 22}}', [False, True]),
        ('{"magnitude": {"min": [10, 10, 10, 10, 10], "max": [22, 22, 22, 22, 30]}}', [False, False]),
        ('{"magnitude": {"min": [10, 10, 10, 10, 25], "max": 30}}', [True, False]),
        ('{"magnitude": {"min": null, "max": 22}}', [False, True]),
        ("{}", [False, False]),
        ("", [False, False]),
    ],
)
def test_a_value_outside_the_models_range_is_flagged(text: str, bad: list[bool]) -> None:
    magnitude = np.full((2, 5), 15.0)
    magnitude[1, 4] = 25
    flags = screen({"magnitude": magnitude}, parse_valid_range(text, "m"))
    assert flags.tolist() == [Flag.OUT_OF_RANGE.value if row else 0 for row in bad]


def test_a_pixel_outside_the_models_range_is_flagged(batch: dict[str, NDArray[Any]]) -> None:
    batch["image"][4, 0, 0, 0] = 1e6
    ranges = parse_valid_range('{"image": {"min": -100, "max": 100}}', "m")
    assert screen(batch, ranges).tolist() == only(4, Flag.OUT_OF_RANGE)


def test_a_value_at_the_limit_is_within(batch: dict[str, NDArray[Any]]) -> None:
    ranges = parse_valid_range('{"magnitude": {"min": 20, "max": 20}}', "m")
    assert screen({"magnitude": np.full((ROWS, 5), 20.0)}, ranges).tolist() == [0] * ROWS


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_value_at_a_limit_that_its_type_rounds_is_within(dtype: type[Any]) -> None:
    values = np.full((ROWS, 2), 0.1, dtype)
    values[1, 0], values[2, 1] = np.nextafter(values[0, 0], dtype(1)), np.nextafter(values[0, 0], dtype(0))
    ranges = parse_valid_range('{"colour": {"min": 0.1, "max": [0.1, 1e300]}}', "m")
    flags = screen({"colour": values}, ranges)
    assert flags.tolist() == [0, Flag.OUT_OF_RANGE.value, Flag.OUT_OF_RANGE.value, 0, 0]
    above = screen_outputs({"score": values}, {"score": 0.1}, NO_FLAGS)
    assert above.tolist() == only(1, Flag.UNUSUAL_OUTPUT)
    assert not screen_outputs({"score": values}, {"score": 1e300}, NO_FLAGS).any()


def test_what_is_not_finite_is_not_out_of_range_too(batch: dict[str, NDArray[Any]]) -> None:
    batch["magnitude"][0, 2] = np.inf
    ranges = parse_valid_range('{"magnitude": {"min": 0, "max": 100}}', "m")
    assert screen(batch, ranges).tolist() == only(0, Flag.NON_FINITE_MAGNITUDE)


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "5",
        '{"magnitude": 5}',
        '{"magnitude": {"min": 1}}',
        '{"magnitude": {"min": "low", "max": 2}}',
        '{"magnitude": {"min": [1, [2]], "max": 2}}',
        '{"magnitude": {"min": {}, "max": 2}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_range_that_cannot_be_read_says_what_is_expected(text: str) -> None:
    with pytest.raises(ModelError, match=r"m: its metadata 'valid_range' cannot be read .* expected JSON such as"):
        parse_valid_range(text, "m")


NO_FLAGS = np.zeros(ROWS, np.uint16)


@pytest.mark.parametrize("text", ["", None, "{}"])
def test_a_model_need_not_say_what_is_usual(text: str | None) -> None:
    assert parse_unusual_above(text, "m") == {}


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "5",
        "null",
        '{"z": "4"}',
        '{"z": null}',
        '{"z": true}',
        '{"z": [1]}',
        '{"z": NaN}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_usual_values_that_cannot_be_read_say_what_is_expected(text: str) -> None:
    said = r"m: its metadata 'unusual_above' is .*; expected JSON, .* correct it in the export"
    with pytest.raises(ModelError, match=said):
        parse_unusual_above(text, "m")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
def test_an_output_above_its_usual_values_is_flagged(dtype: type[Any]) -> None:
    values = np.array([0, 3, 4, 5, 100], dtype)
    flags = screen_outputs({"score": values}, parse_unusual_above('{"score": 4}', "m"), NO_FLAGS)
    assert flags.tolist() == [0, 0, 0, Flag.UNUSUAL_OUTPUT.value, Flag.UNUSUAL_OUTPUT.value]
    assert not screen_outputs({"score": values}, {"score": 1e6}, NO_FLAGS).any()
    assert not screen_outputs({"score": values}, {"another": 4.0}, NO_FLAGS).any()


@pytest.mark.parametrize("shape", [(ROWS, 3), (ROWS, 1), (ROWS, 2, 2)])
def test_one_element_of_a_list_above_is_enough(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape)
    values[3].flat[-1] = 9
    assert screen_outputs({"pdf": values}, {"pdf": 4.0}, NO_FLAGS).tolist() == only(3, Flag.UNUSUAL_OUTPUT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_flagged_and_not_unusual_too(value: float) -> None:
    values = np.full((ROWS, 2), 1.0)
    values[2] = value, 9
    assert screen_outputs({"z": values}, {"z": 4.0}, NO_FLAGS).tolist() == only(2, Flag.NON_FINITE_OUTPUT)


def test_of_a_row_that_the_model_was_not_given_no_output_says_anything() -> None:
    flags = np.array([Flag.DEAD_BAND, Flag.OUT_OF_RANGE, 0, 0, 0], np.uint16)
    values = np.array([np.nan, 9, 1, 1, 1])
    expected = [0, Flag.UNUSUAL_OUTPUT.value, 0, 0, 0]
    assert screen_outputs({"z": values, "y": values + 9}, {"z": 4.0}, flags).tolist() == expected
