"""Stopping a run, whoever drives it: an execution on AWS, or a process of this machine."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skyfan.errors import InputError, SkyfanError
from skyfan.keys import RunKeys
from skyfan.lease import Record, read_lease
from skyfan.storage import Bucket

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud

WAIT_S = 60.0
"""For a process to end the run: its workers may be in the middle of a batch."""


def stop_run(run: str, bucket: Bucket, keys: RunKeys, open_cloud: "Callable[[str], Cloud]") -> str:
    """Stop a run; return what was done, as a sentence.

    Parameters
    ----------
    run : str
        Its name.
    bucket : Bucket
    keys : RunKeys
    open_cloud : callable
        Opens AWS in a region, if the run is there.

    Raises
    ------
    InputError
        If a process drives it that cannot be stopped from here.
    SkyfanError
        If it does not stop.
    """
    again = "running the same payload again goes on"
    holder = read_lease(bucket, keys)
    if holder is None or holder.lapsed():
        return f"{run}: nobody drives it, so that there is nothing to stop"
    if holder.execution is None:
        _stop_process(run, holder, bucket, keys)
        return f"{run}: {holder.driver} stopped; {again}"
    from skyfan.aws.machine import stop

    if stop(open_cloud(holder.execution.split(":")[3]), holder.execution, bucket, keys):
        return f"{run}: {holder.driver} stopped; {again}"
    return f"{run}: {holder.driver} had ended, and no longer holds the run; {again}"


def _stop_process(run: str, holder: Record, bucket: Bucket, keys: RunKeys) -> None:
    """Interrupt a process of this machine as Ctrl-C does, and wait until it no longer drives the run."""
    if not holder.is_here:
        raise InputError(
            f"{run}: {holder.driver} drives it; expected a process of this machine, or an execution on AWS: stop it "
            f"on {holder.host}, with Ctrl-C or 'kill {holder.pid}'"
        )
    number = signal.SIGTERM if _ignores_interrupts(holder.pid) else signal.SIGINT
    try:
        os.kill(holder.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise InputError(
            f"{run}: {holder.driver} drives it, and is another user's; expected one of your own: ask its owner"
        ) from error
    until = time.monotonic() + WAIT_S
    while (found := read_lease(bucket, keys)) is not None and found.pid == holder.pid and not found.lapsed():
        if time.monotonic() > until:
            raise SkyfanError(
                f"{run}: {holder.driver} was interrupted {WAIT_S:.0f} s ago and still drives it; expected its end: "
                f"'kill -9 {holder.pid}' ends it at once, and nothing that is done is lost"
            )
        time.sleep(0.1)


def _ignores_interrupts(pid: int) -> bool:
    """Whether a process takes no notice of Ctrl-C, as those that a shell's script starts in the background."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    ignored = next((line.split()[1] for line in lines if line.startswith("SigIgn:")), "0")
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)
