"""skyfan train and export: what their options say, and what they refuse before any work."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from running import SKYFAN
from skyfan.cli import models


def shell(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*SKYFAN, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_minutes_alone_take_the_place_of_epochs() -> None:
    text = " ".join(shell("train", "--help").stdout.split())
    assert "End after so long. With --epochs, whichever is sooner; alone, instead of epochs." in text


def test_a_checkpoint_that_exists_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "photoz.safetensors"
    out.write_bytes(b"hours of work")
    done = shell("train", tmp_path / "survey.safetensors", out)
    assert done.returncode == 2
    assert (
        "photoz.safetensors exists; expected the name of a new checkpoint - go on with it with --resume" in done.stderr
    )
    assert out.read_bytes() == b"hours of work"


def test_what_int8_changed_is_said_with_care(capsys: pytest.CaptureFixture[str]) -> None:
    change = {"sigma_nmad_relative": 0.01, "bias": 1e-5, "max_dz": 2e-3}
    models._say_honesty(SimpleNamespace(pdf_scores=None, int8_change=change))  # type: ignore[arg-type]
    assert capsys.readouterr().out == (
        "int8 changed sigma_NMAD by +1.00%, bias by +0.00001, a redshift by at most about 2.0e-03 in dz\n"
    )
