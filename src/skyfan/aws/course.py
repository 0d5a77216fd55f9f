"""How far an upload is: what is left of it, and the end of all its threads where one of them fails."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock
from typing import TypeVar

from skyfan.aws.sending import File, StoppedError
from skyfan.wording import counted, size

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


class Course:
    """What the threads of an upload tell each other.

    Parameters
    ----------
    files : sequence of File
    pool : ThreadPoolExecutor
    progress : callable
        Told of the bytes that are there and their total, by one thread at a time.
    """

    def __init__(self, files: Sequence[File], pool: ThreadPoolExecutor, progress: Progress) -> None:
        self._pool, self._progress = pool, progress
        self._files = len(files)
        self._left = {file.key: file.size for file in files}
        self._stop, self._lock = Event(), Lock()
        self.total = sum(self._left.values())
        self.bytes_sent = self._seen = 0

    def each(self, do: Callable[[Item], Result], items: Sequence[Item]) -> list[tuple[Item, Result]]:
        """Do something to all items at once; the first error ends it."""
        futures = {self._pool.submit(do, item): item for item in items}
        try:
            return [(futures[future], future.result()) for future in as_completed(futures)]
        except BaseException:
            self._stop.set()
            for future in futures:
                future.cancel()
            raise

    def go_on(self) -> None:
        """Raise `StoppedError` if another thread has failed."""
        if self._stop.is_set():
            raise StoppedError

    def see(self, number: int) -> None:
        """Note bytes that are there now, whether they were sent or not."""
        self.go_on()
        with self._lock:
            self._seen += number
            self._progress(self._seen, self.total)

    def sent(self, number: int) -> None:
        """Note bytes that were sent."""
        with self._lock:
            self.bytes_sent += number

    def done(self, key: str) -> None:
        """Note that a file is there."""
        with self._lock:
            self._left.pop(key, None)

    def left(self) -> str:
        """Return what is left, and how to go on."""
        with self._lock:
            files, rest = counted(len(self._left), "file"), size(sum(self._left.values()))
        return f"{files} of {self._files:,} are left, {rest}; do the same again: it goes on"
