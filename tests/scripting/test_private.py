"""A script with a /tmp of its own: it sees that one only, what it must see all the same, and its own processes."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripting.boxes import PYTHON, THIS_PYTHON, TMP, boxed, left_of, wait_until
from skyfan.errors import InputError, WorkerError
from skyfan.scripting.boxing import Ending, can_be_private
from skyfan.scripting.limits import Limits

needs_namespaces = pytest.mark.skipif(not can_be_private(), reason="this system permits no private mount namespace")


@pytest.fixture
def store() -> Iterator[Path]:
    """A folder below /tmp that scripts are to see."""
    with tempfile.TemporaryDirectory(prefix="skyfan-test-store-", dir=TMP) as folder:
        path = Path(folder) / "sky" / "data"
        path.mkdir(parents=True)
        (path / "real").write_text("real")
        yield path


def run(code: str, directory: Path, shown: tuple[Path, ...] = ()) -> Ending:
    return boxed(*PYTHON, code, directory=directory, private=True, shown=(*THIS_PYTHON, *shown))


@needs_namespaces
def test_two_at_once_write_the_same_path_and_see_their_own(directory: Path, store: Path) -> None:
    code = """
import os, sys, time
name, store = sys.argv[1:]
open("/tmp/box same", "w").write(name)
open(f"{store}/{name}", "w").close()
while not os.path.exists(f"{store}/{'right' if name == 'left' else 'left'}"):
    time.sleep(0.01)
print(open("/tmp/box same").read(), sorted(name for name in os.listdir("/tmp") if name.startswith("box")))
"""
    endings: dict[str, Ending] = {}

    def box(name: str) -> None:
        (directory / name).mkdir()
        endings[name] = boxed(
            *PYTHON,
            code,
            name,
            str(store),
            directory=directory / name,
            private=True,
            shown=(*THIS_PYTHON, store),
            limits=Limits(timeout_s=20),
        )

    threads = [threading.Thread(target=box, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: ending.output for name, ending in endings.items()} == {
        "left": b"left ['box same']\n",
        "right": b"right ['box same']\n",
    }
    assert (directory / "left" / "box same").read_text() == "left"
    assert not (TMP / "box same").exists()


@needs_namespaces
def test_a_folder_that_is_shown_is_the_real_one(directory: Path, store: Path) -> None:
    code = f"print(open('{store}/real').read()); open('{store}/new', 'w').write('new')"
    assert run(code, directory, (store,)).output == b"real\n"
    assert (store / "new").read_text() == "new"
    assert list(directory.iterdir()) == []


@needs_namespaces
def test_what_a_script_leaves_beside_a_folder_that_was_shown_is_kept(directory: Path, store: Path) -> None:
    beside = store.parent / "mine"
    run(f"open('{beside}', 'w').close()", directory, (store, store / ".."))
    assert beside.exists()  # within what is shown
    run(f"open('{beside}', 'w').close()", directory, (store,))
    assert (directory / beside.relative_to(TMP)).exists()
    assert not (directory / store.relative_to(TMP)).exists()


@needs_namespaces
def test_a_folder_is_shown_by_a_link_to_it_too(directory: Path, store: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere:
        link = Path(elsewhere) / "link"
        link.symlink_to(store)
        assert run(f"print(open('{link}/real').read())", directory, (link,)).output == b"real\n"


@needs_namespaces
def test_without_being_shown_it_is_not_seen(directory: Path, store: Path) -> None:
    assert run(f"import os; print(os.path.exists('{store}'))", directory).output == b"False\n"


@needs_namespaces
def test_removing_the_directory_never_reaches_what_was_shown(directory: Path, store: Path) -> None:
    code = f"""
from pathlib import Path
from scripting.boxes import PYTHON, THIS_PYTHON, boxed
code = "import time; open('/tmp/ready', 'w').close(); time.sleep(60)"
shown = [*THIS_PYTHON, Path({str(store)!r})]
boxed(*PYTHON, code, directory=Path({str(directory)!r}), private=True, shown=shown)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    caller = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until((directory / "ready").exists, "the script is ready")
    place = directory / store.relative_to(TMP)
    assert list(place.iterdir()) == []  # from outside, even while it is mounted
    shutil.rmtree(directory / store.relative_to(TMP).parts[0])
    caller.kill()
    caller.wait()
    wait_until(lambda: not left_of(directory), "its processes are gone")
    assert (store / "real").read_text() == "real"


