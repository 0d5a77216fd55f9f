"""The catalogue: its columns, nulls and bytes, read with another library than the one that writes it."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arro3.io import write_parquet
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from skyfan.errors import PartitionError
from skyfan.predictions import (
    NO_VALUE,
    REPEATING,
    RESERVED,
    Flag,
    build_part,
    chain_parts,
    count_flags,
    encode_part,
    read_part,
)

SOURCES = [("s/1.pt", 3), ("s/2.pt", 2)]
ROWS = 5
COLUMNS = {
    "object_id": np.arange(ROWS, dtype=np.int64) + 2**60,
    "ra": np.linspace(0, 359, ROWS),
    "redshift": np.linspace(0, 1, ROWS, dtype=np.float32),
}
OUTPUTS: dict[str, NDArray[Any]] = {
    "z_phot": np.arange(ROWS, dtype=np.float32),
    "pdf": np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4),
}


def part(
    flags: list[int] | None = None, outputs: dict[str, NDArray[Any]] = OUTPUTS, metadata: dict[str, str] | None = None
) -> bytes:
    table = build_part(SOURCES, COLUMNS, outputs, np.array(flags or [0] * ROWS, np.uint16))
    return encode_part(table, metadata or {"model": "m"})


def read(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def test_a_part_has_its_columns_in_order_and_of_their_types() -> None:
    table = read(part())
    assert {field.name: str(field.type) for field in table.schema} == {
        "source": "string",
        "row": "int64",
        "object_id": "int64",
        "ra": "double",
        "z_spec": "float",
        "z_phot": "float",
        "pdf": "fixed_size_list<item: float>[4]",
        "flags": "uint16",
    }


def test_a_row_is_named_by_its_partition_and_its_place_in_it() -> None:
    table = read(part())
    assert table["source"].to_pylist() == ["s/1.pt"] * 3 + ["s/2.pt"] * 2
    assert table["row"].to_pylist() == [0, 1, 2, 0, 1]


def test_values_are_not_changed() -> None:
    table = read(part())
    np.testing.assert_array_equal(table["object_id"].to_numpy(), COLUMNS["object_id"])
    np.testing.assert_array_equal(table["z_spec"].to_numpy(), COLUMNS["redshift"])
    np.testing.assert_array_equal(table["z_phot"].to_numpy(), OUTPUTS["z_phot"])
    np.testing.assert_array_equal(np.stack(table["pdf"].to_numpy()), OUTPUTS["pdf"])


@pytest.mark.parametrize("flag", [flag for flag in Flag if flag & NO_VALUE])
def test_a_row_without_a_value_is_null_in_every_output_and_only_there(flag: Flag) -> None:
    table = read(part([0, flag.value, 0, 0, 0]))
    for name in OUTPUTS:
        assert [value is None for value in table[name].to_pylist()] == [False, True, False, False, False]
    assert table["flags"].to_pylist() == [0, flag.value, 0, 0, 0]
    for name in set(table.column_names) - set(OUTPUTS):
        assert table[name].null_count == 0


@pytest.mark.parametrize("flag", [flag for flag in Flag if not flag & NO_VALUE])
def test_a_row_with_any_other_flag_keeps_what_is_finite(flag: Flag) -> None:
    table = read(part([flag.value] * ROWS))
    assert table["z_phot"].null_count == table["pdf"].null_count == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_null_and_no_other(value: float) -> None:
    outputs = {name: values.copy() for name, values in OUTPUTS.items()}
    outputs["z_phot"][1] = value
    outputs["pdf"][3, 2] = value
    data = part([0, 8, 0, 8 + 16, 0], outputs)
    for table in (read(data), pa.table(read_part(data, "x"))):
        assert table["z_phot"].to_pylist() == [0.0, None, 2.0, 3.0, 4.0]
        expected = OUTPUTS["pdf"].tolist()
        assert table["pdf"].to_pylist() == [*expected[:3], None, expected[4]]
        assert table["flags"].to_pylist() == [0, 8, 0, 24, 0]


def test_a_part_without_one_value_has_the_columns_of_any_other() -> None:
    nothing = read(part([Flag.DEAD_BAND.value] * ROWS))
    assert nothing.schema.equals(read(part()).schema)
    assert nothing["pdf"].null_count == ROWS


def test_rows_beside_a_null_keep_their_lists() -> None:
    table = read(part([0, 1, 0, 1, 0]))
    assert table["pdf"].to_pylist()[2] == [8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1), (ROWS, 3), (ROWS, 2, 2)])
def test_an_output_may_have_any_type_and_width(dtype: type[Any], shape: tuple[int, ...]) -> None:
    values = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
    column = read(part([0, 0, 1, 0, 0], {"x": values}))["x"].to_pylist()
    flat = values.reshape(ROWS, -1)
    expected = [row.tolist() if flat.shape[1] > 1 else row.item() for row in flat]
    expected[2] = None
    assert column == expected


def test_the_same_results_give_the_same_bytes() -> None:
    metadata = {"model": "m", "model_sha256": "0", "version": "1"}
    backwards = dict(reversed(metadata.items()))
    assert len({part(metadata=metadata) for _ in range(20)} | {part(metadata=backwards)}) == 1


def test_only_columns_that_repeat_themselves_have_a_dictionary() -> None:
    group = pq.read_metadata(io.BytesIO(part())).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert {column.path_in_schema for column in columns if column.has_dictionary_page} == set(REPEATING)
    assert {column.compression for column in columns} == {"SNAPPY"}


@pytest.mark.parametrize("compression", ["zstd(1)", "uncompressed"])
def test_parts_of_another_encoding_are_read_beside_ours(compression: str) -> None:
    """A run that an earlier skyfan began has such parts."""
    ours = part()
    buffer = io.BytesIO()
    write_parquet(read_part(ours, "ours"), buffer, compression=compression)
    together = pa.table(chain_parts([("ours", ours), ("theirs", buffer.getvalue())]))
    assert together.to_pylist() == read(ours).to_pylist() * 2


def test_the_footer_says_what_made_the_part() -> None:
    footer = pq.read_metadata(io.BytesIO(part(metadata={"model": "m.onnx"}))).metadata
    assert footer[b"skyfan"] == b'{"model": "m.onnx", "schema": "1"}'


def test_flags_are_counted_by_name() -> None:
    flags = np.array([0, 1, 5, 16, 4], np.uint16)
    assert count_flags(flags) == {"non_finite_image": 2, "dead_band": 2, "out_of_range": 1}


def test_the_catalogues_own_columns_are_reserved() -> None:
    assert set(read(part()).column_names) - set(OUTPUTS) | {"dec"} == RESERVED


@given(st.lists(st.integers(0, 2 * max(Flag) - 1), min_size=1, max_size=40), st.integers(1, 4))
def test_any_flags_give_nulls_where_they_say_so(flags: list[int], width: int) -> None:
    rows = len(flags)
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    table = build_part([("s", rows)], {}, {"x": values}, np.array(flags, np.uint16))
    found = read(encode_part(table, {}))["x"].to_pylist()
    assert [value is None for value in found] == [bool(flag & NO_VALUE) for flag in flags]


def parts(*data: bytes) -> Iterator[tuple[str, bytes]]:
    return iter([(f"part-{number}", content) for number, content in enumerate(data)])


def test_parts_are_one_stream_in_their_order() -> None:
    second = part(outputs={name: values + 100 for name, values in OUTPUTS.items()})
    table = pa.table(chain_parts(parts(part(), second)))
    assert table["z_phot"].to_pylist() == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_a_part_is_fetched_only_when_the_stream_gets_there() -> None:
    fetched: list[int] = []

    def fetch() -> Iterator[tuple[str, bytes]]:
        for number in range(3):
            fetched.append(number)
            yield f"part-{number}", part()

    stream = pa.RecordBatchReader.from_stream(chain_parts(fetch()))
    assert fetched == [0]
    stream.read_next_batch()
    assert fetched == [0]
    stream.read_next_batch()
    assert fetched == [0, 1]


def test_no_part_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        PartitionError, match="no part to read: the run has not finished a task; run it, then ask again"
    ):
        chain_parts(parts())


GOOD = part()


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1 and then nothing", GOOD[:-1], GOOD[1:], b"PAR1" * 9]
)
def test_what_is_no_parquet_file_is_named(data: bytes) -> None:
    with pytest.raises(PartitionError, match=r"x: not a Parquet file.*; run the payload again to write it anew"):
        read_part(data, "x")


def test_a_later_part_that_is_no_parquet_file_is_named() -> None:
    with pytest.raises(Exception, match="part-1: not a Parquet file"):
        chain_parts(parts(part(), b"")).read_all()


@pytest.mark.parametrize(
    "other",
    [
        {"z_phot": OUTPUTS["z_phot"]},
        OUTPUTS | {"pdf": OUTPUTS["pdf"][:, :3]},
        OUTPUTS | {"pdf": OUTPUTS["pdf"].astype(np.float64)},
    ],
    ids=["a column less", "shorter lists", "another type"],
)
def test_parts_of_different_columns_are_not_chained(other: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(Exception, match=r"part-1: differs from part-0 in .*pdf.*; expected the same in all"):
        chain_parts(parts(part(), part(outputs=other))).read_all()


def test_parts_with_and_without_nulls_are_chained() -> None:
    assert chain_parts(parts(part(), part([1] * ROWS), part())).read_all().num_rows == 3 * ROWS
