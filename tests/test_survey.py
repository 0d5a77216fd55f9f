"""Splitting a survey: every row and value in one partition, sizes kept, nothing half made that passes for whole."""

import hashlib
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import skyfan
from factories import make_rows, write_partition
from skyfan.errors import InputError, KeyNameError, PartitionError, StoreError, SurveyError
from skyfan.formats import safetensors as native
from skyfan.partitions import decode_index
from skyfan.storage import Bucket, Store
from skyfan.survey import parse_size

torch = pytest.importorskip("torch")
from torch.utils.data import TensorDataset  # noqa: E402

ROWS = 23
ROW_BYTES = 5 * 8 * 8 * 4 + 5 * 4 + 4 + 8 + 8 + 8
KEPT = {name: values for name, values in make_rows(ROWS).items() if name in {"image", "magnitude", "redshift"}}


def save_safetensors(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    safetensors.numpy.save_file(arrays, path, {"survey": "test"})


def save_pt(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    tensors = [torch.from_numpy(arrays[name]) for name in ("image", "magnitude", "redshift")]
    torch.save(TensorDataset(*tensors), path)


def save_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez(path, **arrays)


def save_compressed_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez_compressed(path, **arrays)


SAVERS = {"a.safetensors": save_safetensors, "b.pt": save_pt, "c.npz": save_npz, "d.npz": save_compressed_npz}


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    path = tmp_path / "survey.safetensors"
    write_partition(path, ROWS)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "store"


def partitions(out: Path) -> list[dict[str, NDArray[Any]]]:
    """Read what lies in sky/parts with the format's own library, in order."""
    folder = out / "sky" / "parts"
    files = sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem))
    return [safetensors.numpy.load_file(path) for path in files]


def together(out: Path, name: str) -> NDArray[Any]:
    return np.concatenate([part[name] for part in partitions(out)])


@pytest.mark.parametrize("name", SAVERS)
def test_every_row_and_value_arrives_in_order(tmp_path: Path, out: Path, name: str) -> None:
    SAVERS[name](tmp_path / name, KEPT)
    skyfan.partition(tmp_path / name, "sky/parts", rows=5, store=out)
    assert [len(part["image"]) for part in partitions(out)] == [5, 5, 5, 5, 3]
    for tensor, values in KEPT.items():
        np.testing.assert_array_equal(together(out, tensor), values)


@pytest.mark.parametrize("name", SAVERS)
def test_float64_images_and_magnitudes_become_float32(tmp_path: Path, out: Path, name: str) -> None:
    wide = {tensor: values.astype(np.float64) for tensor, values in KEPT.items()}
    SAVERS[name](tmp_path / name, wide)
    skyfan.partition(tmp_path / name, "sky/parts", rows=9, store=out)
    for tensor in ("image", "magnitude"):
        assert together(out, tensor).dtype == np.float32
        np.testing.assert_array_equal(together(out, tensor), wide[tensor].astype(np.float32))


def test_float16_images_stay_float16(tmp_path: Path, out: Path) -> None:
    small = KEPT | {"image": KEPT["image"].astype(np.float16)}
    save_npz(tmp_path / "c.npz", small)
    skyfan.partition(tmp_path / "c.npz", "sky/parts", rows=9, store=out)
    assert together(out, "image").dtype == np.float16


def test_ids_become_int64_and_one_that_does_not_fit_is_refused(tmp_path: Path, out: Path) -> None:
    ids = np.arange(ROWS, dtype=np.uint64)
    save_npz(tmp_path / "c.npz", KEPT | {"object_id": ids})
    skyfan.partition(tmp_path / "c.npz", "sky/parts", rows=9, store=out)
    assert together(out, "object_id").dtype == np.int64
    save_npz(tmp_path / "c.npz", KEPT | {"object_id": ids + np.uint64(2**63)})
    with pytest.raises(PartitionError, match="object_id is uint64"):
        skyfan.partition(tmp_path / "c.npz", "sky/others", rows=9, store=out)


def test_what_skyfan_does_not_know_is_kept_too(tmp_path: Path, out: Path) -> None:
    extra = np.arange(ROWS * 3, dtype=np.int16).reshape(ROWS, 3)
    save_safetensors(tmp_path / "a.safetensors", KEPT | {"quality": extra})
    skyfan.partition(tmp_path / "a.safetensors", "sky/parts", rows=10, store=out)
    np.testing.assert_array_equal(together(out, "quality"), extra)
    with safetensors.safe_open(out / "sky" / "parts" / "1.safetensors", "numpy") as file:
        assert file.metadata() == {"schema": "1", "survey": "test"}


