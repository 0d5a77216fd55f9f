"""What a run was made from: payload, model or script, programs and machines, and the commands that make it again."""

import msgspec

from skyfan.report.commands import again_commands
from skyfan.report.document import Block, Code, Facts, Grid, Notice, Text
from skyfan.report.record import Record
from skyfan.task import ScriptRef
from skyfan.wording import counted

AGAIN = "To run it again, beside this one, put the payload above into a file and type:"


def sources(record: Record) -> list[Block]:
    """Return payload, versions, hashes, machines, and how to run it again."""
    payload = msgspec.json.format(msgspec.json.encode(record.payload), indent=2).decode()
    return [
        Code(payload, "json", "Payload"),
        Facts(tuple(_facts(record))),
        *_mixed(record),
        *_versions(record),
        Text(AGAIN),
        Code(again_commands(record), "shell", "Commands"),
    ]


def _facts(record: Record) -> list[tuple[str, str, str]]:
    summary, payload = record.summary, record.payload
    machines = summary.machines if summary else []
    rows = [
        ("Data", f"{payload.data_bucket}/{payload.data_prefix}", f"in {record.store.url}"),
        ("Results", f"{record.bucket.where}/{record.keys.result_path}", ""),
        *_program(record),
        ("Machine", " + ".join(machines) or "not told", "of the workers"),
    ]
    if record.execution:
        rows.append(("Execution", record.execution, "of the state machine on AWS"))
    return rows


def _program(record: Record) -> list[tuple[str, str, str]]:
    program = record.program
    if program is None:
        return []
    if not isinstance(program, ScriptRef):
        return [("Model", program.name, f"sha256 {program.sha256}")]
    return [
        ("Script", program.name, f"sha256 {program.sha256}, of the names and the content of all files of its code"),
        (
            "Its code",
            f"{record.payload.bucket}/{program.folder}",
            f"the {program.object_type} that each task was given",
        ),
        ("What it printed", f"{record.bucket.where}/{record.keys.logs}/", "one log per task"),
    ]


def _mixed(record: Record) -> list[Block]:
    """Say if tasks of one run ran different models or scripts, or ran on different machines or programs."""
    summary = record.summary
    lines = []
    if len(record.seen.programs) > 1:
        names = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(record.seen.programs))
        what = "versions of a script" if record.scripted else "models"
        lines.append(f"its tasks used {len(record.seen.programs)} {what}: {names}")
    if summary and len(summary.machines) > 1:
        lines.append(f"its tasks ran on {counted(len(summary.machines), 'kind')} of machine, which have several speeds")
    several = [name for name, versions in (summary.versions if summary else {}).items() if len(versions) > 1]
    if several:
        lines.append(f"its tasks ran with several versions of {', '.join(several)}")
    return [Notice("note", "The run is not of one kind", tuple(lines))] if lines else []


def _versions(record: Record) -> list[Block]:
    versions = record.summary.versions if record.summary else {}
    rows = tuple((name, ", ".join(found)) for name, found in sorted(versions.items()))
    return [Grid(("Program", "Version"), rows, "Programs that the workers ran", words=(0, 1))] if rows else []
