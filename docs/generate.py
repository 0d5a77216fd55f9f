"""Writes the pages of the reference that say what the code says, and the file tree of the README.

python docs/generate.py            write them
python docs/generate.py --check    write nothing; exit 1 if one is stale
"""

import argparse
import ast
import inspect
import itertools
import json
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from skyfan import errors, evaluation, lease, predictions, standing, summary, tally, task, verification
from skyfan.cli import cli
from skyfan.engines.cluster_options import ClusterOptions
from skyfan.partitions import Index, PartitionRef
from skyfan.payload import EFFORT, Payload
from skyfan.photoz import science, sums
from skyfan.scripting.limits import Limits

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGE = ROOT / "src" / "skyfan"
NOTICE = "<!-- Written by docs/generate.py from the code: change the code, then run it. -->\n"
EXAMPLE = ROOT / "examples" / "payloads" / "25MB-8GB.json"

UNLIMITED = 1_000_000_000
"""Where the payload's limit is only there to keep arithmetic safe."""

EXIT_CODES = {
    0: "done, and the run is complete",
    1: "failed: the store, a worker, or more tasks than the payload tolerates",
    2: "bad input: a payload, partition, model, path or option that cannot be used; nothing is lost",
    3: "ended incomplete: failures within what the payload tolerates, or `status`, `verify`, `catalog` or "
    "`report` find it so; `bench` and `import-results`: some runs are not whole; `tune`: nothing meets the deadline or "
    "the budget",
    130: "interrupted by Ctrl-C or SIGTERM; the same command goes on",
}

