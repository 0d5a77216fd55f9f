"""Where the workers of a Dask cluster come from: a scheduler that runs, processes of this machine, or jobs of Slurm."""

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skyfan.errors import InputError
from skyfan.host import usable_cores

if TYPE_CHECKING:
    from distributed import Client

LOCAL, SLURM = "local", "slurm"
CONNECT_S = 8.0
CLOSE_S = 10.0
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Options of a scheduler of ours: its page is off, and its metrics are on a port that no other program uses."""
_PATIENCE_S = 300.0


class Cluster(Protocol):
    """A connected cluster. Close it: that ends its workers if they are ours."""

    name: str
    """As a message begins with it."""
    client: "Client"
    patience_s: float
    """Seconds without any worker after which it counts as gone."""
    advice: str
    """What to do if no worker comes."""

    async def tend(self) -> None:
        """Bring back what of its workers is gone for good. Called now and then, on the client's loop."""
        ...

    def close(self) -> None: ...


def open_cluster(scheduler: str | None, options: Path | None, workers: int | None) -> Cluster:
    """Connect to a cluster, or start one.

    Parameters
    ----------
    scheduler : str, optional
        Address of a scheduler (`tcp://host:8786`, `tls://...`), path of its scheduler file (`*.json`), `slurm`, or
        `local`, the default.
    options : Path, optional
        File of `skyfan.engines.cluster_options`; for `slurm`.
    workers : int, optional
        How many processes are to be started; by default one a core here, or what the options say.

    Returns
    -------
    Cluster

    Raises
    ------
    InputError
        If it cannot be reached or started as it is asked for, or Dask is not installed.
    """
    _check_installed(jobs=scheduler == SLURM)
    if options is not None and scheduler != SLURM:
        raise InputError(f"cluster options: got {options} with the scheduler {scheduler or LOCAL}; expected 'slurm'")
    if scheduler in (None, LOCAL):
        from skyfan.engines.local_cluster import LocalWorkers

        return LocalWorkers(workers or usable_cores())
    if scheduler == SLURM:
        from skyfan.engines.cluster_options import ClusterOptions, load_cluster_options
        from skyfan.engines.slurm import SlurmJobs

        return SlurmJobs(ClusterOptions() if options is None else load_cluster_options(options), workers)
    if workers is not None:
        raise InputError(
            f"workers: got {workers} with the scheduler {scheduler}; expected none: its workers are there, limit what "
            "runs at once with max_concurrency"
        )
    return Scheduler(scheduler)


def _check_installed(*, jobs: bool) -> None:
    try:
        import distributed  # noqa: F401

        if jobs:
            import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise InputError(f"engine 'dask' needs the extra: pip install 'skyfan[dask]' ({error})") from error


class Scheduler:
    """A cluster that is there already; its workers come and go without us.

    Parameters
    ----------
    where : str
        Its scheduler's address, or the path of its scheduler file.
    connect_s : float
        How long to try.
    """

    patience_s = _PATIENCE_S
    advice = "start some, with 'dask worker' and the scheduler's address"

    def __init__(self, where: str, connect_s: float = CONNECT_S) -> None:
        from distributed import Client

        address = _read_address(Path(where)) if where.endswith(".json") else where
        self.name = f"scheduler {where}"
        with ExitStack() as stack:
            stack.enter_context(quiet())
            try:
                _knock(address, connect_s)
                self.client = Client(address, timeout=connect_s, set_as_default=False)
            except Exception as error:
                raise InputError(
                    f"{self.name}: it does not answer ({_in_words(error, connect_s)}); expected the address of a Dask "
                    "scheduler, such as tcp://host:8786: see that it runs and that this machine may reach its port"
                ) from error
            stack.callback(close_client, self.client)
            self._closing = stack.pop_all()

    async def tend(self) -> None:
        """Do nothing: others look after it."""

    def close(self) -> None:
        self._closing.close()


def _read_address(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"scheduler {path}: no scheduler file ({error}); expected the file of 'dask scheduler --scheduler-file', "
            "on a disk that both see"
        ) from error


def _knock(address: str, connect_s: float) -> None:
    """Shake hands with a scheduler; a client would wait for ever for one that is another program, or does not move."""
    from distributed.comm import connect
    from distributed.security import Security

    async def shake() -> None:
        async with asyncio.timeout(connect_s):
            comm = await connect(address, timeout=connect_s, **Security().get_connection_args("client"))
        await comm.close()

    with ThreadPoolExecutor(1) as pool:  # the caller's own thread may have a loop that runs, as in a notebook
        pool.submit(lambda: asyncio.run(shake())).result()


def _in_words(error: Exception, connect_s: float) -> str:
    words = str(error.__cause__ or error).strip()
    return f"{type(error).__name__}: {words}" if words else f"no word from it in {connect_s:g} s"


def close_client(client: "Client") -> None:
    """Disconnect; a scheduler that is gone must not keep us waiting."""
    with suppress(OSError, TimeoutError):
        client.close(timeout=CLOSE_S)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep off the terminal what Dask logs: workers that go and come are normal here, and what is not is raised."""
    handlers = logging.getLogger("distributed").handlers
    before = {handler: handler.level for handler in handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in before.items():
            handler.setLevel(level)
