"""Scripts without a /tmp of their own: one at a time, by links in the real one."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripting.boxes import PYTHON, SOMEBODY, TMP, as_somebody, boxed, left_of, wait_until
from skyfan.errors import InputError, WorkerError
from skyfan.scripting.namespaces import adopts_orphans
from skyfan.scripting.turns import turn

LOCK = TMP / f"skyfan-scripts-{os.getuid()}.lock"
HOLDER = """
import sys, time
from pathlib import Path
from skyfan.scripting.turns import turn
with turn(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_each_name_of_the_directory_is_linked_while_its_script_runs(directory: Path) -> None:
    (directory / "box names").mkdir()
    (directory / "box file").write_text("text")
    code = "import os; print(open('/tmp/box file').read(), os.path.realpath('/tmp/box names'), os.environ['TMPDIR'])"
    ending = boxed(*PYTHON, code, directory=directory, private=False)
    assert ending.output.decode() == f"text {directory}/box names {directory}\n"
    assert not (TMP / "box names").is_symlink()
    assert not (TMP / "box file").is_symlink()


def test_a_script_that_is_to_start_in_tmp_starts_in_its_directory(directory: Path) -> None:
    ending = boxed(*PYTHON, "import os; print(os.getcwd())", directory=directory, private=False)
    assert ending.output.decode() == f"{directory}\n"


def test_two_at_once_take_turns(directory: Path) -> None:
    code = """
import os, sys, time
assert not os.path.exists(sys.argv[1])
open(sys.argv[1], "w").close()
time.sleep(0.3)
print(open("/tmp/box name").read(), flush=True)
os.unlink(sys.argv[1])
"""
    outputs = {}

    def box(name: str) -> None:
        (directory / name).mkdir()
        (directory / name / "box name").write_text(name)
        ending = boxed(*PYTHON, code, str(directory / "busy"), directory=directory / name, private=False)
        outputs[name] = ending.output.decode().strip()

    threads = [threading.Thread(target=box, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {"one": "one", "two": "two", "three": "three"}


def test_no_limit_counts_the_waiting(directory: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    threading.Timer(1.0, holder.kill).start()
    ending = boxed("true", directory=directory, private=False)
    holder.communicate()
    assert ending.why is None
    assert ending.wall_s < 1.0


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_somebody_else_has_there_is_refused_and_kept(directory: Path, kind: str) -> None:
    theirs = TMP / f"box {directory.name} taken"
    (directory / "box first").mkdir()
    (directory / theirs.name).mkdir()
    if kind == "folder":
        theirs.mkdir()
    elif kind == "file":
        theirs.write_text("theirs")
    else:
        theirs.symlink_to("/box of nobody")
    try:
        with pytest.raises(InputError, match=r"taken exists already.*move it away"):
            boxed("true", directory=directory, private=False)
        assert not (TMP / "box first").is_symlink()
        assert os.path.lexists(theirs)
        assert kind != "folder" or (theirs.is_dir() and not theirs.is_symlink())
    finally:
        theirs.rmdir() if kind == "folder" else theirs.unlink()


def test_links_that_a_killed_process_left_are_replaced(directory: Path) -> None:
    (directory / "old" / "box link").mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory / "old")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    assert (TMP / "box link").is_symlink()
    (directory / "new").mkdir()
    (directory / "new" / "box link").write_text("new")
    ending = boxed("cat", str(TMP / "box link"), directory=directory / "new", private=False)
    assert ending.output == b"new"
    assert not (TMP / "box link").is_symlink()


def test_only_links_that_are_still_as_they_were_made_are_removed(directory: Path) -> None:
    (directory / "box link").mkdir()
    with turn(directory):
        (TMP / "box link").unlink()
        (TMP / "box link").mkdir()  # somebody's own by now
    assert (TMP / "box link").is_dir()
    (TMP / "box link").rmdir()


def test_a_list_that_was_cut_off_by_a_kill_is_no_obstacle(directory: Path) -> None:
    with turn(directory):
        pass
    LOCK.write_text(json.dumps({str(TMP / "box a"): "/box b"})[:-3])
    with turn(directory):
        pass
    assert LOCK.read_text() == ""


def test_the_turn_lasts_until_the_script_is_gone_even_if_its_caller_was_killed(directory: Path) -> None:
    code = f"""
from pathlib import Path
from scripting.boxes import PYTHON, boxed
script = "import signal, time; open('{directory}/ready', 'w').close(); time.sleep(60)"
boxed(*PYTHON, script, directory=Path({str(directory)!r}), private=False)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    caller = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until((directory / "ready").exists, "the script is ready")
    caller.kill()
    with turn(directory):
        assert left_of(directory) == []
    caller.wait()


def test_waiting_for_a_turn_can_be_interrupted(directory: Path) -> None:
    with turn(directory):
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        waits = re.compile(rf"-> FLOCK .* {waiting.pid} .*:{LOCK.stat().st_ino} ")
        wait_until(lambda: waits.search(Path("/proc/locks").read_text()), "it waits")
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors


def test_the_links_are_gone_when_the_script_is_even_if_its_caller_was_killed(directory: Path) -> None:
    (directory / "box link").mkdir()
    (directory / "box link" / "file").touch()
    code = f"""
from pathlib import Path
from scripting.boxes import PYTHON, boxed
script = "import time; open('/tmp/box link/ready', 'w').close(); time.sleep(60)"
boxed(*PYTHON, script, directory=Path({str(directory)!r}), private=False)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    caller = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until((directory / "box link" / "ready").exists, "the script is ready")
    caller.kill()
    caller.wait()
    wait_until(lambda: not (TMP / "box link").is_symlink(), "its link is gone")
    assert left_of(directory) == []


def test_what_a_box_leaves_that_is_killed_itself_is_ended_too(directory: Path) -> None:
    code = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if os.fork() == 0:
            os.execve("/bin/sh", ["sh", "-c", "while :; do echo for ever; done"], {"BOX_OF": os.environ["BOX_OF"]})
        while True:
            try:
                print("for ever " * 1000, flush=True)
            except OSError:
                pass  # nobody reads any more: it lives on, since by it the one without the variable is known
    os._exit(0)
os.wait()
time.sleep(0.2)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(60)
"""
    (directory / "box link").mkdir()
    with pytest.raises(WorkerError, match="the process that ran the script ended before it"):
        boxed(*PYTHON, code, directory=directory, private=False)
    assert left_of(directory) == []
    assert not (TMP / "box link").is_symlink()


def test_orphans_are_adopted_only_while_a_script_runs(directory: Path) -> None:
    boxed("true", directory=directory, private=False)
    assert not adopts_orphans()


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_lock_of_another_user_is_refused_and_says_whose_it_is(directory: Path, mode: int) -> None:
    directory.chmod(0o777)
    lock = TMP / f"skyfan-scripts-{SOMEBODY}.lock"
    lock.touch()
    lock.chmod(mode)
    try:
        done = as_somebody(
            """
import os
from pathlib import Path
from skyfan.errors import InputError
from skyfan.scripting.turns import turn
try:
    with turn(Path(os.environ["DIRECTORY"])):
        print("mine")
except InputError as error:
    print(error)
""",
            directory,
        )
    finally:
        lock.unlink()
    assert done.stderr == b""
    assert re.match(
        rf"{lock} cannot be used.*: it belongs to user 0; expected a file of user {SOMEBODY}", done.stdout.decode()
    )
    assert b"remove it" in done.stdout


def test_root_says_whose_lock_it_cannot_use(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file somebody else's")
    LOCK.unlink(missing_ok=True)
    LOCK.touch()
    os.chown(LOCK, SOMEBODY, SOMEBODY)
    try:
        with pytest.raises(InputError, match=f"{LOCK} cannot be used.* belongs to user {SOMEBODY}.*remove it"):
            boxed("true", directory=directory, private=False)
    finally:
        LOCK.unlink()
