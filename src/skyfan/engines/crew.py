"""The workers of a cluster that are there now, and which of their threads are free. It lives on one event loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(eq=False)
class Hand:
    """One worker process."""

    address: str
    threads: int
    gone: "asyncio.Future[None]"
    """Done when the process is not there any more."""
    busy: int = 0
    """Threads with an item."""
    lost: int = 0
    """Threads that did not begin an item, or whose item passed its time limit and could not be ended."""
    ready: bool = True
    """False for a worker that takes nothing new, as when its memory is full."""
    ending: bool = False
    """Whether it is us who end it."""

    @property
    def slots(self) -> int:
        """Threads that could be at an item."""
        return max(0, self.threads - self.lost) if self.ready and not self.ending else 0

    @property
    def free(self) -> int:
        """Threads that wait for an item."""
        return max(0, self.slots - self.busy)


@dataclass
class Crew:
    """All workers that are there."""

    _hands: dict[str, Hand] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def slots(self) -> int:
        """How many items can be under way at once."""
        return sum(hand.slots for hand in list(self._hands.values()))

    @property
    def addresses(self) -> set[str]:
        return set(self._hands)

    async def update(self, there: Mapping[str, int], ready: Mapping[str, int]) -> None:
        """Take note of who is there: address -> threads, of all and of those that take work."""
        for address in self.addresses - there.keys():
            await self.remove(self._hands[address])
        for address, threads in there.items():
            if address not in self._hands:
                self._hands[address] = Hand(address, threads, asyncio.get_running_loop().create_future())
            self._hands[address].threads = threads
            self._hands[address].ready = address in ready
        await self._tell()

    async def take(self) -> Hand:
        """Occupy a thread, of a worker that has the most free ones; wait if there is none."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(hand.free > 0 for hand in self._hands.values()))
            hand = max(self._hands.values(), key=lambda hand: hand.free)
            hand.busy += 1
            return hand

    async def give_back(self, hand: Hand) -> None:
        """Free a thread."""
        hand.busy -= 1
        await self._tell()

    async def remove(self, hand: Hand) -> None:
        """Take note that a process is gone; another one at the same address is another hand."""
        if self._hands.get(hand.address) is hand:
            del self._hands[hand.address]
        if not hand.gone.done():
            hand.gone.set_result(None)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
