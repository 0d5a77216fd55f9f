"""Which engine a run gets, by its name. An engine's module is imported when it is chosen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skyfan.engines.base import Engine, Work
from skyfan.errors import InputError
from skyfan.payload import Payload
from skyfan.storage import Store

LOCAL = "local"
DASK = "dask"
AWS = "aws"
"""Maps by itself, so that it is not opened here: see `skyfan.aws.driver`."""
MAPPED = (LOCAL, DASK)
"""Those whose map `skyfan.pipeline` drives."""
ENGINES = (*MAPPED, AWS)
SCRIPT_GRACE_S = 900.0
"""A script is ended at its time limit by its own worker. An engine ends that if it does not come to it: code may take
long to fetch."""
TURN_GRACE_S = 14 * 86_400.0
"""Where scripts take turns, a worker may wait for others of the same machine for as long as these take."""

OpenEngine = Callable[[Work, int], Engine]
"""Starts an engine: what its workers do, and how many items there are for them."""


@dataclass(frozen=True)
class Wanted:
    """Which engine, and what is asked of it."""

    name: str = LOCAL
    workers: int | None = None
    """Processes; None for as many as fill the cores, or as there are."""
    scheduler: str | None = None
    """Of Dask: an address, a scheduler file, `slurm`, or None for a cluster on this machine."""
    cluster_options: Path | None = None
    """YAML file: what a cluster that is started by Slurm is made of."""


def choose_engine(wanted: Wanted, payload: Payload, store: Store) -> OpenEngine:
    """Return how to start an engine.

    Raises
    ------
    InputError
        If there is none of that name, or it cannot work with this store or these wishes.
    """
    _check(wanted, store)
    return (_dask if wanted.name == DASK else _local)(wanted, payload)


def _grace_s(payload: Payload, *, private: bool) -> float:
    if not payload.is_script:
        return 0.0
    return SCRIPT_GRACE_S if private else TURN_GRACE_S


def _check(wanted: Wanted, store: Store) -> None:
    if wanted.name not in MAPPED:
        raise InputError(f"engine {wanted.name!r}: there is no such engine; expected one of {', '.join(ENGINES)}")
    if wanted.workers is not None and wanted.workers < 1:
        raise InputError(f"workers: got {wanted.workers}; expected 1 or more, or nothing for one per core")
    if not store.shared:
        raise InputError(
            f"store {store.url}: its content is this process's alone; workers need a folder or an S3 server"
        )
    for name, value in (("scheduler", wanted.scheduler), ("cluster_options", wanted.cluster_options)):
        if value is not None and wanted.name != DASK:
            raise InputError(
                f"{name}: got {str(value)!r} with the engine {wanted.name!r}; expected it with 'dask' only"
            )
    if wanted.name == DASK:
        from skyfan.engines.clusters import check_wishes

        check_wishes(wanted.scheduler, wanted.cluster_options, wanted.workers)


def _local(wanted: Wanted, payload: Payload) -> OpenEngine:
    from skyfan.engines.local import LocalEngine, default_workers
    from skyfan.scripting.boxing import can_be_private

    def start(work: Work, items: int) -> Engine:
        workers = min(wanted.workers or default_workers(payload.threads), payload.max_concurrency or items, items)
        private = not payload.is_script or can_be_private()
        workers = workers if private else 1  # they would only wait for each other
        return LocalEngine(work, workers, payload.task_timeout_s, _grace_s(payload, private=private))

    return start


def _dask(wanted: Wanted, payload: Payload) -> OpenEngine:
    from skyfan.engines.clusters import LOCAL as HERE
    from skyfan.engines.clusters import open_cluster
    from skyfan.engines.dask import DaskEngine
    from skyfan.engines.local import default_workers

    def start(work: Work, items: int) -> Engine:
        workers = wanted.workers
        if wanted.scheduler in {None, HERE}:
            workers = min(workers or default_workers(payload.threads), payload.max_concurrency or items, items)
        cluster = open_cluster(wanted.scheduler, wanted.cluster_options, workers)
        grace_s = _grace_s(payload, private=False)  # what the machines of the workers permit is not known here
        return DaskEngine(work, cluster, payload.task_timeout_s, grace_s=grace_s)

    return start
