"""What a cluster that Slurm starts is made of: one small YAML file."""

import difflib
import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from skyfan.errors import InputError

_Count = Annotated[int, Meta(ge=1, le=100_000)]
_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")
_NOTHING = ("", "~", "null")
_MEMORY = re.compile(r"\d+(?:\.\d+)? ?[kMGT]i?B?")


class ClusterOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The jobs to ask Slurm for; names are those of dask-jobqueue, whose own configuration fills what is left out."""

    queue: Annotated[str | None, Meta(description="Partition of Slurm, as `sbatch -p` has it.")] = None
    account: Annotated[str | None, Meta(description="Account that pays, as `sbatch -A` has it.")] = None
    jobs: Annotated[
        _Count, Meta(description="How many jobs. One that ends is asked for anew while tasks are left.")
    ] = 1
    cores: Annotated[_Count, Meta(description="Cores of a job.")] = 1
    processes: Annotated[
        _Count | None, Meta(description="Worker processes of a job. Without it: one per core, as is best here.")
    ] = None
    memory: Annotated[str, Meta(description="Memory of a job, such as `4 GiB`.")] = "4 GiB"
    walltime: Annotated[
        str,
        Meta(
            description="Time limit of a job, as `sbatch -t` has it: `1:30:00` or `2-00:00:00`. Workers end before it."
        ),
    ] = "1:00:00"
    interface: Annotated[
        str | None, Meta(description="Network interface of the driver and the workers, such as `ib0`.")
    ] = None
    python: Annotated[
        str | None, Meta(description="Python of the workers, with the same skyfan. Without it: the driver's.")
    ] = None
    log_directory: Annotated[
        str | None,
        Meta(description="Folder that keeps what the jobs print. Without it: one here, deleted with the cluster."),
    ] = None
    local_directory: Annotated[str | None, Meta(description="Folder on the node that Dask may write to.")] = None
    job_script_prologue: Annotated[
        tuple[str, ...], Meta(description="Shell lines that run before the workers, such as `module load python`.")
    ] = ()
    job_extra_directives: Annotated[
        tuple[str, ...], Meta(description="More options of sbatch, such as `--constraint=cpu`.")
    ] = ()

    def __post_init__(self) -> None:
        if self.cores % self.workers_a_job:
            raise ValueError(f"processes {self.processes} do not divide cores {self.cores}")
        if not _MEMORY.fullmatch(self.memory):
            raise ValueError(f"memory {self.memory!r} is not of a form like 4 GiB")
        _ = self.walltime_s  # raises if it is none

    @property
    def workers_a_job(self) -> int:
        """Worker processes of a job."""
        return self.processes or self.cores

    @property
    def walltime_s(self) -> int:
        """Seconds of a job; Slurm's forms are `m`, `m:s`, `h:m:s`, `d-h`, `d-h:m` and `d-h:m:s`."""
        found = _WALLTIME.fullmatch(self.walltime)
        if found is None:
            raise ValueError(f"walltime {self.walltime!r} is not of a form like 1:30:00 or 2-00:00:00")
        numbers = [int(number) for number in found["clock"].split(":")]
        if found["days"] is None and len(numbers) < 3:
            numbers.insert(0, 0)  # without days, the first number of one or two are minutes
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return ((int(found["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def load_cluster_options(path: Path) -> ClusterOptions:
    """Read a file of options.

    Parameters
    ----------
    path : Path
        A YAML file: a mapping with fields of `ClusterOptions`.

    Returns
    -------
    ClusterOptions

    Raises
    ------
    InputError
        If it cannot be read, or says what there is not.
    """
    import yaml

    try:
        # all as strings: else 1:30:00 without quotes would be the number 5400
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader) or {}  # noqa: S506  it makes nothing but text
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a YAML file of cluster options") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({_one_line(error)}); expected lines such as 'queue: regular'") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: got {type(content).__name__}; expected lines such as 'queue: regular'")
    _check_names(path, content)
    said = {name: value for name, value in content.items() if value not in _NOTHING}
    try:
        return msgspec.convert(said, ClusterOptions, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}; mend it and try again") from error


def _check_names(path: Path, content: dict[object, object]) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(ClusterOptions)]
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(known)}"
            raise InputError(f"{path}: there is no option {name!r}; {guess}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
