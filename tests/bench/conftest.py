"""What tests of sweeps need."""

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for a sweep's record; it is not there yet."""
    return tmp_path / "out"