MEANINGS = {
    ("PartitionRef", "key"): "Key of the partition; in an index, relative to the index's folder.",
    ("PartitionRef", "bytes"): "Size of the file.",
    ("PartitionRef", "sha256"): "Hash of the file; in a manifest only where an index tells it.",
    ("Index", "schema"): "Version of this form.",
    ("Index", "rows"): "Rows of all partitions.",
    ("Index", "partitions"): "Key, bytes, rows and hash of each.",
    ("ModelRef", "sha256"): "Hash of the ONNX file.",
    ("Task", "rank"): "Number of the task, from 0; it names the part and the report.",
    ("Task", "bucket"): "Bucket of the run.",
    ("Task", "result_path"): "Folder of the run.",
    ("Task", "data_bucket"): "Bucket of the partitions.",
    ("Task", "partitions"): "What the task reads, in order.",
    ("Task", "model"): "The model, and the hash that every worker must find; null with a script.",
    ("Task", "script"): "The script, and the hash of its code that every worker must find; null with a model.",
    ("Task", "setting"): "What is around the script; null with a model.",
    ("ScriptRef", "object_type"): "What `folder` is.",
    ("ScriptSetting", "data_prefix"): "Folder of the partitions, as the payload has it.",
    ("ScriptSetting", "limits"): "What the script may take.",
    ("Task", "batch_size"): "Rows that the model is given at once.",
    ("Report", "schema"): "Version of this form.",
    ("Report", "rank"): "Number of the task.",
    ("Report", "status"): "`ok` or `failed`.",
    ("Report", "attempt"): "Which attempt this report is of, from 1.",
    ("Report", "rows_in"): "Rows read from the partitions.",
    ("Report", "rows_out"): "Rows of the part.",
    ("Report", "part"): "The part that was written; null if the attempt failed, and with a script.",
    ("Report", "model"): "The model and its hash; null with a script.",
    ("Report", "script"): "The script and the hash of its code; null with a model.",
    ("Report", "batch_size"): "Rows that the model was given at once.",
    ("Report", "batches"): "Number of batches.",
    ("Report", "device"): "`cpu`.",
    ("Report", "seconds"): "Where the time went, by phase.",
    ("Report", "ended_at"): "UTC, ISO 8601.",
    ("Report", "versions"): "Of skyfan, numpy and onnxruntime; with a script, of skyfan and Python.",
    ("Report", "error"): "Why the attempt failed; null if it did not.",
    ("Seconds", "total"): "From the start of the task to its report.",
    ("PartRef", "key"): "Key of the part.",
    ("PartRef", "bytes"): "Its size.",
    ("PartRef", "rows"): "Its rows.",
    ("PartRef", "sha256"): "Its hash; `skyfan verify` hashes the part again and compares.",
    ("ResultRef", "key"): "Key of the result.",
    ("ResultRef", "bytes"): "Its size.",
    ("ResultRef", "sha256"): "Its hash; `skyfan verify` hashes the result again and compares.",
    ("ScriptEnd", "wall_s"): "From its start to its end.",
    ("TaskError", "message"): "What, got, expected, what to do.",
    ("TaskError", "may_pass"): "Whether trying again can help.",
    ("TaskError", "ends_run"): "Whether every other task would meet the same.",
    ("TaskError", "exit_code"): "What the command line exits with for it.",
    ("Summary", "schema"): "Version of this form.",
    ("Summary", "run"): "`<bucket>/<result_path>`.",
    (
        "Summary",
        "warnings",
    ): "What does not make the run incomplete but should be known, such as fewer partitions than `file_limit`.",
    ("Summary", "tasks"): "Tasks of the manifest.",
    ("Summary", "tasks_ok"): "With a valid report and its part.",
    ("Summary", "tasks_failed"): "Whose last attempt failed.",
    ("Summary", "tasks_missing"): "With neither.",
    ("Summary", "partitions"): "Partitions of the manifest.",
    ("Summary", "rows_in"): "Rows read by the tasks that are done; with a script 0, as nobody counts its rows.",
    ("Summary", "rows_out"): "Rows in their parts; with a script 0.",
    ("Summary", "rows_flagged"): "Rows with any flag.",
    ("Summary", "flags"): "Rows by name of flag.",
    ("Summary", "bytes_out"): "Bytes of the parts; with a script 0.",
    ("Summary", "failures"): "The failed tasks and why, the first 100.",
    ("Summary", "surplus"): "Objects below `predictions/` and `reports/` that no task explains, the first 100.",
    ("Summary", "task_seconds"): "Seconds per task.",
    (
        "Summary",
        "worker_peak_memory_mb",
    ): "Largest resident set of a worker, MiB, over the tasks; with a script, of all its processes together.",
    ("Summary", "model"): "The model and its hash; null with a script.",
    ("Summary", "script"): "The script and the hash of its code; null with a model.",
    ("Summary", "ended_at"): "UTC, ISO 8601.",
    ("Sums", "dz_square_sum"): "Of dz^2.",
    ("Sums", "residual_square_sum"): "Of (z_phot - z_spec)^2.",
    ("Sums", "z_spec_mean"): "Mean of z_spec.",
    ("Sums", "outliers_015"): "Rows with |dz| > 0.15.",
    ("Sums", "crps_sum"): "Of the CRPS of their PDFs.",
    ("Sums", "within_68"): "Of these, those whose z_spec lies in the 68 % interval.",
    ("Sums", "within_95"): "The same of the 95 % interval.",
    ("Group", "rows"): "Rows of the bin.",
    ("Group", "dz_sum"): "Of dz.",
    ("Group", "dz_square_sum"): "Of dz^2.",
    ("Group", "outliers_005"): "Rows with |dz| > 0.05.",
    ("Group", "outliers_015"): "Rows with |dz| > 0.15.",
    ("Science", "rows_without_prediction"): "z_phot is null.",
    ("Science", "coverage_95"): "The same of the 95 % interval.",
    ("Bin", "rows"): "Galaxies in it.",
    ("Bin", "bias_mean"): "Mean of dz.",
    ("Bin", "outlier_fraction_005"): "Share of |dz| > 0.05.",
    ("Bin", "outlier_fraction_015"): "Share of |dz| > 0.15.",
    ("Evaluation", "run"): "`<bucket>/<result_path>`.",
    ("Evaluation", "rows_without_prediction"): "z_phot is null.",
    ("Evaluation", "rows_without_redshift"): "Predicted, but without a true redshift.",
    ("Evaluation", "metrics"): "Every metric by name, with its error: [metrics](../metrics.md).",
    ("Evaluation", "by_z"): "The same in bins of true redshift.",
    ("EvaluatedBin", "rows"): "Galaxies in it.",
    ("EvaluatedBin", "metrics"): "Every metric of them.",
    ("Drive", "started_at"): "UTC, ISO 8601.",
    ("Drive", "workers"): "Worker processes.",
    ("Drive", "retries"): "Attempts that failed and were made again.",
    ("Failure", "rank"): "Number of the task.",
    ("Failure", "attempts"): "How often it was tried.",
    ("Failure", "partitions"): "What it was to read.",
    ("Failure", "error"): "Why it failed.",
    ("Spread", "min"): "Smallest.",
    ("Spread", "median"): "Median.",
    ("Spread", "p95"): "95th percentile.",
    ("Spread", "max"): "Largest.",
    ("Record", "host"): "Name of the driver's machine.",
    ("Record", "pid"): "Its process number there.",
    ("Standing", "run"): "`<bucket>/<result_path>`.",
    ("Standing", "tasks"): "Tasks of the manifest.",
    ("Standing", "tasks_ok"): "With a valid report and its part.",
    ("Standing", "rows_done"): "Rows in the parts of those tasks; with a script 0.",
    ("Standing", "problems"): "Failures, and why the last summary was not complete.",
    ("Verification", "run"): "`<bucket>/<result_path>`.",
    ("Verification", "complete"): "No problem was found.",
    ("Verification", "tasks"): "Tasks of the manifest.",
    ("Verification", "problems"): "What is wrong.",
}
"""Fields whose class has no docstring line for them, because their name says it to a reader of the code."""


