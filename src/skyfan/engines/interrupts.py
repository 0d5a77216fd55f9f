"""Ctrl-C and its like: they wait until a cluster is not half open or half closed, and no library takes them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals that end a program back until the end of the block.

    They are caught, not masked: a mask would be this thread's alone and any other thread of the process could take
    the signal, and processes that are started meanwhile would inherit it. Other threads than the main one are never
    interrupted, so that nothing is done in these.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    held = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        held = []
    try:
        for number in held:
            signal.signal(number, note)
        yield
    finally:
        for number in reversed(held):  # Ctrl-C last: it must not end this loop
            signal.signal(number, before[number])
        if came:
            signal.raise_signal(came[0])


@contextmanager
def same_handlers() -> Iterator[None]:
    """Undo what the block does to the handlers of signals, as the import of a library that takes Ctrl-C for itself."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


class Closing(ExitStack):
    """What is to be closed again; no signal ends that halfway."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        with uninterrupted():
            return super().__exit__(kind, error, trace)
