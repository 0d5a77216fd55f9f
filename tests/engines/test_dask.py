"""What the Dask engine does when the cluster of others fails it: the cluster is real, and so are its failures."""

import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

import skyfan
from engines.dask_site import Site, wait_for, worker_of
from engines.maps import QUICK, hurt_after, items, results, run
from skyfan.engines.base import Work
from skyfan.engines.clusters import Scheduler, open_cluster
from skyfan.engines.dask import DaskEngine
from skyfan.errors import ClusterError, InputError
from skyfan.mapping import Event, Policy, Retrying, fan_out

OpenOn = Callable[..., DaskEngine]


@pytest.fixture(scope="module")
def _scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    opened = Site(tmp_path_factory.mktemp("site"))
    yield opened
    opened.end()


@pytest.fixture
def site(_scheduler: Site) -> Iterator[Site]:
    """A cluster whose scheduler other tests use too; its workers are a test's own."""
    yield _scheduler
    _scheduler.end_workers()


@pytest.fixture
def doomed_site(tmp_path: Path) -> Iterator[Site]:
    """A cluster whose scheduler may be hurt."""
    opened = Site(tmp_path)
    yield opened
    opened.end()


@pytest.fixture
def open_on() -> Iterator[OpenOn]:
    """Open an engine on a site, whose workers follow a plan."""
    with ExitStack() as stack:

        def start(
            site: Site, plan: dict[int, list[str]], *, timeout_s: float = 60.0, patience_s: float = 60.0
        ) -> DaskEngine:
            work = Work("works:scripted", json.dumps(plan))
            return stack.enter_context(DaskEngine(work, site.connect(), timeout_s, patience_s=patience_s))

        yield start


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(site: Site, open_on: OpenOn) -> None:
    first, _ = site.add(), site.add()
    engine = open_on(site, {number: ["0.1"] for number in range(40)})
    wait_for(lambda: engine.slots == 2, "two workers did not come")
    events: list[Event] = []
    mapped = fan_out(engine, items(40), QUICK, hurt_after(events, 6, lambda: worker_of(first).kill()))
    assert mapped.succeeded == 40
    assert sorted(results(events)) == list(range(40))
    assert mapped.retries <= 1
    assert all("ended" in event.error.message for event in events if isinstance(event, Retrying))


def test_workers_that_leave_are_made_up_for_by_others(site: Site, open_on: OpenOn) -> None:
    leaving, _ = site.add("--no-nanny"), site.add("--no-nanny")
    engine = open_on(site, {number: ["0.1"] for number in range(20)})
    wait_for(lambda: engine.slots == 2, "two workers did not come")
    events: list[Event] = []
    mapped = fan_out(engine, items(20), QUICK, hurt_after(events, 4, leaving.kill))
    assert mapped.succeeded == 20
    assert engine.slots == 1


def test_workers_that_come_late_are_used(site: Site, open_on: OpenOn) -> None:
    engine = open_on(site, {number: ["0.2"] for number in range(30)})
    assert engine.slots == 0
    site.add()
    events: list[Event] = []
    mapped = fan_out(engine, items(30), QUICK, hurt_after(events, 3, site.add))
    assert mapped.succeeded == 30
    assert engine.slots == 2
    assert len({result["pid"] for result in results(events).values()}) == 2


def test_a_scheduler_that_is_killed_ends_the_map_and_says_how_to_go_on(doomed_site: Site, open_on: OpenOn) -> None:
    doomed_site.add()
    engine = open_on(doomed_site, {number: ["0.1"] for number in range(100)})
    wait_for(lambda: engine.slots == 1, "no worker came")
    killed_at: list[float] = []

    def kill() -> None:
        killed_at.append(time.monotonic())
        doomed_site.scheduler.kill()

    with pytest.raises(ClusterError, match=r"json: the scheduler went away.*run the same payload again"), engine:
        fan_out(engine, items(100), QUICK, hurt_after([], 3, kill))
    assert time.monotonic() - killed_at[0] < 30


