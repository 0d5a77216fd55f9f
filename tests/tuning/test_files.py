"""The files that `skyfan tune` writes: whole or not at all, but into what is no file as it is."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.disk import files_end_at
from skyfan.cli.tuning import _write
from skyfan.errors import InputError


def test_a_file_that_cannot_be_written_whole_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    out.write_bytes(b"before")
    with files_end_at(1000), pytest.raises(InputError, match=r"^out: cannot be written \(.*\); expected a folder with"):
        _write(out, bytes(5000), "out")
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]
    _write(out, b"after", "out")
    assert out.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [out]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe, read = tmp_path / "found.json", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    _write(pipe, b"all of it", "out")
    reader.join(30)
    assert read == [b"all of it"]
    assert pipe.is_fifo()


def test_a_link_is_written_through_and_stays_one(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept.json", tmp_path / "found.json"
    link.symlink_to(kept)
    for content in (b"first", b"then"):
        _write(link, content, "out")
        assert kept.read_bytes() == content
        assert link.is_symlink()


@pytest.mark.parametrize("redirected", [False, True])
def test_standard_output_by_its_name_goes_where_it_leads(tmp_path: Path, redirected: bool) -> None:
    """By a link of our own to it: who fails here must not take the machine's away."""
    link, file = tmp_path / "stdout", tmp_path / "redirected"
    link.symlink_to("/dev/stdout")
    code = f"from pathlib import Path; from skyfan.cli.tuning import _write; _write(Path({str(link)!r}), b'it', 'out')"
    with file.open("wb") as target:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=target if redirected else subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert os.fstat(target.fileno()).st_ino == file.stat().st_ino, "what it led to is another file now"
    assert (file.read_bytes() if redirected else done.stdout) == b"it"
    assert link.is_symlink()
