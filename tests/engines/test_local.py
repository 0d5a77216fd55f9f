"""What is the local engine's own: its processes, their pipes and their last words."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engines.maps import QUICK, run
from skyfan.engines.base import Engine, Work
from skyfan.engines.local import LocalEngine
from skyfan.errors import WorkerError
from skyfan.mapping import Policy, fan_out
from skyfan.scripting.boxing import can_be_private
from skyfan.scripting.removing import remove_tree

Open = Callable[..., Engine]
TMP = Path("/tmp")
DRIVER = """
import sys
from skyfan.engines.base import Work
from skyfan.engines.local import LocalEngine
with LocalEngine(Work("local_works:box", sys.argv[1]), 1, 60.0) as engine:
    engine.submit(0, 1, b"")
    engine.wait(60)
"""
WORKS = """
import os, sys, tempfile
from pathlib import Path
from skyfan.scripting.boxing import run_boxed
from skyfan.scripting.limits import Limits

WRITER = '''
import os, sys
place, number = os.environ.get("TMPDIR", "/tmp"), 0
while True:
    try:
        os.makedirs(f"{place}/{number % 1000}/inner", exist_ok=True)
        open(f"{place}/{number}.data", "w").close()
    except OSError:
        pass
    number += 1
    if number == 100:
        open(sys.argv[1] + "/ready", "w").close()
'''

def box(context):
    signs, private = context.split("|")

    def run(item, attempt):
        directory = Path(tempfile.mkdtemp(prefix="skyfan-task-"))
        (directory / "box of an engine").mkdir()
        run_boxed(
            [sys.executable, "-S", "-c", WRITER, signs],
            directory=directory,
            cwd="/tmp",
            environment={},
            limits=Limits(timeout_s=60),
            shown=[Path(signs), Path(sys.prefix), Path(sys.base_prefix)],
            private=private == "private",
        )

    return run

def nest(context):
    def run(item, attempt):
        os.chdir(tempfile.gettempdir())
        for _ in range(1500):
            os.mkdir("deeper")
            os.chdir("deeper")
        return b""

    return run
"""


def test_a_worker_that_dies_idle_is_no_items_failure(open_local: Open) -> None:
    engine = open_local({})
    for worker in psutil.Process().children():
        worker.kill()
        worker.wait()
    mapped, _ = run(engine, 4, Policy(max_attempts=1))
    assert mapped.succeeded == 4


def test_a_large_item_does_not_wait_for_a_worker_that_is_still_loading(open_local: Open) -> None:
    engine = open_local({}, workers=1)
    started = time.monotonic()
    engine.submit(0, 1, b"x" * 500_000)
    assert time.monotonic() - started < 0.1
    assert engine.wait(60)[0].error is None


def test_last_words_of_a_dead_worker_are_kept(open_local: Open) -> None:
    mapped, _ = run(open_local({0: ["exit"]}), 1)
    assert "exit code 7; its last words: these are my last words" in mapped.failed[0].message


def test_a_worker_that_is_killed_says_by_what(open_local: Open) -> None:
    mapped, _ = run(open_local({1: ["die"]}), 2, Policy(max_attempts=1, tolerated_failures=1))
    assert "SIGKILL" in mapped.failed[1].message


def test_what_check_raises_ends_the_workers(open_local: Open) -> None:
    before = psutil.Process().children()
    engine = open_local({0: ["hang"]})

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine:
        fan_out(engine, {0: b"0"}, QUICK, lambda event: None, stop)
    assert psutil.Process().children() == before


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where workers have their temporary directories; what they do is `WORKS`."""
    (tmp_path / "local_works.py").write_text(WORKS)
    (tmp_path / "signs").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    remove_tree(tmp_path / "scratch")  # a test that failed must not leave what pytest cannot remove


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("private", ["private", "shared"])
def test_a_script_that_writes_on_leaves_nothing_when_the_driver_ends(
    places: Path, private: str, by: signal.Signals
) -> None:
    if private == "private" and not can_be_private():
        pytest.skip("this system permits no private mount namespace")
    command = [sys.executable, "-c", DRIVER, f"{places / 'signs'}|{private}"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until((places / "signs" / "ready").exists)
        all_of_it = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.send_signal(by)
        driver.wait()
    psutil.wait_procs(all_of_it, timeout=30)
    wait_until(lambda: not list((places / "scratch").iterdir()))
    time.sleep(0.3)
    assert not any(process.is_running() for process in all_of_it)
    assert list((places / "scratch").iterdir()) == []
    assert not (TMP / "box of an engine").is_symlink()


def test_what_a_task_nests_is_removed_and_fails_nothing(places: Path) -> None:
    with LocalEngine(Work("local_works:nest", ""), 1, 60.0) as engine:
        engine.submit(0, 1, b"")
        assert engine.wait(60)[0].error is None
        assert len(list((places / "scratch").iterdir())) == 1
    assert list((places / "scratch").iterdir()) == []


def test_without_a_temporary_directory_it_is_told_what_to_do(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/none")
    with pytest.raises(WorkerError, match=r"a temporary file cannot be made at /none.*TMPDIR"):
        LocalEngine(Work("local_works:nest", ""), 1, 60.0)


def wait_until(condition: Callable[[], object]) -> None:
    """Wait, but not for ever."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
