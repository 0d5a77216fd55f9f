"""A pilot on this machine: a payload's model on a few of its partitions, in every way that is to be compared."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import structs

from skyfan.host import usable_cores
from skyfan.payload import Payload
from skyfan.profiling.measuring import BATCH_SIZES, Watch, measure_profile
from skyfan.profiling.profile import Profile

PARTITIONS = 4
SECONDS = 2.0
ROUNDS = 3


def pilot_here(
    payload: Payload,
    store: str | Path | None,
    *,
    partitions: int = PARTITIONS,
    batch_sizes: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    workers: Sequence[int] | None = None,
    seconds: float = SECONDS,
    watch: Watch = lambda said: None,
) -> Profile:
    """Measure a payload's model on its first partitions.

    Parameters
    ----------
    payload : Payload
        Its own batch size and threads are always measured too, and never more workers than its `max_concurrency`.
    store : str or Path, optional
        As for `skyfan.run`.
    partitions : int
        At most so many are read.
    batch_sizes, threads, workers : sequence of int, optional
        Every combination is measured. Default: what `skyfan profile` takes; one thread, and all cores' threads in one
        worker; one worker, and as many as fill the cores.
    seconds : float
        About how long each combination is measured.
    watch : callable
        Is told in words what goes on.

    Raises
    ------
    SkyfanError
        As `measure_profile`.
    """
    few = structs.replace(payload, file_limit=min(partitions, payload.file_limit or partitions), world_size=None)
    return measure_profile(
        few,
        store=store,
        batch_sizes=_with(batch_sizes or BATCH_SIZES, payload.batch_size),
        threads=_with(threads or (1, usable_cores()), payload.threads),
        workers=workers,
        at_once=payload.max_concurrency,
        seconds=seconds,
        rounds=ROUNDS,
        watch=watch,
    )


def _with(values: Iterable[int], own: int) -> tuple[int, ...]:
    return tuple(sorted({*values, own}))
