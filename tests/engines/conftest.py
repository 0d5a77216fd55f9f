"""Every engine, under one suite."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
import pytest

from engines.dask_site import Site
from skyfan.engines.base import Engine, Work
from skyfan.engines.clusters import Cluster, Scheduler
from skyfan.engines.dask import DaskEngine
from skyfan.engines.local import LocalEngine
from skyfan.engines.local_cluster import LocalWorkers

Open = Callable[..., Engine]


@pytest.fixture
def works_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started import `works`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def _shared_cluster() -> Iterator[LocalWorkers]:
    """Two workers that a module's tests share, since they take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        cluster = LocalWorkers(2)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of other people's with two workers, for all tests of whole runs: its scheduler file."""
    cluster = Site(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.add()
        cluster.add()
        yield str(cluster.file)
    finally:
        cluster.end()


def certified(cluster: LocalWorkers) -> Any:
    """Have Dask's settings name a cluster's certificate, as users do who have a scheduler with TLS."""
    security = cluster.client.security
    files = {"ca-file": security.tls_ca_file, "client.cert": security.tls_client_cert}
    files["client.key"] = security.tls_client_key
    return dask.config.set({f"distributed.comm.tls.{name}": file for name, file in files.items()})


@pytest.fixture(params=["local", "dask"])
def open_engine(request: pytest.FixtureRequest, works_are_found: None) -> Iterator[Open]:
    """Open an engine whose workers follow a plan, see `works.scripted`."""
    with ExitStack() as stack:

        def on_dask(work: Work, plan: dict[int, list[str]], workers: int, timeout_s: float) -> Engine:
            cluster: Cluster
            if workers != 2 or ["hang"] in plan.values():  # it would go on hanging in the next test's worker
                cluster = LocalWorkers(workers)
            else:
                shared: LocalWorkers = request.getfixturevalue("_shared_cluster")
                shared.client.wait_for_workers(2, timeout=30)  # one may be about to come back
                with certified(shared):
                    cluster = Scheduler(shared.client.scheduler.address)
            return DaskEngine(work, cluster, timeout_s)

        def start(
            plan: dict[int, list[str]], *, workers: int = 2, timeout_s: float = 60.0, function: str = "works:scripted"
        ) -> Engine:
            work = Work(function, json.dumps(plan))
            if request.param == "local":
                return stack.enter_context(LocalEngine(work, workers, timeout_s))
            return stack.enter_context(on_dask(work, plan, workers, timeout_s))

        yield start


@pytest.fixture
def open_local(works_are_found: None) -> Iterator[Open]:
    """Open the local engine, whose workers follow a plan."""
    with ExitStack() as stack:

        def start(plan: dict[int, list[str]], *, workers: int = 2, timeout_s: float = 60.0) -> Engine:
            return stack.enter_context(LocalEngine(Work("works:scripted", json.dumps(plan)), workers, timeout_s))

        yield start
