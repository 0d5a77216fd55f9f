"""A real Slurm of one node: its daemons are started for these tests, and what they write is in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=2
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def reason_to_skip() -> str | None:
    """Return why no Slurm can be started here."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if any(process.info["name"] in DAEMONS for process in psutil.process_iter(["name"])):
        return "a Slurm is running here"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    of_slurm = [item for item in items if here in item.path.parents]
    if of_slurm and (reason := reason_to_skip()) is not None:
        for item in of_slurm:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def _slurm() -> Iterator[Path]:
    """Start the daemons, and let commands find them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(_configure(folder)))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        for command in _commands(folder):
            stack.callback(_end, _start(folder, command))
        _wait(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), f"no idle node: see {folder}")
        yield folder


@pytest.fixture
def slurm(_slurm: Path) -> Iterator[Path]:
    """A Slurm without jobs; none may be left."""
    yield _slurm
    try:
        _wait(lambda: not jobs(), "jobs are left")
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL"], check=False)


def jobs() -> list[str]:
    """Return the numbers of all jobs that wait or run."""
    return said("squeue", "--noheader", "--format=%A").split()


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _configure(folder: Path) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    path = folder / "slurm.conf"
    path.write_text(CONFIGURATION.format(host=socket.gethostname().partition(".")[0], folder=folder, **ports))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    return path


def _commands(folder: Path) -> list[list[str]]:
    files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", *(f"--{name}={folder}/munge.{end}" for name, end in files.items())]
    return [munged, ["slurmctld", "-D"], ["slurmd", "-D"]]


def _start(folder: Path, command: list[str]) -> "subprocess.Popen[bytes]":
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if command[0] == "munged":
        _wait((folder / "munge.socket").exists, "munged did not start")
    return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(what: Callable[[], object], otherwise: str) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, otherwise
        time.sleep(0.1)