def test_a_scheduler_that_does_not_move_is_given_up(
    doomed_site: Site, open_on: OpenOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyfan.engines.dask.SILENCE_S", 2.0)
    doomed_site.add()
    engine = open_on(doomed_site, {number: ["0.1"] for number in range(100)})
    wait_for(lambda: engine.slots == 1, "no worker came")
    stop = partial(doomed_site.scheduler.send_signal, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(ClusterError, match="the scheduler went away"), engine:
        fan_out(engine, items(100), QUICK, hurt_after([], 3, stop))
    assert time.monotonic() - started < 40


def test_a_cluster_without_workers_is_given_up(site: Site, open_on: OpenOn) -> None:
    with pytest.raises(ClusterError, match=r"no worker took tasks for 0:02.*'dask worker'"):
        run(open_on(site, {}, patience_s=2.0), 3)


@pytest.mark.parametrize(
    "where", ["tcp://127.0.0.1:1", "127.0.0.1:1", "carrier-pigeon://loft", "tcp://no.such.host.invalid:8786"]
)
def test_a_scheduler_that_is_not_there_is_said(where: str) -> None:
    with pytest.raises(InputError, match=f"scheduler {where}: it does not answer"):
        Scheduler(where, connect_s=0.5)


def test_a_connection_that_is_refused_is_said_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"it does not answer \(ConnectionRefusedError: .*Connection refused\)"):
        Scheduler("tcp://127.0.0.1:1", connect_s=60)
    assert time.monotonic() - started < 20


def test_a_program_that_is_no_scheduler_is_said_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        with pytest.raises(InputError, match="it does not answer"):
            open_cluster(f"tcp://127.0.0.1:{server.getsockname()[1]}", None, None)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("content", [None, "", "[]", '{"workers": {}}'])
def test_a_file_that_is_no_scheduler_file_is_said(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "scheduler.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="no scheduler file"):
        open_cluster(str(path), None, None)


def test_how_many_workers_others_have_is_not_ours_to_say() -> None:
    with pytest.raises(InputError, match="workers: got 4 with the scheduler tcp://host:8786"):
        open_cluster("tcp://host:8786", None, 4)


def test_a_worker_with_another_version_ends_the_map_and_says_what_to_install(site: Site, open_on: OpenOn) -> None:
    site.add("--preload", site.preload("import skyfan\nskyfan.__version__ = '0.0.0'\n"))
    mapped, _ = run(open_on(site, {}), 3)
    assert mapped.cause is not None
    assert mapped.cause.exit_code == 2
    assert "has skyfan 0.0.0" in mapped.cause.message
    assert f"expected skyfan {skyfan.__version__}, as here: install the same there" in mapped.cause.message


def test_a_worker_without_skyfan_ends_the_map_and_says_what_to_install(site: Site, open_on: OpenOn) -> None:
    site.add("--preload", site.preload("import sys\nsys.modules['skyfan'] = None\n"))
    mapped, _ = run(open_on(site, {}), 3)
    assert mapped.cause is not None
    assert f"expected skyfan {skyfan.__version__}, as here: install the same there" in mapped.cause.message


def test_an_item_beside_one_that_took_too_long_is_done_again_without_counting_it(site: Site, open_on: OpenOn) -> None:
    site.add(threads=2)
    engine = open_on(site, {0: ["hang", "ok"], 1: ["1.5"]}, timeout_s=2.5)
    wait_for(lambda: engine.slots == 2, "the worker did not come")
    engine.submit(0, 1, b"0")
    time.sleep(1.5)  # so that the other is in the middle when the first is late
    engine.submit(1, 1, b"1")
    outcomes = [*engine.wait(30), *engine.wait(30)]
    assert sorted((outcome.number, outcome.error is None) for outcome in outcomes) == [(0, False), (1, True)]
    assert "passed its time limit, task_timeout_s 2.5, and was ended" in str(outcomes)


def test_where_there_is_no_nanny_a_thread_is_lost_and_that_is_said(site: Site, open_on: OpenOn) -> None:
    site.add("--no-nanny", threads=2)
    engine = open_on(site, {0: ["hang", "ok"]}, timeout_s=1.0)
    wait_for(lambda: engine.slots == 2, "the worker did not come")
    mapped, events = run(engine, 3)
    assert mapped.succeeded == 3
    (retry,) = [event for event in events if isinstance(event, Retrying)]
    assert "passed its time limit, task_timeout_s 1; it cannot be ended" in retry.error.message
    assert engine.slots == 1


def test_the_time_of_an_item_begins_when_a_worker_begins_it(site: Site, open_on: OpenOn) -> None:
    site.add()
    busy = open_on(site, {0: ["3"]})
    wait_for(lambda: busy.slots == 1, "the worker did not come")
    waiting = open_on(site, {0: ["0.1"]}, timeout_s=1.0)
    busy.submit(0, 1, b"0")
    time.sleep(0.3)
    waiting.submit(0, 1, b"0")
    assert waiting.wait(30)[0].error is None


def test_leaving_others_cluster_lets_it_live(site: Site, open_on: OpenOn) -> None:
    nanny = site.add()
    engine = open_on(site, {0: ["hang"]})
    wait_for(lambda: engine.slots == 1, "the worker did not come")
    engine.submit(0, 1, b"0")
    time.sleep(0.5)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 10
    assert worker_of(nanny).is_running()
    assert site.scheduler.poll() is None


def test_another_version_of_dask_alone_is_not_worth_a_warning(site: Site, open_on: OpenOn) -> None:
    site.add("--preload", site.preload("import distributed.versions as it\nit._version_cached = lambda name: '0'\n"))
    first = open_on(site, {})
    wait_for(lambda: first.slots == 1, "the worker did not come")
    mapped, _ = run(open_on(site, {}), 1)  # a warning would be an error here
    assert mapped.succeeded == 1


def test_dask_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"engine 'dask': .*distributed.*pip install '\.\[dask\]'"):
        open_cluster(None, None, 1)


def test_attempts_on_dask_end_as_elsewhere(site: Site, open_on: OpenOn) -> None:
    site.add()
    mapped, _ = run(open_on(site, {0: ["die"]}), 2, Policy(max_attempts=2, backoff_s=0.01, tolerated_failures=1))
    assert mapped.succeeded == 1
    assert "as when its memory runs out" in mapped.failed[0].message