def payload_page() -> str:
    """Return the page of the payload's keys."""
    schema = msgspec.json.schema(Payload)["$defs"]["Payload"]
    keys = schema["properties"]
    required = set(schema["required"])
    rows = [
        (
            f"`{name}`",
            _json_type(entry),
            "required" if name in required else _default(entry.get("default")),
            "yes" if name in EFFORT else "",
            entry["description"],
        )
        for name, entry in keys.items()
    ]
    return "\n".join(
        [
            NOTICE,
            "# Payload",
            "",
            (
                "What is asked for: one JSON object in a file, or a mapping in Python. "
                "Options of `skyfan run` and keyword arguments of `skyfan.run` that are named like a key replace it."
            ),
            "",
            _table(("key", "type", "default", "effort", "meaning"), rows),
            "",
            "- **Required** are " + ", ".join(f"`{name}`" for name in keys if name in required) + ".",
            '- **Numbers** may be given as strings (`"327"`), as the original system has them.',
            (
                "- **Unknown keys** are errors; the message names the nearest known key. "
                "`result path` is taken for `result_path`, with a warning."
            ),
            (
                "- **Effort** keys say how hard to try, not what to compute: a run may be "
                "[resumed](../concepts.md#resume) with other values of these. "
                "With another value of any other key, the result path counts as taken by another payload."
            ),
            (
                "- **Names** (buckets, keys, prefixes, paths) are segments joined by single slashes, without `.`, "
                "`..`, backslashes or control characters, and relative."
            ),
            (
                "- `script`, `S3_object_name` and `object_type` are those of the original system: each task runs a "
                "Python program of yours in place of a model, see [your own script](../scripts.md). That is done only "
                "where `--allow-scripts` (`allow_scripts=True` in Python) says that you trust it; on AWS the stack "
                "says so. A `model` beside a `script` is what is run."
            ),
            "",
            "## Example",
            "",
            f"`{EXAMPLE.relative_to(ROOT)}`, one of the eight payloads of the original system:",
            "",
            "```json",
            EXAMPLE.read_text().strip(),
            "```",
            "",
            (
                "It names a script, whose code its bucket must hold. In a store with the bucket `cosmicai-data` it is "
                "run as it is, or with a model given in place of the script:"
            ),
            "",
            "```shell",
            f"skyfan run {EXAMPLE.relative_to(ROOT)} --allow-scripts",
            f"skyfan run {EXAMPLE.relative_to(ROOT)} --model photoz-sim-2",
            "```",
            "",
        ]
    )


def cluster_page() -> str:
    """Return the page of the options of a cluster that Slurm starts."""
    options = msgspec.json.schema(ClusterOptions)["$defs"]["ClusterOptions"]["properties"]
    rows = [
        (f"`{name}`", _json_type(entry), _default(entry.get("default")), entry["description"])
        for name, entry in options.items()
    ]
    return "\n".join(
        [
            NOTICE,
            "# Cluster options",
            "",
            (
                "The YAML file of `skyfan run --engine dask --scheduler slurm --cluster-options FILE`: what the jobs "
                "are that the workers run in. An unknown key is an error that names the nearest known one. "
                "[Clusters](../hpc.md) says how to use it."
            ),
            "",
            _table(("key", "type", "default", "meaning"), rows),
            "",
        ]
    )


