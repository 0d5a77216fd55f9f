"""Fetching wheels: every way that it fails says what to do."""

import os
import re
from pathlib import Path

import pytest

from skyfan.aws import wheels
from skyfan.aws.wheels import fetch_wheels, resolve_cache
from skyfan.errors import SkyfanError


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_index(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(SkyfanError, match=r"package index cannot be reached.*SKYFAN_CACHE.*HTTPS_PROXY"):
        fetch_wheels(["numpy==2.4.6"], "arm64", "3.13", cache=tmp_path)
    assert not list((tmp_path / "wheels").iterdir())


def test_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_index(monkeypatch, (tmp_path / "empty").as_uri())
    with pytest.raises(SkyfanError, match=r"no wheel of numpy==\S+ for x86_64 and Python 3.14; .*another arch"):
        fetch_wheels(["numpy==2.4.6"], "x86_64", "3.14", cache=tmp_path)


def _only_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let pip see one index, whatever this machine is set to."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("/usr/bin/python3: No module named pip\n", "has no pip.*ensurepip"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "make room"),
        ("WARNING: one\nERROR: something else\n", "pip cannot fetch the wheels: ERROR: something else"),
        ("", "it says nothing"),
    ],
)
def test_why_pip_failed(said: str, message: str) -> None:
    assert re.search(message, wheels._why(said, Path("cache/part"), "arm64 and Python 3.13"))


def test_cache_is_argument_then_environment_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYFAN_CACHE", "/elsewhere")
    assert resolve_cache("/here") == Path("/here")
    assert resolve_cache(None) == Path("/elsewhere")
    monkeypatch.delenv("SKYFAN_CACHE")
    assert resolve_cache(None) == Path.home() / ".cache" / "skyfan"
