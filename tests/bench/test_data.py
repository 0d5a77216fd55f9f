"""The partitions of a sweep: cut once, used again, repeated by links, copies or on the server."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from factories import make_rows, tiny_model, write_partition
from s3 import request
from skyfan.bench import repeating
from skyfan.bench.data import Source, distinct_of, open_source, prefix_of, prepare, room_needed
from skyfan.bench.folder import is_whole
from skyfan.bench.repeating import free_in, repeat
from skyfan.bench.sweep import Sweep
from skyfan.bench.sweeping import run_sweep
from skyfan.errors import InputError, StoreFullError, SurveyError
from skyfan.keys import index_of
from skyfan.partitions import Index, decode_index
from skyfan.storage import Store

ROW_BYTES = 5 * 8 * 8 * 4 + 5 * 4 + 4 + 8 + 16


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """A survey of 35 rows."""
    write_partition(tmp_path / "survey.safetensors", rows=35, seed=9)
    return tmp_path / "survey.safetensors"


@pytest.fixture
def server() -> Iterator[str]:
    """Serve S3; return its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


def sweep(source: object, **more: Any) -> Sweep:
    base = {"name": "try", "bucket": "sky", "data_bucket": "sky", "result_path": "bench/try", "data_prefix": "cut"}
    return Sweep(source=str(source), **(base | more))


class Known:
    """What a sweep keeps of the partitions that it cut."""

    def __init__(self) -> None:
        self.cut: dict[str, str | None] = {}
        self.told: list[tuple[str, int, int]] = []

    def prepare(self, asked: Sweep, store: Store, files: int, source: Source | None = None) -> str:
        source = source or open_source(asked, store)
        return prepare(
            asked,
            source,
            source.cuts[0],
            files,
            store,
            known=self.cut,
            note=self.cut.__setitem__,
            tell=lambda *event: self.told.append(event),
        )


def index(store: Store, prefix: str) -> Index:
    return decode_index(store.bucket("sky").get(index_of(prefix)) or b"", prefix)


def size_of(rows: int) -> str:
    return f"{rows * ROW_BYTES}B"


def test_a_survey_is_looked_at_before_it_is_cut(survey: Path, store: Store) -> None:
    source = open_source(sweep(survey, partition_sizes=(size_of(10), size_of(16))), store)
    assert [(cut.rows, cut.count) for cut in source.cuts] == [(10, 4), (16, 3)]
    assert room_needed(sweep(survey), source, {}) >= 2 * 35 * ROW_BYTES
    assert not (Path(store.url) / "sky" / "cut").exists()


def test_a_survey_smaller_than_a_partition_is_not_taken_for_one(survey: Path, store: Store) -> None:
    asked = sweep(survey, partition_sizes=(size_of(10), size_of(36)))
    source = open_source(asked, store)
    assert [bool(cut.problem) for cut in source.cuts] == [False, True]
    assert "36 rows, and the survey 35" in source.cuts[1].problem
    assert room_needed(asked, source, {}) == 35 * ROW_BYTES


def test_a_survey_is_cut_once(survey: Path, store: Store) -> None:
    asked, known = sweep(survey, partition_sizes=(size_of(10),)), Known()
    prefix = known.prepare(asked, store, 4)
    assert prefix == f"cut/{size_of(10)}"
    assert [ref.rows for ref in index(store, prefix).partitions] == [10, 10, 10, 5]
    first = Path(store.url) / "sky" / prefix / "1.safetensors"
    before = first.stat()
    known.told.clear()
    assert known.prepare(asked, store, 2) == prefix
    assert first.stat() == before
    assert known.told == []
    assert room_needed(asked, open_source(asked, store), known.cut) == 0


def test_a_cut_that_was_interrupted_is_made_anew(survey: Path, store: Store) -> None:
    asked, known = sweep(survey, partition_sizes=(size_of(10),)), Known()

    class Stopping(list[object]):
        def append(self, event: object) -> None:
            raise KeyboardInterrupt

    known.told = Stopping()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        known.prepare(asked, store, 4)
    prefix = f"cut/{size_of(10)}"
    assert known.cut == {prefix: None}
    assert not index(store, prefix).complete
    again = Known()
    again.cut = known.cut
    again.prepare(asked, store, 4)
    assert index(store, prefix).complete
    assert index(store, prefix).rows == 35


def test_partitions_of_somebody_else_are_not_overwritten(survey: Path, store: Store) -> None:
    asked = sweep(survey, partition_sizes=(size_of(10),))
    Known().prepare(asked, store, 4)
    with pytest.raises(SurveyError, match="did not cut"):
        Known().prepare(asked, store, 4)


