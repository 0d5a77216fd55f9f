"""What a Dask worker does for us: it does an item, and answers with the result or with what was wrong."""

import importlib
import tempfile
import threading
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import msgspec

from skyfan import __version__
from skyfan.engines.base import ERROR, OK, Work
from skyfan.measure import note_waiting, process_age_s
from skyfan.task import TaskError, describe

TOPIC = "skyfan"
"""Where workers tell the driver of an item that they begin."""

_loading = threading.Lock()


def run_item(work: Work, item: bytes, attempt: int, version: str, ticket: tuple[str, int]) -> tuple[int, bytes]:
    """Do one item in a thread of a worker.

    Parameters
    ----------
    work : Work
        Loaded once a process.
    item : bytes
    attempt : int
    version : str
        Of the driver's skyfan; a worker with another does nothing.
    ticket : tuple of str and int
        What the driver knows this attempt by.

    Returns
    -------
    tuple of int and bytes
        `OK` and the result, or `ERROR` and a TaskError as JSON. An item's error is data: to Dask nothing failed.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(TOPIC, list(ticket))
    if version != __version__:
        return ERROR, msgspec.json.encode(unfit(f"the worker {worker.address} has skyfan {__version__}", version))
    with _loading:
        _prepare(worker.local_directory if worker.nanny else None)
    try:
        return OK, _loaded(work)(item, attempt)
    except Exception as error:  # noqa: BLE001  whatever it was, it belongs to this item: the driver decides what follows
        return ERROR, msgspec.json.encode(describe(error))


class Call:
    """Pickles as a call of `run_item`, so that `pickle.loads` of it does an item.

    To hand `run_item` over itself would break the connection of a worker, or a scheduler, that does not have skyfan:
    it would end. So the item alone fails.
    """

    def __init__(self, *arguments: object) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., tuple[int, bytes]], tuple[object, ...]]:
        return run_item, self._arguments


def unfit(what: str, version: str) -> TaskError:
    """Return why no item can be done on a cluster whose software is another than the driver's."""
    message = f"{what}; expected skyfan {version}, as here: install the same there, from where it was installed here"
    return TaskError("ClusterError", message, may_pass=False, ends_run=True, exit_code=2)


@cache
def _prepare(folder: str | None) -> None:
    """Do, once a process, what the first item needs.

    What was before it is counted as waiting: a worker of Dask may have been there for days. What items write for a
    while goes to the folder of a worker whose process is its own, which Dask removes with it, or after it if it was
    killed.
    """
    note_waiting(process_age_s())
    if folder is not None:
        tempfile.tempdir = folder


def _loaded(work: Work) -> Callable[[bytes, int], bytes]:
    with _loading:  # threads of one process must not load the same at once
        return _load(work)


@lru_cache(maxsize=4)
def _load(work: Work) -> Callable[[bytes, int], bytes]:
    module, _, name = work.function.partition(":")
    found: Any = getattr(importlib.import_module(module), name)
    return found(work.context)  # type: ignore[no-any-return]
