"""Where the workers of a Dask cluster come from: a scheduler that runs, processes of this machine, or jobs of Slurm."""

import asyncio
import json
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skyfan.engines.interrupts import Closing, same_handlers, uninterrupted
from skyfan.engines.quiet import quiet
from skyfan.errors import InputError
from skyfan.host import usable_cores
from skyfan.wording import with_extra

if TYPE_CHECKING:
    from distributed import Client

LOCAL, SLURM = "local", "slurm"
CONNECT_S = 8.0
CLOSE_S = 10.0
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Options of a scheduler of ours: its page is off, and its metrics are on a port that no other program uses."""
_PATIENCE_S = 300.0
_FILE = ".json"


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
        How many processes are to be started; by default one per core here, or what the options say.

    Returns
    -------
    Cluster

    Raises
    ------
    InputError
        If it cannot be reached or started as it is asked for, or Dask is not installed.
    """
    check_wishes(scheduler, options, workers)
    if scheduler in (None, LOCAL):
        from skyfan.engines.local_cluster import LocalWorkers

        return LocalWorkers(workers or usable_cores())
    if scheduler == SLURM:
        from skyfan.engines.cluster_options import ClusterOptions, load_cluster_options
        from skyfan.engines.slurm import SlurmJobs

        return SlurmJobs(ClusterOptions() if options is None else load_cluster_options(options), workers)
    return Scheduler(scheduler)


def check_wishes(scheduler: str | None, options: Path | None, workers: int | None) -> None:
    """Check what can be checked of a cluster before there is one: nothing is started, written or connected to.

    Parameters
    ----------
    scheduler : str, optional
    options : Path, optional
    workers : int, optional
        All three as for `open_cluster`.

    Raises
    ------
    InputError
        If they do not go together, a file of theirs is not right, or Dask is not installed.
    """
    if options is not None and scheduler != SLURM:
        raise InputError(f"cluster options: got {options} with the scheduler {scheduler or LOCAL}; expected 'slurm'")
    if workers is not None and scheduler not in (None, LOCAL, SLURM):
        raise InputError(
            f"workers: got {workers} with the scheduler {scheduler}; expected none: its workers are there, limit what "
            "runs at once with max_concurrency"
        )
    _check_installed(scheduler)
    if options is not None:
        from skyfan.engines.cluster_options import load_cluster_options

        load_cluster_options(options)
    if scheduler is not None and scheduler.endswith(_FILE):
        _read_address(Path(scheduler))


def _check_installed(scheduler: str | None) -> None:
    try:
        import distributed  # noqa: F401

        if scheduler in (None, LOCAL, SLURM):
            import cryptography  # noqa: F401  makes the cluster's certificate
        if scheduler == SLURM:
            import yaml  # noqa: F401

            with same_handlers():
                import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise InputError(f"engine 'dask': {error}; {with_extra('dask')}") from error


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
        address = _read_address(Path(where)) if where.endswith(_FILE) else where
        self.name = f"scheduler {where}"
        with Closing() as stack:
            stack.enter_context(quiet())
            try:
                _knock(address, connect_s)
                with uninterrupted():
                    self.client = open_client(address, stack, timeout=connect_s)
            except Exception as error:
                raise InputError(
                    f"{self.name}: it does not answer ({_in_words(error, connect_s)}); expected the address of a Dask "
                    "scheduler, such as tcp://host:8786: see that it runs and that this machine may reach its port"
                ) from error
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

    def knock() -> None:
        _touch(address, connect_s)
        asyncio.run(shake())

    with ThreadPoolExecutor(1) as pool:  # the caller's own thread may have a loop that runs, as in a notebook
        pool.submit(knock).result()


def _touch(address: str, connect_s: float) -> None:
    """Connect and leave: Dask would try again what is refused until the time is up, and not say why it is."""
    from distributed.comm.addressing import parse_address, parse_host_port

    protocol, place = parse_address(address)
    if protocol in {"tcp", "tls"}:
        socket.create_connection(parse_host_port(place), connect_s).close()


def _in_words(error: Exception, connect_s: float) -> str:
    words = str(error.__cause__ or error).strip()
    return f"{type(error).__name__}: {words}" if words else f"no word from it in {connect_s:g} s"


def open_client(where: object, closing: Closing, **options: object) -> "Client":
    """Connect to a scheduler, or a cluster of ours. To be called without interruptions: a client cannot be half made.

    Parameters
    ----------
    where : str or Cluster of Dask
    closing : Closing
        Gets how to disconnect.
    **options
        More of Dask's.

    Returns
    -------
    Client
    """
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # what does not work because of it says so by itself
        client = Client(where, set_as_default=False, **options)
    closing.callback(_close_client, client)
    return client


def _close_client(client: "Client") -> None:
    """Disconnect; a scheduler that is gone must not keep us waiting."""
    with suppress(OSError, TimeoutError):
        client.close(timeout=CLOSE_S)
