"""Who of a cluster's workers is free."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from skyfan.engines.crew import Crew


def on_loop(test: Callable[[Crew], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(Crew())

    asyncio.run(run())


def test_items_go_where_most_threads_are_free() -> None:
    async def test(crew: Crew) -> None:
        await crew.update({"a": 1, "b": 3}, {"a": 1, "b": 3})
        taken = [(await crew.take()).address for _ in range(4)]
        assert taken[:2] == ["b", "b"]
        assert sorted(taken) == ["a", "b", "b", "b"]

    on_loop(test)


def test_who_finds_no_free_thread_waits_for_one() -> None:
    async def test(crew: Crew) -> None:
        await crew.update({"a": 1}, {"a": 1})
        hand = await crew.take()
        waiting = asyncio.create_task(crew.take())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await crew.give_back(hand)
        assert await waiting is hand

    on_loop(test)


@pytest.mark.parametrize("how", ["paused", "ending", "lost"])
def test_a_thread_that_takes_no_work_is_no_slot(how: str) -> None:
    async def test(crew: Crew) -> None:
        await crew.update({"a": 1}, {"a": 1})
        hand = await crew.take()
        await crew.give_back(hand)
        assert (crew.slots, hand.free) == (1, 1)
        hand.ending, hand.lost = how == "ending", int(how == "lost")
        await crew.update({"a": 1}, {} if how == "paused" else {"a": 1})
        assert (crew.slots, hand.free) == (0, 0)

    on_loop(test)


def test_a_worker_that_is_gone_is_told_and_one_that_comes_after_it_is_another() -> None:
    async def test(crew: Crew) -> None:
        await crew.update({"a": 1}, {"a": 1})
        first = await crew.take()
        await crew.update({}, {})
        assert first.gone.done()
        assert crew.slots == 0
        await crew.update({"a": 1}, {"a": 1})
        assert await crew.take() is not first

    on_loop(test)