def _json_type(entry: dict[str, Any]) -> str:
    options = [option for option in entry.get("anyOf", [entry]) if option.get("type") != "null"]
    return " or ".join(map(_one_type, options))


def _one_type(option: dict[str, Any]) -> str:
    if "enum" in option:
        return " or ".join(f"`{json.dumps(value)}`" for value in sorted(option["enum"], reverse=True))
    if option["type"] == "array":
        return f"list of {option['items']['type']}"
    low, above, high = (option.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    high = None if high == UNLIMITED else high
    limits = [f"above {above}"] if above is not None else [] if low is None else [f"from {low}"]
    limits += [] if high is None else [f"to {high:,.0f}"]
    return f"{option['type']} {' '.join(limits)}".strip()


def _default(value: Any) -> str:
    return "" if value in (None, []) else f"`{json.dumps(value)}`"


def cli_page() -> str:
    """Return the page of the commands."""
    root = cli.make_context("skyfan", [], resilient_parsing=True)
    names = cli.list_commands(root)
    lines = [NOTICE, "# Command line", "", *_description(cli.help or ""), *_options(cli, root)]
    lines += ["## Exit codes", "", _table(("code", "meaning"), [(str(k), v) for k, v in EXIT_CODES.items()]), ""]
    lines += [
        (
            "An error is one line on stderr that says what is wrong, what was expected and what to do. "
            "There is no traceback. Progress goes to stderr, results to stdout."
        ),
        "",
    ]
    for name in names:
        lines += _command(cli, root, name)
    return "\n".join(lines)


def _command(group: click.Group, parent: click.Context, name: str) -> list[str]:
    """Return the section of one command, and those of its own commands if it is a group."""
    command = group.get_command(parent, name)
    if command is None:
        raise SystemExit(f"generate.py: the command {name!r} is listed but cannot be loaded")
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## {context.command_path}", "", "```text", re.sub(r"\s+", " ", usage), "```", ""]
    lines += [*_description(command.help or ""), *_options(command, context)]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            lines += _command(command, context, below)
    return lines


def _description(text: str) -> list[str]:
    r"""Return a command's help as Markdown; a paragraph under click's `\b` holds its example."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if not paragraph.startswith("\b\n"):
            prose = re.sub(r"<[\w/<>]+>", lambda found: f"`{found[0]}`", paragraph.replace("\n", " "))
            lines += [prose, ""]
            continue
        label, _, commands = paragraph.removeprefix("\b\n").partition(":")
        lines += [f"{label}:", "", "```shell", *map(str.strip, commands.splitlines()), "```", ""]
    return lines


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            name, text = record
            rows.append((f"`{name}`", text.replace("  [", " [")))
    return [_table(("option", "meaning"), rows), ""]


def flags_page() -> str:
    """Return the page of the flags of a row."""
    meanings = _field_docs(predictions.Flag)
    rows = [
        (
            str(flag.value),
            f"`{str(flag.name).lower()}`",
            _outputs_with(flag),
            meanings[str(flag.name)],
        )
        for flag in predictions.Flag
    ]
    return "\n".join(
        [
            NOTICE,
            "# Flags",
            "",
            (
                "The column `flags` of the catalogue is the sum of the values below; 0 means that nothing is to be "
                "said. A bad row is never left out: it has its row in the catalogue, with a flag, and null for every "
                "output that is not known."
            ),
            "",
            _table(("value", "name", "outputs", "meaning"), rows),
            "",
            (
                "To keep the rows whose prediction stands without reserve, take `flags == 0`; to keep every row that "
                "has a certain output, take those where it is not null: a row without a prediction is one whose "
                f"`z_phot` is null. Rows with `flags & {int(predictions.NO_VALUE)} != 0` have no output at all."
            ),
            "",
            "The names are the keys of `flags` in reports and summary. In Python they are `skyfan.predictions.Flag`.",
            "",
        ]
    )


def _outputs_with(flag: predictions.Flag) -> str:
    """Return what a row with that flag has of its outputs."""
    if flag & predictions.NO_VALUE:
        return "null"
    return "null where not finite" if flag is predictions.Flag.NON_FINITE_OUTPUT else "given"


def stored_page() -> str:
    """Return the page of the JSON files that a run stores."""
    sections: list[tuple[str, str, Sequence[type[Struct]]]] = [
        (
            "summary.json",
            "The verdict, written last.",
            (
                summary.Summary,
                summary.Drive,
                task.Seconds,
                tally.Spread,
                summary.Failure,
                task.TaskError,
                science.Science,
                science.Bin,
            ),
        ),
        (
            "reports/00042.json",
            "What task 42 did, written after its part. A failed attempt's lies in failures/ instead.",
            (task.Report, task.PartRef, task.ScriptEnd, task.ResultRef, sums.Sums, sums.Group),
        ),
        (
            "manifest.json",
            "The plan: one JSON array, one item a task.",
            (task.Task, PartitionRef, task.ModelRef, task.ScriptRef, task.ScriptSetting, Limits),
        ),
        (
            "logs/00042.log",
            "What the script of task 42 printed in its last attempt, stdout and stderr as they came.",
            (),
        ),
        (
            "`<rank>.json`",
            (
                "As `42.json`, the rank not padded: the result of the script of task 42, where it left one. An object "
                "of JSON, or a list of objects; what is in it is the script's own. It takes the place of the task's "
                "record in [combined_data.json](../combined-data.md)."
            ),
            (),
        ),
        ("index.json", "Beside partitions, what `skyfan partition` promises of them.", (Index,)),
        ("lease/00001.json", "Who drives the run now, or did last; each driver has the next number.", (lease.Record,)),
        (
            "metrics.json",
            "What `skyfan evaluate` writes, and prints with `--json`.",
            (evaluation.Evaluation, evaluation.EvaluatedBin, evaluation.Estimate),
        ),
        ("What `skyfan status --json` prints", "Not stored.", (standing.Standing,)),
        ("What `skyfan verify --json` prints", "Not stored.", (verification.Verification,)),
    ]
    lines = [NOTICE, "# Stored files", ""]
    lines += ["Units are in the names: `_s` seconds, `_mb` MiB, `_bytes` or `bytes` bytes.", ""]
    for title, text, types in sections:
        lines += [f"## {title}", "", text, ""]
        for kind in types:
            name = "" if kind is types[0] else f"`{kind.__name__}`: {_first_line(kind.__doc__)}"
            lines += [*([name, ""] if name else []), _struct_table(kind), ""]
    return "\n".join(lines)


def _struct_table(kind: type[Struct]) -> str:
    docs = _field_docs(kind)
    hints = typing.get_type_hints(kind)
    rows = []
    for item in msgspec.structs.fields(kind):
        meaning = docs.get(item.name) or MEANINGS.get((kind.__name__, item.name))
        if not meaning:
            raise SystemExit(
                f"generate.py: {kind.__module__}.{kind.__name__}.{item.name} has no meaning; give it a docstring line"
            )
        meaning = re.sub(r"\bNone\b", "null", meaning)
        rows.append((f"`{item.encode_name}`", _type_name(hints[item.name]), meaning))
    return _table(("key", "type", "meaning"), rows)


def _type_name(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if hint is type(None):
        return "null"
    if origin in {list, tuple}:
        return f"list of {_type_name(inner[0])}"
    if origin is dict:
        return f"object of {_type_name(inner[1])}"
    if inner:
        return " or ".join(map(_type_name, inner))
    names = {str: "string", int: "integer", float: "number", bool: "true or false"}
    return names.get(hint) or f"`{hint.__name__}`"


def _field_docs(kind: type) -> dict[str, str]:
    """Return the docstring line under each field of a class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    docs: dict[str, str] = {}
    for statement, after in itertools.pairwise(body):
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]  # type: ignore[assignment]
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(target, ast.Name) and is_text:
            docs[target.id] = inspect.cleandoc(after.value.value).replace("\n", " ")  # type: ignore[attr-defined]
    return docs