def test_partitions_that_changed_since_they_were_cut_are_refused(survey: Path, store: Store) -> None:
    asked, known = sweep(survey, partition_sizes=(size_of(10),)), Known()
    prefix = known.prepare(asked, store, 4)
    store.bucket("sky").put(index_of(prefix), Index(1, 0, True, ()).encode())
    with pytest.raises(SurveyError, match="gone or not the one that this sweep wrote"):
        known.prepare(asked, store, 4)


def test_another_survey_has_another_fingerprint(survey: Path, store: Store) -> None:
    asked = sweep(survey, partition_sizes=(size_of(10),))
    before = open_source(asked, store).fingerprint
    assert open_source(asked, store).fingerprint == before
    rows = make_rows(35, 9)
    rows["redshift"][-1] += 1
    write_partition(survey, arrays=rows)
    assert open_source(asked, store).fingerprint != before


def test_more_partitions_than_there_are_are_links_to_whole_ones(survey: Path, store: Store) -> None:
    known = Known()
    prefix = known.prepare(sweep(survey, partition_sizes=(size_of(10),)), store, 8)
    assert prefix == f"cut/repeated/{size_of(10)}"
    found = index(store, prefix)
    assert [ref.rows for ref in found.partitions] == [10] * 8, "the rest of 5 rows is left out"
    assert found.rows == 80
    hashes = [ref.sha256 for ref in found.partitions]
    assert hashes[:3] * 2 + hashes[:2] == hashes
    assert len(set(hashes)) == 3
    folder = Path(store.url) / "sky" / prefix
    for number in (1, 4, 7):
        path = folder / f"{number}.safetensors"
        assert path.samefile(Path(store.url) / "sky" / f"cut/{size_of(10)}" / "1.safetensors")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == hashes[0]


def test_how_many_are_different_goes_by_the_folder_that_is_read(survey: Path, root: Path, store: Store) -> None:
    """All configurations of a partition size read from one folder: where it is of repeated ones, there is no rest."""
    for asked in (sweep(survey, partition_sizes=(size_of(10),)), sweep("sky/25MB")):
        source = open_source(asked, store)
        (cut,) = source.cuts
        assert cut.count == 4
        whole = 4 if source.survey is None else 3
        assert [distinct_of(source, cut, files, 4) for files in (1, 3, 4)] == [1, 3, 4]
        assert [distinct_of(source, cut, files, 20) for files in (1, 3, 4, 20)] == [1, 3, whole, whole]


def test_repeated_partitions_are_used_again_and_made_more(root: Path, store: Store) -> None:
    asked = sweep("sky/25MB", keys={"model": "models/tiny.onnx"})
    known = Known()
    prefix = known.prepare(asked, store, 6)
    assert prefix == "cut/repeated/25MB"
    assert [ref.rows for ref in index(store, prefix).partitions] == [7, 8, 9, 10, 7, 8]
    known.told.clear()
    assert known.prepare(asked, store, 5) == prefix, "fewer are there already"
    assert known.told == []
    known.prepare(asked, store, 9)
    assert len(index(store, prefix).partitions) == 9
    assert sorted(path.name for path in (root / "sky" / "25MB").iterdir()) == [f"{n}.safetensors" for n in range(1, 5)]


