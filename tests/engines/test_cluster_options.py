"""The file that says what jobs to ask Slurm for."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from skyfan.engines.cluster_options import ClusterOptions, load_cluster_options
from skyfan.engines.clusters import check_wishes, open_cluster
from skyfan.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "options.yaml"


def test_what_is_said_is_read_and_the_rest_has_defaults(path: Path) -> None:
    path.write_text("queue: regular\njobs: 10\ncores: 8\naccount: null\njob_script_prologue:\n- module load python\n")
    options = load_cluster_options(path)
    assert options == ClusterOptions(queue="regular", jobs=10, cores=8, job_script_prologue=("module load python",))
    assert options.workers_a_job == 8


def test_a_walltime_needs_no_quotes(path: Path) -> None:
    path.write_text("walltime: 1:30:00\n")
    assert load_cluster_options(path).walltime_s == 5400


def test_an_empty_file_says_nothing(path: Path) -> None:
    path.write_text("# all as it is\n")
    assert load_cluster_options(path) == ClusterOptions()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("walltme: '1:00:00'", r"there is no option 'walltme'; did you mean 'walltime'\?"),
        ("zzz: 1", "there is no option 'zzz'; expected some of queue, account, jobs"),
        ("jobs: many", r"Expected `int`, got `str` - at `\$.jobs`"),
        ("jobs: 0", "Expected `int` >= 1"),
        ("cores: 4\nprocesses: 3", "processes 3 do not divide cores 4"),
        ("walltime: soon", "walltime 'soon' is not of a form like 1:30:00"),
        ("memory: much", "memory 'much' is not of a form like 4 GiB"),
        ("- queue", "got list; expected lines such as 'queue: regular'"),
        ("queue: [", "not YAML"),
    ],
)
def test_what_cannot_be_meant_is_said(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_cluster_options(path)


def test_a_file_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_cluster_options(path)


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [("30", 1800), ("1:30", 90), ("1:00:00", 3600), ("1-0", 86400), ("1-2:30", 95400), ("2-00:00:10", 172810)],
)
def test_walltime_is_read_as_slurm_reads_it(walltime: str, seconds: int) -> None:
    assert ClusterOptions(walltime=walltime).walltime_s == seconds


def test_options_are_for_slurm_only(path: Path) -> None:
    with pytest.raises(InputError, match=r"got .*options\.yaml with the scheduler local; expected 'slurm'"):
        open_cluster(None, path, None)


def test_wishes_that_can_be_met_are_only_looked_at(path: Path) -> None:
    path.write_text("queue: regular\n")
    check_wishes(None, None, None)
    check_wishes("local", None, 4)
    check_wishes("slurm", path, 4)
    check_wishes("tcp://127.0.0.1:1", None, None)  # nobody is there, and nobody is asked


@pytest.mark.parametrize(
    ("scheduler", "content", "workers", "message"),
    [
        ("local", "", None, "with the scheduler local; expected 'slurm'"),
        ("slurm", "quee: regular", None, "did you mean 'queue'"),
        ("tcp://host:8786", None, 4, "workers: got 4 with the scheduler tcp://host:8786"),
        ("no-such-file.json", None, None, "no scheduler file"),
    ],
)
def test_wishes_that_cannot_be_met_are_said_before_anything_is_started(
    path: Path, scheduler: str, content: str | None, workers: int | None, message: str
) -> None:
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        check_wishes(scheduler, None if content is None else path, workers)


@pytest.mark.parametrize(
    ("scheduler", "missing"),
    [(None, "distributed"), (None, "cryptography"), ("slurm", "dask_jobqueue"), ("slurm", "yaml")],
)
def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, scheduler: str | None, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing}.*pip install '\.\[dask\]'"):
        check_wishes(scheduler, None, None)


def test_ctrl_c_stays_what_it_is(tmp_path: Path) -> None:
    code = """
import signal
from skyfan.engines.clusters import check_wishes
check_wishes("slurm", None, None)
import skyfan.engines.slurm
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_option_is_described() -> None:
    schema = msgspec.json.schema(ClusterOptions)["$defs"]["ClusterOptions"]["properties"]
    assert all(field.get("description") for field in schema.values())