def errors_page() -> str:
    """Return the page of the errors."""
    tree = (errors.__doc__ or "").split("\n\n", 1)[1].rstrip()
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SkyfanError)]
    kinds.sort(key=lambda kind: inspect.getsourcelines(kind)[1])
    rows = [
        (
            f"`{kind.__name__}`",
            "1 or 2" if "exit_code" in inspect.signature(kind.__init__).parameters else str(kind.exit_code),
            "yes" if kind.may_pass else "",
            "yes" if kind.ends_run else "",
            _first_line(kind.__doc__),
        )
        for kind in kinds
    ]
    return "\n".join(
        [
            NOTICE,
            "# Errors",
            "",
            "Every error that skyfan raises on purpose, from `skyfan.errors`:",
            "",
            "```text",
            tree,
            "```",
            "",
            _table(("error", "exit code", "tried again", "ends the run", "meaning"), rows),
            "",
            (
                "*Tried again*: what failed can pass, so the task is tried again, up to `max_attempts`. "
                "*Ends the run*: every other task would meet the same, so no new one starts. "
                "A run that fails because of bad input exits with 2, else with 1. "
                "[Bad input](../bad-input.md) says what to do about each."
            ),
            "",
        ]
    )


def readme() -> str:
    """Return the README with its file tree written anew."""
    text = (ROOT / "README.md").read_text()
    start, end = "<!-- tree -->\n", "<!-- /tree -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"generate.py: README.md has no place for the tree; expected lines {start.strip()} and {end}")
    return f"{before}{start}```text\n{tree()}\n```\n{end}{after}"


