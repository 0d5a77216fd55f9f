"""A cluster of Slurm's jobs: they are asked for, replaced when they end, and gone afterwards."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed.security import Security

from engines.dask_site import knock, wait_for
from engines.maps import QUICK, results
from engines.slurm.conftest import jobs
from skyfan.engines.base import Work
from skyfan.engines.clusters import open_cluster
from skyfan.engines.dask import DaskEngine
from skyfan.errors import ClusterError, InputError
from skyfan.mapping import Event, fan_out

OPTIONS = "queue: debug\ninterface: lo\nmemory: 200 MiB\nwalltime: '10:00'\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a file of options; jobs run in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skyfan.engines.dask.TEND_EVERY_S", 1.0)

    def start(more: str = "") -> Path:
        path = tmp_path / "options.yaml"
        path.write_text(f"{OPTIONS}local_directory: {tmp_path}\n{more}")
        return path

    return start


def open_engine(options: Path, plan: dict[int, list[str]], workers: int | None = None) -> DaskEngine:
    return DaskEngine(
        Work("works:scripted", json.dumps(plan)), open_cluster("slurm", options, workers), 60, patience_s=40
    )


def items(count: int) -> dict[int, bytes]:
    return {number: str(number).encode() for number in range(count)}


def test_items_are_done_and_nothing_is_left(slurm: Path, write: Callable[[str], Path], tmp_path: Path) -> None:
    events: list[Event] = []
    with open_engine(write("jobs: 2"), {number: ["0.3"] for number in range(20)}) as engine:
        wait_for(lambda: engine.slots == 2, "two workers did not come")
        assert len(jobs()) == 2
        mapped = fan_out(engine, items(20), QUICK, events.append)
    assert mapped.succeeded == 20
    assert len({result["pid"] for result in results(events).values()}) == 2
    wait_for(lambda: not jobs(), "jobs are left")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s")] == []


def test_nobody_comes_in_without_the_certificate(slurm: Path, write: Callable[[str], Path], tmp_path: Path) -> None:
    cluster = open_cluster("slurm", write(""), None)
    try:
        (key,) = tmp_path.glob("*/*.key")
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700
        cluster.client.wait_for_workers(1, timeout=60)
        addresses = [cluster.client.scheduler.address, *cluster.client.scheduler_info()["workers"]]
        assert [address.partition("://")[0] for address in addresses] == ["tls", "tls"]
        for address in addresses:
            assert knock(address, cluster.client.security) is None
            assert isinstance(knock(address, Security.temporary()), OSError)
    finally:
        cluster.close()


def test_a_job_that_is_cancelled_in_the_middle_is_replaced(slurm: Path, write: Callable[[str], Path]) -> None:
    events: list[Event] = []
    first: list[str] = []

    def watch(event: Event) -> None:
        events.append(event)
        if len(events) == 3:
            first.extend(jobs())
            subprocess.run(["scancel", first[0]], check=True)

    with open_engine(write(""), {number: ["0.3"] for number in range(12)}, workers=1) as engine:
        mapped = fan_out(engine, items(12), QUICK, watch)
        second = jobs()
    assert mapped.succeeded == 12
    assert mapped.retries == 1
    assert len(second) == 1
    assert second != first


def test_jobs_that_end_before_a_worker_comes_end_the_map_with_their_last_words(
    slurm: Path, write: Callable[[str], Path]
) -> None:
    options = write("python: no-such-python\n")
    with pytest.raises(ClusterError, match=r"3 jobs in a row .*no-such-python"), open_engine(options, {}) as engine:
        fan_out(engine, items(1), QUICK, lambda event: None)


def test_a_job_that_slurm_does_not_take_is_said_at_once(slurm: Path, write: Callable[[str], Path]) -> None:
    options = write("job_extra_directives: [--partition=no-such-queue]")
    with pytest.raises(InputError, match=r"Slurm does not take them .*invalid partition"):
        open_cluster("slurm", options, None)


@pytest.mark.parametrize("after_s", [0.05, 0.2, 0.8])
def test_an_interrupt_while_jobs_are_asked_for_leaves_none(
    slurm: Path, write: Callable[[str], Path], tmp_path: Path, after_s: float
) -> None:
    code = """
import sys, time
from contextlib import closing
from pathlib import Path
import skyfan.engines.slurm
from skyfan.engines.clusters import open_cluster
try:
    print(1, flush=True)
    with closing(open_cluster("slurm", Path(sys.argv[1]), None)):
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(write("jobs: 2"))], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        time.sleep(after_s)
        driver.send_signal(signal.SIGINT)
        try:
            _, said = driver.communicate(timeout=30)
        finally:
            driver.kill()
    assert (driver.returncode, said) == (130, b"")
    wait_for(lambda: not jobs(), "jobs are left")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s")] == []


def test_a_network_that_there_is_not_is_said(slurm: Path, write: Callable[[str], Path]) -> None:
    options = write("")
    options.write_text(options.read_text().replace("interface: lo", "interface: no-such-network"))
    with pytest.raises(InputError, match=r"it cannot be started .*no-such-network.*; see the cluster options"):
        open_cluster("slurm", options, None)
