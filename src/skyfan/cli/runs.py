"""skyfan run, status, verify."""

import sys
from typing import Any

import click

from skyfan.cli.group import json_option, store_option

INCOMPLETE = 3


@click.command()
@click.argument("payload")
@store_option
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Where the tasks run.")
@click.option("--workers", type=int, metavar="N", help="Worker processes of one thread each. Default: one a core.")
@click.option(
    "--model", metavar="KEY|NAME", help="Key of an ONNX file in the bucket, or a model that ships with skyfan."
)
@click.option("--result-path", metavar="PATH", help="Folder in the bucket for all that the run writes.")
@click.option("--data-bucket", metavar="NAME", help="Bucket of the partitions.")
@click.option("--data-prefix", metavar="PREFIX", help="Folder of the partitions.")
@click.option("--file-limit", type=int, metavar="N", help="At most so many partitions.")
@click.option("--world-size", type=int, metavar="N", help="Number of tasks.")
@click.option("--batch-size", type=int, metavar="N", help="Rows that the model is given at once.")
@click.option("--max-concurrency", type=int, metavar="N", help="At most so many tasks at a time.")
@click.option("--max-attempts", type=int, metavar="N", help="How often a task is tried.")
@click.option("--tolerated-failure-percentage", type=float, metavar="P", help="Per cent of tasks that may fail.")
@click.option("--tolerated-failure-count", type=int, metavar="N", help="Number of tasks that may fail.")
@click.option("--task-timeout-s", type=float, metavar="S", help="Seconds for one attempt at a task.")
@click.option("--overwrite", is_flag=True, help="Delete first what another run stored at the result path.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop; nothing is written.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def run(
    payload: str,
    store: str | None,
    engine: str,
    workers: int | None,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    json_lines: bool,
    **overrides: Any,
) -> None:
    """Run a model over every partition that PAYLOAD, a JSON file, names; or go on where an earlier run of it ended.

    Options named like a payload key replace it. Exit code: 0 done and complete, 1 failed, 2 bad input, 3 ended
    incomplete, 130 interrupted.

    \b
    Example:  skyfan run examples/payloads/25MB-8GB.json --model photoz-sim-2
    """
    import skyfan
    from skyfan.progress import watching
    from skyfan.tables import plan_rows, show, summary_rows

    if dry_run:
        planned = skyfan.plan(payload, store=store, overwrite=overwrite, **overrides)
        _print(planned.describe() if json_lines else None, f"plan of {planned.payload.run_id}", plan_rows(planned))
        return
    with watching(json_lines=json_lines, quiet=quiet) as watch:
        done = skyfan.run(
            payload, store=store, engine=engine, workers=workers, watch=watch, overwrite=overwrite, **overrides
        )
    summary = done.summary
    if summary is not None and not json_lines:
        show(done.id, summary_rows(summary, done.where))
    if summary is None or not summary.complete:
        sys.exit(INCOMPLETE)


@click.command()
@click.argument("name", metavar="RUN")
@store_option
@json_option
def status(name: str, store: str | None, json_lines: bool) -> None:
    """Say where RUN stands, from its store alone. Exit code 3 unless it is complete or running.

    RUN is a payload file or <bucket>/<result_path>.

    \b
    Example:  skyfan status sky/results/first
    """
    import skyfan
    from skyfan.tables import standing_rows

    standing = skyfan.open_run(name, store=store).status()
    _print(standing.encode() if json_lines else None, standing.run, standing_rows(standing))
    if standing.state not in {"complete", "running"}:
        sys.exit(INCOMPLETE)


@click.command()
@click.argument("name", metavar="RUN")
@store_option
@json_option
def verify(name: str, store: str | None, json_lines: bool) -> None:
    """Prove that the catalogue of RUN is complete: read, hash and count every part again. Exit code 3 if it is not.

    RUN is a payload file or <bucket>/<result_path>.

    \b
    Example:  skyfan verify sky/results/first
    """
    import skyfan
    from skyfan.tables import verification_rows

    verification = skyfan.open_run(name, store=store).verify()
    _print(verification.encode() if json_lines else None, verification.run, verification_rows(verification))
    if not verification.complete:
        sys.exit(INCOMPLETE)


def _print(json_line: bytes | None, title: str, rows: list[tuple[str, str]]) -> None:
    from skyfan.tables import show

    if json_line is not None:
        click.echo(json_line.decode())
    else:
        show(title, rows)
