"""Workers of a Dask cluster. An item goes to a free thread of a worker that we choose, so that we know where it is."""

import asyncio
import itertools
import pickle
import queue
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from skyfan import __version__
from skyfan.engines.base import OK, Outcome, Work
from skyfan.engines.clock import Clock
from skyfan.engines.clusters import Cluster
from skyfan.engines.crew import Crew, Hand
from skyfan.engines.dask_worker import TOPIC, Call, unfit
from skyfan.errors import ClusterError
from skyfan.task import TaskError
from skyfan.wording import duration

if TYPE_CHECKING:
    from distributed import Future

LOOK_EVERY_S = 1.0
TEND_EVERY_S = 10.0
SILENCE_S = 20.0
"""A scheduler that does not answer for so long is lost."""
BEGIN_S = 600.0
"""A thread that has not begun an item by then is not used any more: others, or an earlier run, hold it."""
END_S = 20.0
"""For ending a worker process and starting the next."""
CLOSE_S = 10.0
_AS_WHEN = "as when its memory runs out, its time is up or its machine goes down"


class DaskEngine:
    """Runs items on the workers of a Dask cluster, as many at once as these have threads.

    Parameters
    ----------
    work : Work
        What they do.
    cluster : Cluster
        Where they are; closed with the engine.
    timeout_s : float
        Seconds after which an attempt is ended.
    grace_s : float
        Seconds more that pass before that, as for the local engine.
    patience_s : float, optional
        Seconds without any worker after which the cluster counts as gone; by default as long as the cluster says.
    """

    name = "dask"

    def __init__(
        self,
        work: Work,
        cluster: Cluster,
        timeout_s: float,
        *,
        grace_s: float = 0.0,
        patience_s: float | None = None,
    ) -> None:
        self._work = work
        self._cluster = cluster
        self._client = cluster.client
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._patience_s = cluster.patience_s if patience_s is None else patience_s
        self._run = uuid.uuid4().hex[:12]
        self._tickets = itertools.count()
        self._clocks: dict[int, Clock] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._said: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._crew = Crew()
        self._some_at = time.monotonic()
        try:
            self._client.subscribe_topic(TOPIC, self._on_begun)
            self._client.sync(self._look)
            self._on_loop(self._watch)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        return self._crew.slots

    def submit(self, number: int, attempt: int, item: bytes) -> None:
        self._on_loop(self._do, number, attempt, item)

    def wait(self, timeout_s: float | None) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            said = self._said.get(timeout=timeout_s)
            while isinstance(said, Outcome):
                outcomes.append(said)
                said = self._said.get_nowait()
            self._said.put(said)  # there is no way on from here: the next call says so again
            if not outcomes:
                raise said
        except queue.Empty:
            pass
        return outcomes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take back what is not begun, and end the workers if they are ours. Others' go on with what they are at."""
        try:
            self._client.sync(self._stop, callback_timeout=CLOSE_S)
        except (OSError, TimeoutError, RuntimeError):
            pass  # the loop is gone with the cluster, and with it all that could be stopped
        finally:
            self._cluster.close()

    def _on_loop(self, what: "Callable[..., Coroutine[Any, Any, None]]", *arguments: object) -> None:
        """Start one of our coroutines on the client's loop; what it raises ends the map."""

        def start() -> None:
            job = asyncio.get_running_loop().create_task(what(*arguments))
            self._jobs.add(job)
            job.add_done_callback(self._ended)

        self._client.loop.add_callback(start)

    def _ended(self, job: "asyncio.Task[None]") -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self._said.put(error)

    async def _stop(self) -> None:
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _on_begun(self, event: tuple[float, tuple[str, int]]) -> None:
        run, ticket = event[1]
        if run == self._run and ticket in self._clocks:
            self._clocks[ticket].start(self._timeout_s + self._grace_s)

    async def _watch(self) -> None:
        """Keep an eye on who is there, for as long as the map lasts."""
        tended = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()
            if time.monotonic() - tended >= TEND_EVERY_S:
                await self._cluster.tend()
                tended = time.monotonic()

    async def _look(self) -> None:
        there, ready = await self._ask("ncores"), await self._ask("ncores_running")
        await self._crew.update(there, ready)
        now = time.monotonic()
        if self.slots:
            self._some_at = now
        elif now - self._some_at >= self._patience_s:
            raise ClusterError(
                f"{self._cluster.name}: no worker took tasks for {duration(self._patience_s)}; expected one or more: "
                f"{self._cluster.advice}. Nothing done is lost: run the same payload again to go on"
            )

    async def _ask(self, what: str, **arguments: Any) -> Any:
        """Ask the scheduler."""
        try:
            async with asyncio.timeout(SILENCE_S):
                return await getattr(self._client.scheduler, what)(**arguments)
        except (OSError, AttributeError) as error:  # a client that closed itself has no scheduler
            raise self._went_away() from error

    def _went_away(self) -> ClusterError:
        return ClusterError(
            f"{self._cluster.name}: the scheduler went away, or cannot be reached any more; nothing done is lost: see "
            "that it runs, then run the same payload again to go on"
        )

    async def _do(self, number: int, attempt: int, item: bytes) -> None:
        outcome = None
        while outcome is None:  # it is handed over again
            outcome = await self._try(await self._crew.take(), number, attempt, item)
        self._said.put(outcome)

    async def _try(self, hand: Hand, number: int, attempt: int, item: bytes) -> Outcome | None:
        """Have a worker do an item; return None if it did not, and not for what this item did."""
        loop, ticket = asyncio.get_running_loop(), next(self._tickets)
        clock = self._clocks[ticket] = Clock(loop.create_future())
        future = self._hand_over(hand, number, attempt, item, ticket)
        answer = loop.create_task(_answer(future))
        try:
            if not await _comes_to_an_end(hand, clock, {answer, clock.late, hand.gone}):
                return None
            if answer.done():
                return await self._settle(hand, number, answer)
            if hand.gone.done():
                return None if hand.ending else _failed(number, f"the worker {hand.address} ended, {_AS_WHEN}")
            return await self._end_late(hand, number)
        finally:
            clock.stop()
            del self._clocks[ticket]
            answer.cancel()
            future.release()
            await self._crew.give_back(hand)

    def _hand_over(
        self, hand: Hand, number: int, attempt: int, item: bytes, ticket: int
    ) -> "Future[tuple[int, bytes]]":
        if self._client.status != "running":
            raise self._went_away()
        call = Call(self._work, item, attempt, __version__, (self._run, ticket))
        return self._client.submit(
            pickle.loads,
            pickle.dumps(call),
            key=f"skyfan-{self._run}-{number}-{attempt}-{ticket}",
            workers=[hand.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )

    async def _settle(self, hand: Hand, number: int, answer: "asyncio.Task[tuple[int, bytes]]") -> Outcome:
        try:
            status, data = answer.result()
        except Exception as error:  # an item's own error is data: this is one of Dask's
            if self._client.status != "running":
                raise self._went_away() from error
            return Outcome(number, error=_explain(hand, error))
        if status == OK:
            return Outcome(number, data)
        failure = msgspec.json.decode(data, type=TaskError)
        if failure.kind == MemoryError.__name__:  # a fresh process has what this one could not give back
            await self._end_process(hand)
        return Outcome(number, error=failure)

    async def _end_late(self, hand: Hand, number: int) -> Outcome:
        message = f"the task passed its time limit, task_timeout_s {self._timeout_s:g}, and was ended"
        if not await self._end_process(hand):
            hand.lost += 1
            message = (
                f"the task passed its time limit, task_timeout_s {self._timeout_s:g}; it cannot be ended, since its "
                f"worker {hand.address} has no nanny: one thread of it is not used any more"
            )
        return _failed(number, message)

    async def _end_process(self, hand: Hand) -> bool:
        """End a worker process, of which its nanny starts another; return False if it has none that could."""
        known = (await self._ask("identity", n_workers=-1))["workers"]
        if hand.address in known and known[hand.address]["nanny"] is None:
            return False
        if not hand.ending and not hand.gone.done():
            hand.ending = True
            self._on_loop(self._restart, hand)
        await asyncio.wait({hand.gone})
        return True

    async def _restart(self, hand: Hand) -> None:
        with suppress(OSError, ValueError, KeyError):  # it was gone already, or the scheduler gave it up
            await self._client.restart_workers([hand.address], timeout=END_S, raise_for_error=False)
        await self._crew.remove(hand)


async def _comes_to_an_end(hand: Hand, clock: Clock, ends: "set[asyncio.Future[Any]]") -> bool:
    """Wait for one of these; return False if the worker does not even begin, be it paused or busy for others."""
    until = time.monotonic() + BEGIN_S
    while not any(end.done() for end in ends):
        await asyncio.wait(ends, timeout=None if clock.runs else LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        if clock.runs or any(end.done() for end in ends):
            continue
        if time.monotonic() >= until:
            hand.lost += 1
            return False
        if not hand.ready:
            return False
    return True


async def _answer(future: "Future[tuple[int, bytes]]") -> tuple[int, bytes]:
    result: tuple[int, bytes] = await future
    return result


def _failed(number: int, message: str) -> Outcome:
    return Outcome(number, error=TaskError("WorkerError", message, may_pass=True))


def _explain(hand: Hand, error: Exception) -> TaskError:
    """Say of an error of Dask's own what it means for an item."""
    from distributed import CancelledError, KilledWorker
    from distributed.scheduler import NoValidWorkerError

    if isinstance(error, CancelledError | KilledWorker | NoValidWorkerError | OSError):
        return TaskError("WorkerError", f"the cluster did not do the task ({error})", may_pass=True)
    return unfit(f"the worker {hand.address} cannot take a task ({type(error).__name__}: {error})", __version__)
