"""What becomes of a cluster that skyfan starts on this machine: who gets in, and that nothing of it is left."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed.security import Security

from engines.dask_site import knock, wait_for
from engines.maps import QUICK, hurt_after, items
from skyfan.engines.base import Work
from skyfan.engines.dask import DaskEngine
from skyfan.engines.local_cluster import LocalWorkers, end_workers
from skyfan.engines.quiet import quiet
from skyfan.errors import ClusterError
from skyfan.mapping import fan_out


@pytest.mark.usefixtures("works_are_found")
def test_leaving_our_own_cluster_ends_all_its_processes(capfd: pytest.CaptureFixture[str]) -> None:
    before, threads = set(psutil.Process().children(recursive=True)), threading.active_count()
    engine = DaskEngine(Work("works:scripted", '{"0": ["hang"]}'), LocalWorkers(2), 60)
    started = set(psutil.Process().children(recursive=True)) - before

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine:
        fan_out(engine, items(3), QUICK, lambda event: interrupt())
    assert len(started) >= 3
    assert not any(process.is_running() for process in started)
    assert threading.active_count() <= threads + 1  # Dask keeps one for its offloaded work
    assert capfd.readouterr() == ("", "")


def test_our_own_workers_end_when_their_driver_is_killed(tmp_path: Path) -> None:
    start = "from skyfan.engines.local_cluster import LocalWorkers; LocalWorkers(1)"
    code = f"import time; {start}; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        started = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert len(started) >= 2
    assert alive == []


@pytest.mark.usefixtures("works_are_found")
def test_our_own_workers_are_started_again_when_their_nannies_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyfan.engines.dask.TEND_EVERY_S", 1.0)
    cluster = LocalWorkers(1)
    (nannies,) = [process for process in psutil.Process().children() if "dask_worker" in " ".join(process.cmdline())]
    with DaskEngine(
        Work("works:scripted", json.dumps({number: ["0.1"] for number in range(20)})), cluster, 60
    ) as engine:
        mapped = fan_out(engine, items(20), QUICK, hurt_after([], 3, nannies.kill))
    assert mapped.succeeded == 20


def test_our_own_cluster_lets_nobody_in_without_its_certificate() -> None:
    cluster = LocalWorkers(1)
    try:
        workers = cluster.client.scheduler_info()["workers"]
        addresses = [cluster.client.scheduler.address, *workers, *(worker["nanny"] for worker in workers.values())]
        assert len(addresses) == 3
        for address in addresses:
            assert knock(address, cluster.client.security) is None
            assert isinstance(knock(address, Security.temporary()), OSError)
            assert isinstance(knock(address.replace("tls://", "tcp://"), Security()), OSError)
    finally:
        cluster.close()


def test_the_key_of_our_own_cluster_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0)
    cluster = LocalWorkers(1)
    try:
        (key,) = tmp_path.glob("*/*.key")
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
        cluster.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "after_s"),
    [(signal.SIGINT, 0.02), (signal.SIGINT, 0.1), (signal.SIGINT, 0.2), (signal.SIGINT, 0.3), (signal.SIGTERM, 0.1)],
)
def test_an_interrupt_while_a_cluster_is_opened_ends_all(tmp_path: Path, number: int, after_s: float) -> None:
    code = """
import signal, sys, time
import skyfan.engines.local_cluster
from contextlib import closing
from skyfan.engines.clusters import open_cluster
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print(1, flush=True)
    with closing(open_cluster(None, None, 1)):
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        time.sleep(after_s)
        driver.send_signal(number)
        try:
            _, said = driver.communicate(timeout=15)
        finally:
            driver.kill()
    assert (driver.returncode, said) == (130, b"")
    assert [process for process in psutil.process_iter() if works_in(process, tmp_path)] == []
    assert list(tmp_path.iterdir()) == []


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("TMPDIR") == str(folder)
    except psutil.Error:
        return False


def test_an_interrupt_of_an_end_leaves_no_stopped_process(monkeypatch: pytest.MonkeyPatch) -> None:
    children = psutil.Process.children

    def interrupted(process: psutil.Process, *, recursive: bool) -> list[psutil.Process]:
        signal.raise_signal(signal.SIGINT)
        return children(process, recursive=recursive)

    monkeypatch.setattr(psutil.Process, "children", interrupted)
    with subprocess.Popen(["sh", "-c", "sleep 600 & wait"]) as parent:
        wait_for(lambda: children(psutil.Process(parent.pid)), "it started no other")
        (child,) = children(psutil.Process(parent.pid))
        with pytest.raises(KeyboardInterrupt):
            end_workers(parent)
        assert parent.returncode == -signal.SIGKILL
        assert not child.is_running()


def test_workers_that_cannot_be_started_are_said_with_their_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no room >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"ended with code 3; expected 2 workers.*last words: no room"):
        LocalWorkers(2)
    assert time.monotonic() - started < 30


@pytest.fixture
def dask_log() -> Iterator[io.StringIO]:
    """What of Dask's log comes to the terminal."""
    stream, logger = io.StringIO(), logging.getLogger("distributed")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_the_log_of_dask_comes_back_when_the_last_cluster_is_closed(dask_log: io.StringIO) -> None:
    logger = logging.getLogger("distributed.scheduler")
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    logger.error("one is open")
    second.__exit__(None, None, None)
    logger.error("none is open")
    assert dask_log.getvalue() == "none is open\n"


@pytest.mark.usefixtures("works_are_found")
def test_leaving_while_a_worker_is_ended_for_its_time_says_nothing(dask_log: io.StringIO) -> None:
    engine = DaskEngine(Work("works:scripted", '{"0": ["hang"]}'), LocalWorkers(1), 1.0)
    nannies = [process for process in psutil.Process().children() if "dask_worker" in " ".join(process.cmdline())]
    (worker,) = [child for child in nannies[0].children() if "spawn_main" in " ".join(child.cmdline())]
    engine.submit(0, 1, b"0")
    time.sleep(0.5)
    worker.suspend()  # so that it does not end when it is asked to
    time.sleep(2)
    engine.close()
    assert not worker.is_running()
    assert dask_log.getvalue() == ""
