"""Dask's log, which is kept off the terminal: workers that go and come are normal here, and what is not is raised."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ROOT = "distributed"


class _Mute:
    """Keeps quiet as long as somebody needs it. A filter, since Dask changes the levels of these handlers itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._muted: set[logging.Handler] = set()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  nothing passes
        return False

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            for handler in _handlers():
                handler.addFilter(self)
                self._muted.add(handler)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            while not self._users and self._muted:
                self._muted.pop().removeFilter(self)


_mute = _Mute()


@contextmanager
def quiet() -> Iterator[None]:
    """Mute the handlers of Dask's loggers. Handlers of the root logger are the user's own: they still get all."""
    _mute.enter()
    try:
        yield
    finally:
        _mute.leave()


def _handlers() -> set[logging.Handler]:
    names = [_ROOT, *(name for name in list(logging.root.manager.loggerDict) if name.startswith(f"{_ROOT}."))]
    return {handler for name in names for handler in logging.getLogger(name).handlers}