@needs_namespaces
def test_mounts_are_seen_by_nobody_else(directory: Path, store: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    ending = run("print(open('/proc/self/mountinfo').read())", directory, (store,))
    assert f" {store} ".encode() in ending.output
    assert Path("/proc/self/mountinfo").read_text() == before


@needs_namespaces
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_place_that_is_taken_is_refused_and_kept(directory: Path, store: Path, kind: str) -> None:
    taken = directory / store.relative_to(TMP).parts[0]
    taken.write_text("mine") if kind == "file" else taken.symlink_to("/var")
    with pytest.raises(InputError, match="is no folder; the script must see"):
        run("", directory, (store,))
    assert taken.is_symlink() or taken.read_text() == "mine"


@needs_namespaces
@pytest.mark.parametrize("path", [TMP, TMP / "box of nobody"])
def test_what_cannot_be_shown_is_refused(directory: Path, path: Path) -> None:
    with pytest.raises(InputError, match=f"{path} cannot be shown"):
        run("", directory, (path,))


@needs_namespaces
def test_it_is_not_the_first_process_and_sees_no_other(directory: Path) -> None:
    ending = run("import os; print(os.getpid(), [name for name in os.listdir('/proc') if name.isdigit()])", directory)
    assert ending.output == b"2 ['1', '2']\n"


@needs_namespaces
def test_a_script_that_signals_all_that_it_can_ends_only_itself(directory: Path) -> None:
    code = "import os, signal; os.kill(1, signal.SIGTERM); os.kill(1, signal.SIGKILL); os.kill(-1, signal.SIGTERM)"
    ending = boxed("sh", "-c", f'sleep 60 & {sys.executable} -S -c "{code}"; exit 5', directory=directory, private=True)
    assert ending.why in {"ended by SIGTERM", "exit code 5"}


@needs_namespaces
def test_a_user_who_is_not_root_can_have_it(directory: Path) -> None:
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("only root can become somebody else, who needs a Python that all may run")
    directory.chmod(0o777)
    box = Path(__file__).parents[2] / "src"
    probe = [python, "-c", "import sys, skyfan; sys.exit(sys.version_info < (3, 11))"]
    somebody = {"user": 54321, "group": 54321, "extra_groups": [], "cwd": "/"}
    if subprocess.run(probe, env={"PYTHONPATH": str(box)}, capture_output=True, check=False, **somebody).returncode:
        pytest.skip("there is no Python that somebody else could run this with")
    code = """
from skyfan.scripting import namespaces
import os
print(namespaces.separate(), os.getuid())
namespaces.hide_mounts()
namespaces.bind(os.open(os.environ["DIRECTORY"], os.O_PATH), "/tmp")
open("/tmp/made", "w").close()
"""
    environment = {"PYTHONPATH": str(box), "DIRECTORY": str(directory)}
    done = subprocess.run([python, "-c", code], env=environment, capture_output=True, check=False, **somebody)
    assert (done.stdout, done.stderr) == (b"True 54321\n", b"")
    assert (directory / "made").stat().st_uid == 54321


def test_a_variable_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYFAN_NAMESPACES", "no")
    assert not can_be_private()


def test_where_it_is_not_permitted_the_error_says_so_and_what_to_do(directory: Path) -> None:
    unshare = shutil.which("unshare")
    # in a user namespace where no user is known, neither root's way nor a user's is open
    if unshare is None or subprocess.run([unshare, "-U", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system permits no user namespace to forbid it in")
    code = f"""
from pathlib import Path
from scripting.boxes import boxed
from skyfan.errors import WorkerError
from skyfan.scripting.boxing import can_be_private
print(can_be_private())
try:
    boxed("true", directory=Path({str(directory)!r}), private=True)
except WorkerError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([unshare, "-U", sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.startswith(b"False\nthe script cannot be started: [Errno 1] unshare: ")
    assert b"SKYFAN_NAMESPACES" in done.stdout


@needs_namespaces
def test_a_box_that_is_killed_is_an_error_and_leaves_nothing(directory: Path) -> None:
    code = "import time; print('last', flush=True); open('/tmp/ready', 'w').close(); time.sleep(60)"
    failures: list[BaseException] = []

    def box() -> None:
        try:
            run(code, directory)
        except WorkerError as error:
            failures.append(error)

    thread = threading.Thread(target=box)
    thread.start()
    wait_until((directory / "ready").exists, "the script is ready")
    first = left_of(directory)[0].parent()
    assert first is not None
    outer = first.parent()
    assert outer is not None
    outer.kill()
    thread.join(30)
    assert left_of(directory) == []
    assert re.match(r"the process that ran the script ended before it.*; the last words: last$", str(failures[0]))
