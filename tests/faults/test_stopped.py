"""Drivers that are stopped, as by a lid that is closed, and go on when another has done their run."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import skyfan
from skyfan import stages
from skyfan.keys import RunKeys
from skyfan.payload import parse_payload
from skyfan.storage import Bucket, Store

DRIVER = """
import os, signal, sys
import msgspec, skyfan
from skyfan import lease, stages

lease.Lease.__init__.__defaults__ = (1.0,)  # instead of 60 s, so that nobody waits long
store, place, overwrite, payload = sys.argv[1:]
real = getattr(stages, place)

def stopped(*args, **options):
    result = real(*args, **options)
    os.kill(os.getpid(), signal.SIGSTOP)
    return result

setattr(stages, place, stopped)
skyfan.run(msgspec.json.decode(payload), store=store, workers=1, overwrite=overwrite == "True")
"""


def stored(bucket: Bucket, keys: RunKeys) -> dict[str, bytes | None]:
    """Return all that a run stored, but for who drives it."""
    entries = bucket.list(keys.result_path)
    return {entry.key: bucket.get(entry.key) for entry in entries if not entry.key.startswith(keys.leases)}


@pytest.mark.parametrize(("place", "overwrite"), [("preview", False), ("preview", True), ("judge", False)])
def test_a_driver_that_was_stopped_leaves_the_run_that_another_has_done_meanwhile(
    root: Path, asked: dict[str, Any], place: str, overwrite: bool
) -> None:
    payload, _ = parse_payload(asked)
    store = Store(str(root))
    stages.initialize(payload, store)  # an earlier driver, killed after its manifest
    command = [sys.executable, "-c", DRIVER, str(root), place, str(overwrite), payload.encode().decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        try:
            until = time.monotonic() + 60
            while psutil.Process(driver.pid).status() != psutil.STATUS_STOPPED:
                assert driver.poll() is None, driver.communicate()
                assert time.monotonic() < until, "it was never stopped"
                time.sleep(0.05)
            time.sleep(1.2)
            assert skyfan.run(asked, store=root, workers=1, overwrite=True).status().state == "complete"
            before = stored(store.bucket("sky"), RunKeys(payload.result_path))
            driver.send_signal(signal.SIGCONT)
            _, said = driver.communicate(timeout=60)
        finally:
            driver.kill()
    assert stored(store.bucket("sky"), RunKeys(payload.result_path)) == before
    assert skyfan.open_run(asked, store=root).verify().complete
    assert driver.returncode == 1
    assert "LeaseLostError" in said
