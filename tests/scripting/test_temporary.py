"""Where there is no place for temporary files, the error says what to do."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from skyfan.errors import WorkerError
from skyfan.scripting.boxing import can_be_private, run_boxed
from skyfan.scripting.limits import Limits
from skyfan.scripting.temporary import temporary_file, temporary_folder

TRY = """
from skyfan.errors import WorkerError
from skyfan.scripting.boxing import can_be_private
try:
    print(can_be_private())
except WorkerError as error:
    print(error)
"""


@pytest.mark.parametrize("place", ["/none", "/etc/passwd", "/proc"])
def test_a_temporary_directory_that_is_none_is_named(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", place)
    for make in (temporary_file, lambda: temporary_folder("skyfan-")):
        with pytest.raises(WorkerError, match=rf"cannot be made at {place}.*TMPDIR"):
            make()


@pytest.mark.parametrize(
    ("mount", "why"),
    [("nr_inodes=1", "No space left on device"), ("ro", "Read-only file system")],
)
def test_a_full_or_read_only_temporary_directory_is_an_error_that_says_what_to_do(mount: str, why: str) -> None:
    unshare = shutil.which("unshare")
    command = [unshare or "", "-rm", "sh", "-c", f'mount -t tmpfs -o {mount} none /mnt && exec "$@"', "sh"]
    if unshare is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system permits no mount to fill")
    code = f"import tempfile; tempfile.tempdir = '/mnt'\n{TRY}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.startswith(b"a temporary folder cannot be made at /mnt/skyfan-")
    assert f"({why}); expected a temporary directory with room".encode() in done.stdout
    assert b"TMPDIR" in done.stdout


def test_too_many_open_files_are_not_taken_for_it() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            temporary_file()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("private", [False, True])
def test_a_directory_that_was_cleaned_away_is_an_error_that_says_so(tmp_path: Path, private: bool) -> None:
    if private and not can_be_private():
        pytest.skip("this system permits no private mount namespace")
    gone = tmp_path / "gone"
    with pytest.raises(WorkerError, match=f"{gone}, which is to be a script's /tmp, cannot be opened.*TMPDIR"):
        run_boxed(("true",), directory=gone, cwd="/", environment={}, limits=Limits(), private=private)
