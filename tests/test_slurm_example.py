"""The job script that docs/hpc.md shows: it finds skyfan where that page installs it."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "slurm" / "run.sbatch"


def environment(folder: Path) -> None:
    """Make a virtual environment's folder in which skyfan prints what it is asked."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "activate").write_text(f'PATH="{folder}/bin:$PATH"\n')
    command = folder / "bin" / "skyfan"
    command.write_text('#!/bin/sh\necho "$0 $*"\n')
    command.chmod(0o755)


def submitted(home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the script as Slurm would, on this machine."""
    settings = {"PATH": os.defpath, "HOME": str(home), **variables}
    return subprocess.run(["bash", SCRIPT], cwd=home, env=settings, capture_output=True, text=True, check=False)


def test_it_drives_the_run_with_the_environment_that_the_page_makes(tmp_path: Path) -> None:
    environment(tmp_path / "skyfan-env")
    assert "python3 -m venv ~/skyfan-env\n" in (ROOT / "docs" / "hpc.md").read_text()
    done = submitted(tmp_path)
    assert done.returncode == 0, done.stderr
    command = tmp_path / "skyfan-env" / "bin" / "skyfan"
    assert done.stdout.splitlines() == [
        f"{command} run payload.json --engine dask --scheduler slurm --cluster-options cluster.yaml",
        f"{command} verify payload.json",
    ]


def test_another_environment_is_taken_where_it_is_named(tmp_path: Path) -> None:
    environment(tmp_path / "elsewhere")
    done = submitted(tmp_path, VENV=str(tmp_path / "elsewhere"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/elsewhere/bin/skyfan run ")


def test_an_environment_that_is_not_there_ends_the_job_and_is_named(tmp_path: Path) -> None:
    done = submitted(tmp_path)
    assert done.returncode != 0
    assert f"{tmp_path}/skyfan-env/bin/activate" in done.stderr
