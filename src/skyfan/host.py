"""What machine this is: two figures of speed are comparable only if they are of the same."""

import os
import platform
import socket
from functools import cache
from pathlib import Path

LAMBDA = "AWS Lambda"
"""How the description of a machine on AWS begins."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""By which libraries are told how many threads to use."""
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_name() -> str:
    """Return the name of this process among all that work on a run: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


@cache
def describe_host() -> str:
    """Return the machine in words: `AMD EPYC 7B13, 2 cores`, or `AWS Lambda aarch64, 1769 MB`."""
    memory_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory_mb:
        return f"{LAMBDA} {platform.machine()}, {memory_mb} MB"
    cores = usable_cores()
    return f"{_processor()}, {cores} core{'s' if cores > 1 else ''}"


def _processor() -> str:
    """Return the processor's name, as Linux has it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine()
