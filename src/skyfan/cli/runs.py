"""skyfan run, status, stop, verify."""

import sys
from typing import TYPE_CHECKING, Any

import click

from skyfan.cli.group import json_option, store_option
from skyfan.cli.settings import cloud_options
from skyfan.errors import SkyfanError

if TYPE_CHECKING:
    from skyfan.watching import Billed, RunEvent, Watcher

INCOMPLETE = 3
AWS_OPTIONS = ("stack", "region", "profile", "max_cost", "detach")
NEXT = (
    "'skyfan status {run} --store s3://' says where it stands, the same command without --detach watches it, "
    "'skyfan stop {run} --store s3://' stops it"
)


@click.command()
@click.argument("payload")
@store_option
@click.option(
    "--engine",
    type=click.Choice(["local", "dask", "aws"]),
    default="local",
    show_default=True,
    help="Where the tasks run.",
)
@click.option("--workers", type=int, metavar="N", help="Worker processes of one thread each. Default: one per core.")
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE|slurm",
    help="Of Dask: a scheduler that there is, as tcp://host:8786 or its scheduler file, or slurm, which submits the "
    "workers as jobs. Default: a cluster on this machine.",
)
@click.option("--cluster-options", metavar="FILE", help="YAML file: what the jobs are, with --scheduler slurm.")
@click.option(
    "--model", metavar="KEY|NAME", help="Key of an ONNX file in the bucket, or a model that ships with skyfan."
)
@click.option("--result-path", metavar="PATH", help="Folder in the bucket for all that the run writes.")
@click.option("--data-bucket", metavar="NAME", help="Bucket of the partitions.")
@click.option("--data-prefix", metavar="PREFIX", help="Folder of the partitions.")
@click.option("--file-limit", type=int, metavar="N", help="At most so many partitions.")
@click.option("--world-size", type=int, metavar="N", help="Number of tasks.")
@click.option("--batch-size", type=int, metavar="N", help="Rows that the model is given at once.")
@click.option("--threads", type=int, metavar="N", help="Threads of one worker's model.")
@click.option("--max-concurrency", type=int, metavar="N", help="At most so many tasks at a time.")
@click.option("--max-attempts", type=int, metavar="N", help="How often a task is tried.")
@click.option("--tolerated-failure-percentage", type=float, metavar="P", help="Per cent of tasks that may fail.")
@click.option("--tolerated-failure-count", type=int, metavar="N", help="Number of tasks that may fail.")
@click.option("--task-timeout-s", type=float, metavar="S", help="Seconds for one attempt at a task.")
@click.option("--overwrite", is_flag=True, help="Delete first what another run stored at the result path.")
@click.option("--allow-scripts", is_flag=True, help="Let the payload's script run: it can do whatever you can.")
@click.option(
    "--compat-payload-json",
    is_flag=True,
    help="Write payload.json at the bucket's root too, as the original system did; two runs at once share it.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop; nothing is written.")
@click.option("--quiet", is_flag=True, help="No progress.")
@cloud_options
@click.option("--max-cost", type=float, metavar="USD", help="On AWS: refuse what may cost more, stop what has.")
@click.option("--detach", is_flag=True, help="On AWS: end as soon as the run is started; it goes on by itself.")
@json_option
def run(
    payload: str,
    store: str | None,
    engine: str,
    workers: int | None,
    scheduler: str | None,
    cluster_options: str | None,
    overwrite: bool,
    allow_scripts: bool,
    compat_payload_json: bool,
    dry_run: bool,
    quiet: bool,
    json_lines: bool,
    **options: Any,
) -> None:
    """Run a model, or a script, over every partition that PAYLOAD, a JSON file, names.

    Where an earlier run of it ended, this goes on.

    Options named like a payload key replace it. Exit code: 0 done and complete, 1 failed, 2 bad input, 3 ended
    incomplete, 130 interrupted.

    On AWS, what it will cost is said before it starts. Ctrl-C ends the watching only: the run goes on, and the same
    command again watches it.

    \b
    Example:  skyfan run examples/payloads/25MB-8GB.json --model photoz-sim-2
    """
    import skyfan
    from skyfan.progress import watching
    from skyfan.tables import plan_rows, summary_rows

    aws = {name: options.pop(name) for name in AWS_OPTIONS}
    if dry_run:
        del aws["detach"]
        with watching(json_lines=json_lines, quiet=quiet) as watch:
            planned = skyfan.plan(
                payload, store=store, engine=engine, watch=watch, overwrite=overwrite, **aws, **options
            )
        _print(planned.describe() if json_lines else None, f"plan of {planned.payload.run_id}", plan_rows(planned))
        return
    noted = _Noted()
    try:
        with watching(json_lines=json_lines, quiet=quiet) as watch:
            done = skyfan.run(
                payload,
                store=store,
                engine=engine,
                workers=workers,
                scheduler=scheduler,
                cluster_options=cluster_options,
                allow_scripts=allow_scripts,
                compat_payload_json=compat_payload_json,
                watch=noted.watching(watch),
                overwrite=overwrite,
                **aws,
                **options,
            )
    except SkyfanError:
        if not json_lines:
            noted.show_bill()
        raise
    if aws["detach"] and not noted.ended:
        if not json_lines:
            click.echo(f"{done.id}: started; it goes on by itself. {NEXT.format(run=done.id)}")
        return
    summary = done.summary
    if summary is not None and not json_lines:
        _print(None, done.id, summary_rows(summary, done.where))
        noted.show_bill()
    if summary is None or not summary.complete:
        sys.exit(INCOMPLETE)


class _Noted:
    """What of a run's events is needed after it."""

    def __init__(self) -> None:
        self.ended = False
        self._bill: Billed | None = None

    def watching(self, watch: "Watcher") -> "Watcher":
        from skyfan.watching import Billed, Ended

        def note(event: "RunEvent") -> None:
            if isinstance(event, Billed):
                self._bill = event
            self.ended |= isinstance(event, Ended)
            watch(event)

        return note

    def show_bill(self) -> None:
        from skyfan.tables import bill_rows, show

        if self._bill is not None:
            show("cost", bill_rows(self._bill))


@click.command()
@click.argument("name", metavar="RUN")
@store_option
@cloud_options
def stop(name: str, store: str | None, stack: str | None, region: str | None, profile: str | None) -> None:
    """Stop RUN, be it on AWS or in another process of this machine. Running its payload again goes on.

    RUN is a payload file or <bucket>/<result_path>. With an option of AWS the store is S3.

    \b
    Example:  skyfan stop sky/results/first
    """
    from skyfan import api

    click.echo(api.stop(name, store=store, stack=stack, region=region, profile=profile))


@click.command()
@click.argument("name", metavar="RUN")
@store_option
@click.option("--profile", metavar="NAME", help="On AWS: of the credentials. Default: what boto3 finds.")
@json_option
def status(name: str, store: str | None, profile: str | None, json_lines: bool) -> None:
    """Say where RUN stands, from its store; AWS is asked whether an execution that drives it goes on.

    Exit code 3 unless it is complete or running.

    RUN is a payload file or <bucket>/<result_path>.

    \b
    Example:  skyfan status sky/results/first
    """
    import skyfan
    from skyfan.aws.session import Cloud
    from skyfan.standing import checked_with_aws
    from skyfan.tables import standing_rows

    opened = skyfan.open_run(name, store=store)
    standing = checked_with_aws(opened.status(), lambda region: Cloud(region, profile), opened.status)
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
