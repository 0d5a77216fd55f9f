"""The commands by which whoever reads a report proves a run, or makes it again."""

import shlex

from skyfan.engines.choosing import DASK
from skyfan.report.record import Record


def verify_command(record: Record, name: str = "") -> str:
    """Return the command that proves a run in the store of this one; by default this one itself."""
    return f"skyfan verify {shlex.quote(name or record.id)} --store {shlex.quote(record.store.url)}"


def again_commands(record: Record) -> str:
    """Return the commands that make a run again, beside the one that is there: nothing of it is deleted."""
    result_path = f"{record.keys.result_path}-again"
    dask = record.summary is not None and record.summary.drive.engine == DASK
    store = f" --store {shlex.quote(record.store.url)}"
    engine = " --engine aws" if record.execution else f"{store}{' --engine dask' if dask else ''}"
    allowed = " --allow-scripts" if record.scripted and not record.execution else ""  # on AWS the stack allows them
    return "\n".join(
        [
            f"# skyfan {_version(record)}: pip install . in the folder of its repository",
            f"skyfan run payload.json --result-path {shlex.quote(result_path)}{engine}{allowed}",
            verify_command(record, f"{record.payload.bucket}/{result_path}"),
        ]
    )


def _version(record: Record) -> str:
    """Return the version that ran it, on one line: what follows a comment is a command."""
    versions = record.summary.versions.get("skyfan", []) if record.summary else []
    return " ".join(" and ".join(versions).split()) or "of a version that is not known"
