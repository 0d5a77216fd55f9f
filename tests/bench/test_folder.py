"""A sweep's folder: what began in it is held to, and it is one sweep's at a time."""

import shutil
from pathlib import Path

import pytest

from bench.small import sweep
from skyfan.bench import folder as folder_module
from skyfan.bench.folder import locked
from skyfan.bench.sweeping import look_ahead, run_sweep
from skyfan.errors import ClaimedError, InputError
from skyfan.storage import Store


def test_what_must_stay_the_same_is_held_to(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(sweep(), out, store)
    with pytest.raises(ClaimedError, match=r"keys .*expected the same"):
        run_sweep(sweep(keys={"model": "models/tiny.onnx", "max_attempts": 1}), out, store)
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "describe_host", lambda: "Another, 64 cores")
        with pytest.raises(ClaimedError, match=r"machine '.*' \(now: 'Another, 64 cores'\)"):
            look_ahead(sweep(), out, store)
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "__version__", "99")
        with pytest.raises(ClaimedError, match="skyfan version"):
            run_sweep(sweep(), out, store)
    model = root / "sky" / "models" / "tiny.onnx"
    model.write_bytes(model.read_bytes() + b"\x32\x01x")  # the field doc_string
    with pytest.raises(ClaimedError, match=r"model .models/tiny.onnx, sha256"):
        run_sweep(sweep(), out, store)


def test_new_data_are_another_sweep_unless_it_begins_anew(root: Path, store: Store, out: Path) -> None:
    before = run_sweep(sweep(repeats=2), out, store)
    (root / "sky" / "25MB" / "4.safetensors").unlink()
    with pytest.raises(ClaimedError, match="data '"):
        run_sweep(sweep(), out, store)
    after = run_sweep(sweep(), out, store, overwrite=True)
    assert len(after) == 1, "what was measured of other data is forgotten"
    assert after[0].started_at > before[-1].started_at
    assert not list((out / "runs").glob("*/2/summary.json"))


def test_another_store_is_another_sweep(root: Path, store: Store, out: Path, tmp_path: Path) -> None:
    run_sweep(sweep(), out, store)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    with pytest.raises(ClaimedError, match=r"store '.*' \(now: '.*other'\)"):
        run_sweep(sweep(repeats=2), out, Store(str(other)))


def test_two_sweeps_at_once_on_one_folder_are_refused(store: Store, out: Path) -> None:
    with locked(out), pytest.raises(ClaimedError, match="another 'skyfan bench' is at work there"):
        run_sweep(sweep(), out, store)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema": 1, "sweep": 3}'])
def test_a_damaged_record_is_refused(store: Store, out: Path, content: bytes) -> None:
    out.mkdir()
    (out / "sweep.json").write_bytes(content)
    with pytest.raises(InputError, match="not the record of a sweep"):
        run_sweep(sweep(), out, store)
    assert (out / "sweep.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        run_sweep(sweep(), tmp_path / "file" / "out", store)