def test_links_that_do_not_work_are_copies_if_there_is_room(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def link(source: Path, target: Path) -> None:
        if made:
            raise OSError(95, "not supported")
        made.append(target)
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(os, "link", link)
    prefix = Known().prepare(sweep("sky/25MB"), store, 6)
    folder = root / "sky" / prefix
    assert len(made) == 1
    assert (folder / "5.safetensors").read_bytes() == (root / "sky" / "25MB" / "1.safetensors").read_bytes()
    assert not (folder / "5.safetensors").samefile(root / "sky" / "25MB" / "1.safetensors")
    assert index(store, prefix).complete


def test_copies_without_room_are_refused_and_made_later(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(95, "not supported")

    known = Known()
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        patched.setattr(repeating.shutil, "disk_usage", lambda path: _Usage(5000))
        with pytest.raises(StoreFullError, match=r"6 partitions to copy.*need .* KiB; expected as much free.*4\.9 KiB"):
            known.prepare(sweep("sky/25MB"), store, 6)
    assert not index(store, "cut/repeated/25MB").complete, "half of it must not pass for all"
    known.prepare(sweep("sky/25MB"), store, 6)
    assert index(store, "cut/repeated/25MB").complete


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_files_of_somebody_else_where_repeated_ones_would_be_are_left_alone(root: Path, store: Store) -> None:
    other = root / "sky" / "cut" / "repeated" / "25MB" / "1.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mine")
    with pytest.raises(SurveyError, match="1 file and no index"):
        Known().prepare(sweep("sky/25MB"), store, 6)
    assert other.read_bytes() == b"mine"


def test_repeated_partitions_of_somebody_else_are_left_alone(root: Path, store: Store) -> None:
    """They have an index, so that only what was noted tells whose they are."""
    Known().prepare(sweep("sky/25MB"), store, 6)
    with pytest.raises(SurveyError, match="did not repeat"):
        Known().prepare(sweep("sky/25MB"), store, 9)
    assert len(index(store, "cut/repeated/25MB").partitions) == 6
    assert (root / "sky" / "cut" / "repeated" / "25MB" / "6.safetensors").exists()


def test_to_begin_anew_cuts_again_what_was_deleted_by_hand(
    root: Path, store: Store, survey: Path, tmp_path: Path
) -> None:
    wanted = sweep(
        survey,
        partition_sizes=(size_of(10),),
        keys={"model": "models/tiny.onnx"},
        files=(2,),
        batch_sizes=(4,),
        workers=(1,),
        repeats=1,
    )
    run_sweep(wanted, tmp_path / "out", store)
    folder = root / "sky" / "cut" / size_of(10)
    shutil.rmtree(folder)
    (tmp_path / "out" / "measurements.parquet").unlink()
    with pytest.raises(SurveyError, match="begin anew with --overwrite"):
        run_sweep(wanted, tmp_path / "out", store)
    assert is_whole(run_sweep(wanted, tmp_path / "out", store, overwrite=True)[0])
    (folder / "index.json").write_bytes(Index(1, 0, True, ()).encode())
    with pytest.raises(SurveyError, match="did not cut"):
        run_sweep(wanted, tmp_path / "out", store, overwrite=True)


def test_a_server_copies_by_itself(monkeypatch: pytest.MonkeyPatch, server: str, tmp_path: Path) -> None:
    request(server, "POST", "/moto-api/reset")
    request(server, "PUT", "/sky")
    for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    store = Store(server)
    bucket = store.bucket("sky")
    write_partition(tmp_path / "1.safetensors", rows=7)
    data = (tmp_path / "1.safetensors").read_bytes()
    bucket.put("25MB/1.safetensors", data)
    prefix = Known().prepare(sweep("sky/25MB"), store, 3)
    assert bucket.get(f"{prefix}/3.safetensors") == data
    assert [ref.rows for ref in index(store, prefix).partitions] == [7, 7, 7]
    assert free_in(store, "sky") is None


def test_a_single_partition_can_be_repeated(store: Store) -> None:
    source = open_source(sweep("sky/25MB"), store)
    repeat(store.bucket("sky"), source.partitions[:1], "one", 3, lambda done, total: None)
    assert [ref.rows for ref in index(store, "one").partitions] == [7, 7, 7]


def test_partitions_as_they_are_are_read_where_they_lie(store: Store) -> None:
    source = open_source(sweep("sky/25MB"), store)
    assert source.cuts[0].label == "25MB"
    assert source.cuts[0].count == 4
    assert source.cuts[0].rows is None, "no index tells"
    assert prefix_of(sweep("sky/25MB"), source, source.cuts[0], 4) == "25MB"
    assert Known().prepare(sweep("sky/25MB"), store, 4) == "25MB"


def test_a_source_that_cannot_be_used_says_why(survey: Path, store: Store) -> None:
    with pytest.raises(InputError, match="no size says how to cut it"):
        open_source(sweep(survey), store)
    with pytest.raises(SurveyError, match="no partition below sky/nothing/"):
        open_source(sweep("sky/nothing"), store)
    with pytest.raises(InputError, match="its bucket is 'sky', the data bucket is 'other'"):
        open_source(sweep("sky/25MB", data_bucket="other"), store)
    with pytest.raises(SurveyError, match="one row has"):
        open_source(sweep(survey, partition_sizes=("10B",)), store)


def test_what_is_free_is_known_before_there_is_a_folder(tmp_path: Path) -> None:
    assert (free_in(Store(str(tmp_path / "a" / "b")), "sky") or 0) > 0


def test_a_sweep_on_a_server_leaves_only_its_partitions(
    monkeypatch: pytest.MonkeyPatch, server: str, tmp_path: Path, survey: Path
) -> None:
    request(server, "POST", "/moto-api/reset")
    request(server, "PUT", "/sky")
    for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    store = Store(server)
    bucket = store.bucket("sky")
    bucket.put("models/tiny.onnx", tiny_model(tmp_path / "tiny.onnx").read_bytes())
    wanted = sweep(
        survey,
        partition_sizes=(size_of(10),),
        keys={"model": "models/tiny.onnx"},
        files=(6,),
        batch_sizes=(4,),
        workers=(1,),
        repeats=1,
    )
    measured = run_sweep(wanted, tmp_path / "out", store)[0]
    assert is_whole(measured), measured.problem
    assert (measured.partitions, measured.distinct_partitions, measured.rows) == (6, 3, 60)
    assert bucket.list("bench") == [], "leases too are gone"
    assert len(bucket.list("cut")) == 4 + 1 + 6 + 1
