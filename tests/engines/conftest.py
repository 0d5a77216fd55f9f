"""Every engine, under one suite."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from skyfan.engines.base import Engine, Work
from skyfan.engines.local import LocalEngine

Open = Callable[..., Engine]


@pytest.fixture(params=["local"])
def open_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open an engine whose workers follow a plan, see `works.scripted`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    with ExitStack() as stack:

        def start(
            plan: dict[int, list[str]], *, workers: int = 2, timeout_s: float = 60.0, function: str = "works:scripted"
        ) -> Engine:
            return stack.enter_context(LocalEngine(Work(function, json.dumps(plan)), workers, timeout_s))

        yield start