TREE: dict[str, list[str]] = {
    "what travels, in the order data meets it": [
        "payload.py",
        "partitions.py",
        "manifest.py",
        "task.py",
        "predictions.py",
        "reports.py",
        "tally.py",
        "combined.py",
        "summary.py",
        "comparison.py",
        "evaluation.py",
    ],
    "how it flows": ["selection.py", "planning.py", "stages.py", "pipeline.py", "mapping.py", "engines/", "aws/"],
    "what it costs and takes": ["cost.py", "prices/", "profiling/", "estimating/", "tuning/", "bench/"],
    "what a task does": [
        "inference.py",
        "predictor.py",
        "session.py",
        "screening.py",
        "staging.py",
        "weights.py",
        "scripts.py",
        "script_code.py",
        "scripting/",
        "measure.py",
        "host.py",
        "models/",
    ],
    "where things lie": ["keys.py", "storage.py", "folder.py", "s3.py", "store_errors.py", "blob.py", "formats/"],
    "whose a run is, and where it stands": ["claim.py", "lease.py", "standing.py", "stopping.py", "verification.py"],
    "surveys and models": ["survey.py", "ingest/", "photoz/"],
    "for people and programs": [
        "api.py",
        "making.py",
        "runs.py",
        "catalog/",
        "cli/",
        "demo.py",
        "watching.py",
        "progress.py",
        "tables.py",
        "plots.py",
        "graph/",
        "report/",
        "wording.py",
        "errors.py",
        "__main__.py",
    ],
}
"""The package's files as a newcomer should meet them; one that is in no group is an error."""


def tree() -> str:
    """Return the files of the package, in groups, with the first line of each one's docstring."""
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").is_file()
    }
    listed = list(itertools.chain.from_iterable(TREE.values()))
    if there != set(listed):
        raise SystemExit(f"generate.py: TREE and src/skyfan differ in {', '.join(sorted(there ^ set(listed)))}")
    lines = ["src/skyfan/"]
    for group, names in TREE.items():
        lines += ["", f"  # {group}", *map(_tree_line, names)]
    return "\n".join(lines)


def _tree_line(name: str) -> str:
    source = PACKAGE / name / "__init__.py" if name.endswith("/") else PACKAGE / name
    docstring = ast.get_docstring(ast.parse(source.read_text()))
    return f"  {name:<17} {_first_line(docstring).rstrip('.').replace('`', '')}"


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").split("\n", 1)[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PAGES: dict[Path, Callable[[], str]] = {
    DOCS / "reference" / "payload.md": payload_page,
    DOCS / "reference" / "cli.md": cli_page,
    DOCS / "reference" / "cluster.md": cluster_page,
    DOCS / "reference" / "flags.md": flags_page,
    DOCS / "reference" / "stored.md": stored_page,
    DOCS / "reference" / "errors.md": errors_page,
    ROOT / "README.md": readme,
}


def stale() -> list[Path]:
    """Return the files that are not as the code would have them."""
    return [path for path, page in PAGES.items() if not path.is_file() or path.read_text() != page()]


def main() -> None:
    """Write what is stale, or only say so."""
    parser = argparse.ArgumentParser(description="Write the generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    found = stale()
    for path in found:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PAGES[path]())
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'stale: run python docs/generate.py' if check else 'written'}\n")
    sys.exit(1 if check and found else 0)


if __name__ == "__main__":
    main()
