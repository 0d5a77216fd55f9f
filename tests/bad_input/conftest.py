"""Bad input gives one clear line, exit code 2, no traceback, and nothing lost, claimed or left half made."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bad_input.commands import Ended, Payload, Refused, Run, files
from skyfan.cli.group import main


@pytest.fixture
def skyfan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command through the program's own entry point."""
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["skyfan", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def refused(skyfan: Run, root: Path) -> Refused:
    """Run a command that must be refused with code 2 and change no file; return the one line that it says."""

    def run(*arguments: object) -> str:
        before = files(root)
        ended = skyfan(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        (line,) = ended.err.splitlines()
        assert line.startswith("skyfan: error: ")
        assert files(root) == before
        return line.removeprefix("skyfan: error: ")

    return run


@pytest.fixture
def payload(tmp_path: Path, asked: dict[str, Any]) -> Payload:
    """Write a payload file with some keys changed, or left out where None."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "payload.json"
        path.write_text(json.dumps({key: value for key, value in (asked | changes).items() if value is not None}))
        return path

    return write
