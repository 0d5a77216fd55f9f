"""Both ways to run a script, each with a directory of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripting.boxes import PYTHON, TMP, Run, boxed, left_of
from skyfan.scripting.boxing import Ending, can_be_private
from skyfan.scripting.limits import Limits


@pytest.fixture(params=["private", "shared"])
def private(request: pytest.FixtureRequest) -> bool:
    """Whether it gets a /tmp of its own."""
    if request.param == "private" and not can_be_private():
        pytest.skip("this system permits no private mount namespace")
    return bool(request.param == "private")


@pytest.fixture
def directory() -> Iterator[Path]:
    """What stands for /tmp. No process of its script may be left, nor a link to it in the real one."""
    folder = Path(tempfile.mkdtemp(prefix="skyfan-test-", dir=TMP))
    yield folder
    assert left_of(folder) == []
    shutil.rmtree(folder)
    assert [path for path in TMP.iterdir() if path.is_symlink() and path.readlink().is_relative_to(folder)] == []


@pytest.fixture
def run(private: bool, directory: Path) -> Run:
    """Run a Python program in a box."""

    def run(code: str, **limits: Any) -> Ending:
        return boxed(*PYTHON, code, directory=directory, private=private, limits=Limits(**{"timeout_s": 60} | limits))

    return run
