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

from scripting.boxes import PYTHON, SOMEBODY, THIS_PYTHON, TMP, as_somebody, boxed, left_of, wait_until
from skyfan.errors import InputError, WorkerError
from skyfan.scripting.boxing import Ending, can_be_private
from skyfan.scripting.limits import Limits

SHARED_MEMORY = Path("/dev/shm")
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
def test_what_cannot_be_shown_is_refused(directory: Path) -> None:
    with pytest.raises(InputError, match=r"/tmp/box of nobody, which a script needs, cannot be shown.*PYTHONPATH"):
        run("", directory, (TMP / "box of nobody",))


@needs_namespaces
def test_tmp_itself_is_what_a_script_does_not_see(directory: Path) -> None:
    assert run("import os; print(os.listdir('/tmp'))", directory, (TMP, TMP / ".")).why is None


@needs_namespaces
def test_every_link_on_the_way_to_a_folder_is_seen(directory: Path, store: Path) -> None:
    top = store.parents[1]
    (top / "by name").symlink_to("sky")  # as a virtual environment may be
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere, tempfile.TemporaryDirectory(dir=TMP) as other:
        (Path(elsewhere) / "first").symlink_to(f"{other}/second")
        (Path(other) / "second").symlink_to(top / "by name")
        paths = (Path(elsewhere) / "first" / "data", top / "by name" / "data")
        code = f"for path in {[str(path) for path in paths]}: print(open(path + '/real').read())"
        ending = run(code, directory, paths)
    assert ending.output == b"real\nreal\n"
    assert list(directory.iterdir()) == []


@needs_namespaces
def test_links_in_a_circle_are_refused(directory: Path, store: Path) -> None:
    (store / "circle").symlink_to(store / "circle")
    with pytest.raises(InputError, match="circle, which a script needs, cannot be shown"):
        run("", directory, (store / "circle",))


@needs_namespaces
def test_shared_memory_is_its_own_and_goes_with_it(directory: Path) -> None:
    name = f"box-{directory.name}"
    code = f"""
import os
print(os.listdir("/dev/shm"))
open("/dev/shm/{name}", "w").write("mine")
print(os.listdir("/dev/shm"))
"""
    mounts = Path("/proc/self/mountinfo").read_text()
    for _ in range(2):
        assert run(code, directory).output == f"[]\n['{name}']\n".encode()
    assert not (SHARED_MEMORY / name).exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts


@needs_namespaces
def test_shared_memory_holds_what_the_limit_of_memory_permits(directory: Path) -> None:
    code = "open('/dev/shm/big', 'wb').write(b'x' * (30 << 20))"
    ending = boxed(*PYTHON, code, directory=directory, private=True, limits=Limits(memory_mb=200))
    assert ending.why is None
    code = "file = open('/dev/shm/big', 'wb')\nfor _ in range(300): file.write(b'x' * (1 << 20))"
    ending = boxed(*PYTHON, code, directory=directory, private=True, limits=Limits(memory_mb=200))
    assert (ending.why, b"No space left" in ending.output) == ("exit code 1", True)


@needs_namespaces
def test_shared_memory_that_a_process_maps_counts_as_its_memory(directory: Path) -> None:
    code = """
import mmap, os, time
file = os.open("/dev/shm/big", os.O_RDWR | os.O_CREAT)
os.truncate(file, 80 << 20)
mmap.mmap(file, 80 << 20).write(b"x" * (80 << 20))
"""
    assert boxed(*PYTHON, code, directory=directory, private=True).peak_memory_mb > 80


@needs_namespaces
def test_what_must_be_seen_in_shared_memory_is(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as shown:
        (Path(shown) / "real").write_text("real")
        assert run(f"print(open('{shown}/real').read())", directory, (Path(shown),)).output == b"real\n"


@needs_namespaces
def test_root_without_any_capability_can_have_it(directory: Path) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can give up what root may do")
    code = f"""
from pathlib import Path
from scripting.boxes import boxed
from skyfan.scripting.boxing import can_be_private
look = "echo mine > /tmp/made; ls /tmp/made; test -e {directory} && echo seen || true"
ending = boxed("sh", "-c", look, directory=Path({str(directory)!r}), private=True)
print(can_be_private(), ending.exit_code, ending.output)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [setpriv, "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"True 0 b'/tmp/made\\n'\n", b"")
    assert (directory / "made").stat().st_uid == 0


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
    directory.chmod(0o777)
    code = """
from skyfan.scripting import namespaces
import os
print(namespaces.separate(), os.getuid())
namespaces.hide_mounts()
namespaces.bind(os.open(os.environ["DIRECTORY"], os.O_PATH), "/tmp")
open("/tmp/made", "w").close()
"""
    done = as_somebody(code, directory)
    assert (done.stdout, done.stderr) == (b"True %d\n" % SOMEBODY, b"")
    assert (directory / "made").stat().st_uid == SOMEBODY


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
