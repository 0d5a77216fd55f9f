"""Commands that are given bad input, here or in a process of their own, and how they end."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from running import SKYFAN


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]
Payload = Callable[..., Path]
Refused = Callable[..., str]


def files(root: Path) -> dict[Path, bytes]:
    """Return all that is stored."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run_for_real(root: Path, path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a payload in a process of its own."""
    command = [*SKYFAN, "run", str(path), "--store", str(root), "--workers", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)
