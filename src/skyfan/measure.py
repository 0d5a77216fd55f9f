"""What a task costs its worker: time by phase, memory, the age of the process."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from skyfan.task import ScriptEnd, Seconds

_IMPORTED_AT = time.monotonic()
_MB = 1024 * 1024
_WAITED_S = [0.0]


class Meter:
    """Adds up the seconds of each phase of one task."""

    _any_prediction = False

    def __init__(self) -> None:
        self.started_at = utc_now()
        self.first_prediction_s: float | None = None
        """From the start of the process to its first batch predicted, without its waiting for work; None if it had
        predicted before."""
        self.script: ScriptEnd | None = None
        """How a user's script ended."""
        self._started = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards a phase; see `skyfan.task.Seconds` for their names."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._phases[name] = self._phases.get(name, 0.0) + time.perf_counter() - started
        if name == "predict" and not Meter._any_prediction:
            Meter._any_prediction = True
            self.first_prediction_s = round(process_age_s() - _WAITED_S[0], 3)

    def seconds(self) -> Seconds:
        """Return the phases so far, and the total."""
        phases = {name: round(value, 6) for name, value in self._phases.items()}
        return Seconds(total=round(time.perf_counter() - self._started, 6), **phases)


def note_waiting(seconds: float) -> None:
    """Tell that this process waited for work: that is no part of its start."""
    _WAITED_S[0] += seconds


def utc_now() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def peak_memory_mb() -> float:
    """Return the largest resident set of this process so far, in MiB.

    Linux's own high-water mark is read where there is one: `getrusage` counts the parent's memory before `exec` too.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / _MB if sys.platform == "darwin" else peak / 1024, 1)


def process_age_s() -> float:
    """Return the seconds since this process was started; elsewhere than on Linux, since this module was imported."""
    started = process_start_ticks(os.getpid())
    if started is None:
        return time.monotonic() - _IMPORTED_AT
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def process_start_ticks(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if /proc shows none of that number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def process_exists(pid: int) -> bool:
    """Whether there is a process of that number, be it one that /proc hides from us (`hidepid`)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
