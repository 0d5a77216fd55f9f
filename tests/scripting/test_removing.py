"""What a script leaves is removed, whatever it looks like."""

import os
import resource
import subprocess
from pathlib import Path

import psutil
import pytest

from scripting.boxes import as_somebody
from skyfan.scripting.removing import remove_tree


def nest(folder: Path, depth: int) -> None:
    """Make folders in each other, with a file in each; no path is ever longer than a name."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_folders_deeper_than_calls_paths_and_open_files_permit_are_removed(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    nest(tmp_path / "top", 3000)
    (tmp_path / "top" / "beside").mkdir()
    before = psutil.Process().num_fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, hard))
    try:
        remove_tree(tmp_path / "top")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        left = list(tmp_path.iterdir())
        subprocess.run(["/bin/rm", "-rf", tmp_path / "top"], check=True)  # pytest could not
    assert left == []
    assert psutil.Process().num_fds() == before


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    kept.chmod(0o500)
    top = tmp_path / "top"
    (top / "inner").mkdir(parents=True)
    for folder in (top, top / "inner"):
        (folder / "to a folder").symlink_to(kept)
        (folder / "to a file").symlink_to(kept / "file")
        (folder / "to nothing").symlink_to("/nothing")
    (tmp_path / "link").symlink_to(kept)
    remove_tree(top)
    remove_tree(tmp_path / "link")
    assert list(tmp_path.iterdir()) == [kept]
    assert (kept / "file").read_text() == "kept"
    assert kept.stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize("name", ["none", "none/at all", "file", "null\0byte"])
def test_what_is_no_folder_is_no_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file")
    remove_tree(tmp_path / name)
    assert not os.path.lexists(tmp_path / name.partition("\0")[0])


def test_pipes_and_sockets_are_removed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    remove_tree(tmp_path)
    assert not tmp_path.exists()


def test_a_user_who_is_not_root_removes_what_a_script_shut(directory: Path) -> None:
    directory.chmod(0o777)
    done = as_somebody(
        """
import os
from pathlib import Path
from skyfan.scripting.removing import remove_tree
top = Path(os.environ["DIRECTORY"]) / "top"
for mode in (0o555, 0o000, 0o200, 0o400):
    (top / oct(mode) / "inner").mkdir(parents=True)
    (top / oct(mode) / "inner" / "file").touch()
    (top / oct(mode) / "inner").chmod(mode)
    (top / oct(mode)).chmod(mode)
top.chmod(0)
remove_tree(top)
print(top.exists())
""",
        directory,
    )
    assert (done.stdout, done.stderr) == (b"False\n", b"")


def test_what_belongs_to_another_stays_and_all_else_goes(directory: Path) -> None:
    for name in ("open", "shut"):
        (directory / "top" / name / "theirs").mkdir(parents=True)
        (directory / "top" / name / "theirs" / "file").touch()
    (directory / "top" / "shut" / "theirs").chmod(0o700)
    (directory / "top" / "only listed").mkdir()
    (directory / "top" / "only listed" / "file").touch()
    (directory / "top" / "only listed").chmod(0o744)
    for folder in (directory, directory / "top", directory / "top" / "open", directory / "top" / "shut"):
        folder.chmod(0o777)
    done = as_somebody(
        """
import os
from pathlib import Path
from skyfan.scripting.removing import remove_tree
top = Path(os.environ["DIRECTORY"]) / "top"
for place in (top, top / "open", top / "shut"):
    (place / "a mine" / "inner").mkdir(parents=True)
    (place / "z mine" / "inner").mkdir(parents=True)
    (place / "mine").touch()
remove_tree(top)
""",
        directory,
    )
    assert done.stderr == b""
    left = {str(path.relative_to(directory / "top")) for path in directory.rglob("*")} - {"."}
    theirs = {"open", "open/theirs", "open/theirs/file", "shut", "shut/theirs", "shut/theirs/file"}
    assert left == theirs | {"only listed", "only listed/file"}