@pytest.mark.parametrize("each", [1, 4, ROWS, ROWS + 1])
def test_no_partition_has_more_data_than_asked(survey: Path, out: Path, each: int) -> None:
    skyfan.partition(survey, "sky/parts", size=each * ROW_BYTES + ROW_BYTES - 1, store=out)
    sizes = [sum(values.nbytes for values in part.values()) for part in partitions(out)]
    assert max(sizes) <= each * ROW_BYTES + ROW_BYTES - 1
    assert [size // ROW_BYTES for size in sizes[:-1]] == [each] * (len(sizes) - 1), "all but the last are full"
    assert sum(sizes) == ROWS * ROW_BYTES


def test_the_index_says_what_lies_there(survey: Path, out: Path) -> None:
    index = skyfan.partition(survey, "sky/parts", rows=10, store=out)
    folder = out / "sky" / "parts"
    assert decode_index((folder / "index.json").read_bytes(), "index") == index
    assert index.complete
    assert index.rows == ROWS
    assert [(ref.key, ref.rows) for ref in index.partitions] == [
        ("1.safetensors", 10),
        ("2.safetensors", 10),
        ("3.safetensors", 3),
    ]
    for ref in index.partitions:
        data = (folder / ref.key).read_bytes()
        assert ref.bytes == len(data)
        assert ref.sha256 == hashlib.sha256(data).hexdigest()


def test_the_same_survey_gives_the_same_bytes(survey: Path, out: Path) -> None:
    assert skyfan.partition(survey, "sky/one", rows=7, store=out) == skyfan.partition(
        survey, "sky/two", rows=7, store=out
    )


def test_a_survey_may_lie_in_the_store(survey: Path, out: Path) -> None:
    store = Store(str(out))
    store.bucket("raw", create="store").put("a/survey.safetensors", survey.read_bytes())
    skyfan.partition("raw/a/survey.safetensors", "sky/parts", rows=10, store=out)
    assert len(together(out, "image")) == ROWS


def test_progress_is_told_of_rows(survey: Path, out: Path) -> None:
    told: list[tuple[int, int]] = []
    skyfan.partition(survey, "sky/parts", rows=10, store=out, progress=lambda *done: told.append(done))
    assert told == [(10, ROWS), (20, ROWS), (ROWS, ROWS)]


def stop_after(rows: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise KeyboardInterrupt

    return progress


def ask(out: Path) -> Any:
    payload = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "parts", "result_path": "r", "model": "tiny.onnx"}
    return skyfan.plan(payload, store=out)


def test_an_interrupted_partition_does_not_pass_for_a_small_survey(survey: Path, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        skyfan.partition(survey, "sky/parts", rows=5, store=out, progress=stop_after(10))
    assert len(partitions(out)) == 2
    with pytest.raises(SurveyError, match="has not finished writing 23 rows there"):
        ask(out)


def test_an_interrupted_partition_is_made_again_with_overwrite_only(survey: Path, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        skyfan.partition(survey, "sky/parts", rows=5, store=out, progress=stop_after(10))
    with pytest.raises(SurveyError, match="holds 3 partitions or an index already"):
        skyfan.partition(survey, "sky/parts", rows=5, store=out)
    skyfan.partition(survey, "sky/parts", rows=20, store=out, overwrite=True)
    assert [len(part["image"]) for part in partitions(out)] == [20, 3]


def test_an_overwrite_interrupted_while_deleting_does_not_pass_for_a_small_survey(
    survey: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skyfan.partition(survey, "sky/parts", rows=5, store=out)
    delete = Bucket.delete

    def delete_two_and_fail(bucket: Bucket, keys: list[str]) -> None:
        delete(bucket, keys[:2])
        raise StoreError("gone")

    monkeypatch.setattr(Bucket, "delete", delete_two_and_fail)
    with pytest.raises(StoreError, match="gone"):
        skyfan.partition(survey, "sky/parts", rows=5, store=out, overwrite=True)
    assert 0 < len(partitions(out)) < 5
    with pytest.raises(SurveyError, match="has not finished writing"):
        ask(out)


def test_what_is_there_is_not_written_over(survey: Path, out: Path) -> None:
    skyfan.partition(survey, "sky/parts", rows=5, store=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(SurveyError, match=r"holds 6 partitions or an index already.*choose another, or --overwrite"):
        skyfan.partition(survey, "sky/parts", rows=10, store=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_overwrite_leaves_other_files_and_other_folders_alone(survey: Path, out: Path) -> None:
    skyfan.partition(survey, "sky/parts", rows=5, store=out)
    skyfan.partition(survey, "sky/parts-old", rows=5, store=out)
    note = out / "sky" / "parts" / "note.txt"
    note.write_text("mine")
    skyfan.partition(survey, "sky/parts", rows=20, store=out, overwrite=True)
    assert note.read_text() == "mine"
    assert len(list((out / "sky" / "parts-old").glob("*.safetensors"))) == 5


@pytest.mark.parametrize("as_object", [True, False], ids=["as an object", "as a file"])
def test_a_survey_in_the_folder_that_is_overwritten_is_not_lost(survey: Path, out: Path, as_object: bool) -> None:
    skyfan.partition(survey, "sky/parts", rows=ROWS, store=out)
    path = out / "sky" / "parts" / "1.safetensors"
    before = path.read_bytes()
    with pytest.raises(SurveyError, match=r"lies in .* which is to be overwritten; expected another folder"):
        skyfan.partition(
            "sky/parts/1.safetensors" if as_object else path, "sky/parts", rows=5, store=out, overwrite=True
        )
    assert path.read_bytes() == before


@pytest.mark.parametrize("options", [{}, {"rows": 5, "size": "25MB"}])
def test_one_of_size_and_rows_is_needed(survey: Path, out: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SurveyError, match="give one of --size and --rows"):
        skyfan.partition(survey, "sky/parts", store=out, **options)
    assert not out.exists()


@pytest.mark.parametrize("rows", [0, -1])
def test_a_partition_has_a_row_at_least(survey: Path, out: Path, rows: int) -> None:
    with pytest.raises(SurveyError, match=f"got {rows} rows a partition; expected 1 or more"):
        skyfan.partition(survey, "sky/parts", rows=rows, store=out)


def test_a_size_below_one_row_says_what_a_row_needs(survey: Path, out: Path) -> None:
    with pytest.raises(SurveyError, match=f"one row has {ROW_BYTES} bytes; expected a size of at least that, got 100"):
        skyfan.partition(survey, "sky/parts", size="100", store=out)


@pytest.mark.parametrize("name", ["no/such.safetensors", "sky", "s p a c e/x.npz", "x" * 300, "../x.npz"])
def test_a_survey_that_is_not_there_says_where_was_looked(out: Path, name: str) -> None:
    with pytest.raises(SurveyError, match="there is no such file, nor such an object in the store"):
        skyfan.partition(name, "sky/parts", rows=5, store=out)


@pytest.mark.parametrize("dest", ["", "sky", "sky/", "/sky/x", "sky/../x", "sky//x"])
def test_a_destination_is_a_bucket_and_a_prefix(survey: Path, out: Path, dest: str) -> None:
    with pytest.raises(KeyNameError, match="destination"):
        skyfan.partition(survey, dest, rows=5, store=out)
    assert not out.exists()


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
@pytest.mark.parametrize("name", ["a.safetensors", "b.pt", "c.npz"])
def test_a_truncated_survey_is_refused_before_anything_is_made(tmp_path: Path, out: Path, name: str, cut: int) -> None:
    SAVERS[name](tmp_path / name, KEPT)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:cut])
    with pytest.raises(PartitionError, match=name):
        skyfan.partition(tmp_path / name, "sky/parts", rows=5, store=out)
    assert not out.exists()


def test_a_survey_damaged_within_leaves_no_complete_index(tmp_path: Path, out: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", **make_rows(600))
    data = bytearray((tmp_path / "d.npz").read_bytes())
    place = len(data) // 2
    data[place : place + 50] = bytes(50)
    (tmp_path / "d.npz").write_bytes(data)
    with pytest.raises(PartitionError, match="damaged"):
        skyfan.partition(tmp_path / "d.npz", "sky/parts", rows=50, store=out)
    index = out / "sky" / "parts" / "index.json"
    assert not decode_index(index.read_bytes(), "index").complete


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("25MB", 25 * 2**20),
        ("25 mb", 25 * 2**20),
        ("25MiB", 25 * 2**20),
        ("25M", 25 * 2**20),
        (" 1.5GB ", 3 * 2**29),
        ("2TB", 2**41),
        ("1KB", 1024),
        ("100", 100),
        ("100B", 100),
        ("0.001MB", 1048),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_beyond_any_float_is_only_large() -> None:
    assert parse_size("9" * 400) > 10**399


@pytest.mark.parametrize(
    "text", ["", "MB", "0", "0.4", "-5MB", "25 parsecs", "1e3", "25i", "nan", "inf", "٣MB", "2,5MB"]
)
def test_what_is_no_size_says_what_one_is(text: str) -> None:
    with pytest.raises(SurveyError, match=r"not a size; expected a number and a unit, as in 25MB or 1GB"):
        parse_size(text)


@given(st.text(max_size=12) | st.text("0123456789.KMGTiB ", max_size=12))
def test_any_text_is_a_size_of_a_byte_or_more_or_an_error(text: str) -> None:
    with suppress(SurveyError):
        assert parse_size(text) >= 1


def test_an_unknown_option_of_the_store_is_an_input_error(survey: Path) -> None:
    with pytest.raises(InputError, match="scheme 'ftp'"):
        skyfan.partition(survey, "sky/parts", rows=5, store="ftp://x")


def test_a_survey_much_larger_than_a_partition_is_never_whole_in_memory(tmp_path: Path, out: Path) -> None:
    rows, path = 15_000, tmp_path / "large.safetensors"
    spec = {"image": (np.dtype(np.float32), (rows, 5, 32, 32)), "magnitude": (np.dtype(np.float64), (rows, 5))}
    maps = native.create(path, spec, {})
    maps["image"][::1000] = 1
    del maps
    assert path.stat().st_size > 300e6
    script = (
        "import skyfan; from skyfan.measure import peak_memory_mb;"
        f"before = peak_memory_mb(); skyfan.partition({str(path)!r}, 'sky/parts', size='10MB', store={str(out)!r});"
        "print(peak_memory_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100
    index = decode_index((out / "sky" / "parts" / "index.json").read_bytes(), "index")
    assert (index.rows, index.complete) == (rows, True)
