"""skyfan aws deploy, upload, status, iam, package, destroy."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyfan.cli.group import KnowingGroup, json_option
from skyfan.cli.settings import NAMED, cloud_options, settings_of, settings_options

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud

DECLINED = 1


@click.group(cls=KnowingGroup)
def aws() -> None:
    """Make the system in your AWS account, look at it, and take it away again.

    Credentials are whatever boto3 finds: environment, profile, SSO.

    \b
    Start with:  skyfan aws deploy --dry-run
    """


@aws.command(short_help="Make the stack, or change it")
@settings_options
@click.option("--package", type=click.Path(path_type=Path), metavar="ZIP", help="From 'skyfan aws package'.")
@click.option("--dry-run", is_flag=True, help="Show what would change and stop; nothing is left behind.")
@click.option("--yes", is_flag=True, help="Do not ask before a stack whose creation failed is deleted.")
@cloud_options
@json_option
def deploy(
    package: Path | None,
    dry_run: bool,
    yes: bool,
    stack: str | None,
    region: str | None,
    profile: str | None,
    json_lines: bool,
    **options: Any,
) -> None:
    """Make the stack in your account, or change it; what is not named keeps its value.

    \b
    Example:  skyfan aws deploy --bucket my-results --memory 3008
              skyfan aws deploy --set LogRetentionDays=7 --dry-run
    """
    from skyfan.aws.deploying import deploy as do
    from skyfan.aws.session import Cloud, resolve_stack
    from skyfan.cli.stacks import confirm, say, say_json

    name, settings = resolve_stack(stack), settings_of(options)
    done = do(
        Cloud(region, profile),
        name,
        settings,
        package=package,
        watch=say_json if json_lines else say,
        ask=lambda question: yes or confirm(question),
        dry_run=dry_run,
    )
    if json_lines:
        say_json(done)
    elif dry_run:
        click.echo(f"stack {name}: {'no changes' if done.changes is None else 'dry run, nothing was done'}")
    elif done.stack:
        from skyfan.tables import show

        click.echo(f"stack {name}: {'no changes' if done.changes is None else 'deployed'}")
        show("outputs", list(done.stack.outputs.items()))


@aws.command(short_help="Copy partitions or a model to a bucket")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", metavar="[BUCKET/PREFIX]", required=False)
@click.option("--workers", type=int, default=8, show_default=True, metavar="N", help="Files at a time.")
@click.option("--overwrite", is_flag=True, help="Replace objects of another content.")
@click.option("--quiet", is_flag=True, help="No progress.")
@cloud_options
@json_option
def upload(
    source: Path,
    destination: str | None,
    workers: int,
    overwrite: bool,
    quiet: bool,
    stack: str | None,
    region: str | None,
    profile: str | None,
    json_lines: bool,
) -> None:
    """Copy SOURCE, a folder of partitions or a model, to a bucket; what is there already is not sent again.

    Without BUCKET/PREFIX a folder goes below the stack's DataPrefix, and an .onnx file to its ModelPrefix.

    \b
    Example:  skyfan aws upload skyfan-data/sky/25MB
              skyfan aws upload model.onnx
              skyfan aws upload skyfan-data/sky/25MB my-bucket/surveys/25MB
    """
    from skyfan.aws.session import Cloud
    from skyfan.aws.upload import upload as do
    from skyfan.cli.stacks import say_json
    from skyfan.progress import counting
    from skyfan.wording import counted, size

    cloud = Cloud(region, profile)
    bucket, prefix = _destination(cloud, source, destination, stack)
    with counting("uploading", quiet=quiet or json_lines) as progress:
        done = do(cloud, source, bucket, prefix, workers=workers, overwrite=overwrite, progress=progress)
    if json_lines:
        say_json(done)
        return
    click.echo(
        f"s3://{done.bucket}/{done.prefix}/: {counted(done.files, 'file')}, {size(done.bytes)}; sent "
        f"{size(done.bytes_sent)} in {done.seconds:.1f} s, {counted(done.skipped, 'file')} there already"
    )


@aws.command(short_help="Show the stack and its last executions")
@cloud_options
@json_option
def status(stack: str | None, region: str | None, profile: str | None, json_lines: bool) -> None:
    """Show the stack: its status, parameters and outputs, the code in it, the last executions.

    Exit code 2 unless it is there and whole.

    \b
    Example:  skyfan aws status --region us-east-1
    """
    from skyfan.aws.overview import overview
    from skyfan.aws.session import Cloud, resolve_stack
    from skyfan.cli.stacks import say_json, show_overview
    from skyfan.errors import StackError

    found = overview(Cloud(region, profile), resolve_stack(stack))
    if json_lines:
        say_json(found)
    else:
        show_overview(found)
    if not found.stack.usable:
        raise StackError(found.stack.advice)


@aws.command(short_help="Print the roles and permissions it needs")
@settings_options
@click.option("--deployer", is_flag=True, help="Instead, what a person has to be allowed who deploys and destroys.")
@click.option("--runner", is_flag=True, help="Instead, what a person has to be allowed who uploads and runs.")
@click.option("--account", metavar="NUMBER", help="Default: that of your credentials.")
@cloud_options
def iam(
    deployer: bool,
    runner: bool,
    account: str | None,
    stack: str | None,
    region: str | None,
    profile: str | None,
    **options: Any,
) -> None:
    """Print the roles that a deployment with these options makes, as JSON; nothing is made.

    \b
    Example:  skyfan aws iam --bucket my-results
              skyfan aws iam --deployer --account 123456789012
    """
    import msgspec

    from skyfan.aws.iam import deployer_permissions, role_documents, runner_permissions
    from skyfan.aws.session import Cloud, resolve_stack
    from skyfan.aws.template import check_settings

    settings = settings_of(options)
    check_settings(settings)
    if deployer and runner:
        raise click.BadParameter("--deployer and --runner are both given; expected one of them at a time")
    cloud = Cloud(region, profile)
    place: dict[str, Any] = {"stack": resolve_stack(stack), "account": account or cloud.account, "region": cloud.region}
    if deployer:
        named: dict[str, Any] = {
            option: settings.get(NAMED[option]) for option in ("bucket", "data_bucket", "code_bucket", "script_image")
        }
        found = deployer_permissions(**place, **named)
    elif runner:
        found = runner_permissions(**place, settings=settings)
    else:
        found = role_documents(settings, **place)
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@aws.command(short_help="Build the zip that the functions are made from")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--architecture", type=click.Choice(["arm64", "x86_64"]), default="arm64", show_default=True)
@click.option("--python", default="3.13", show_default=True, metavar="VERSION", help="Of the Lambda runtime.")
@json_option
def package(out: Path, architecture: str, python: str, json_lines: bool) -> None:
    """Build the zip OUT that the functions are made from; the same versions give the same bytes.

    \b
    Example:  skyfan aws package skyfan.zip --architecture x86_64
    """
    from skyfan.aws.package import build
    from skyfan.cli.stacks import say_json
    from skyfan.wording import size

    built = build(out, architecture, python)
    if json_lines:
        say_json(built)
        return
    click.echo(f"{built.path}: {size(built.size_bytes)}, {size(built.unzipped_bytes)} unzipped, for {architecture}")
    click.echo(f"sha256 {built.sha256}")


@aws.command(short_help="Delete the stack and its code")
@click.option("--delete-results", is_flag=True, help="Also the results bucket, if the stack made it.")
@click.option("--code-bucket", metavar="NAME", help="Where the code lies, if the stack is gone already.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cloud_options
@json_option
def destroy(
    delete_results: bool,
    code_bucket: str | None,
    yes: bool,
    stack: str | None,
    region: str | None,
    profile: str | None,
    json_lines: bool,
) -> None:
    """Delete the stack and its code. Buckets that you named stay, and so do results unless --delete-results is given.

    \b
    Example:  skyfan aws destroy
    """
    from skyfan.aws.destroying import destroy as do
    from skyfan.aws.session import Cloud, resolve_stack
    from skyfan.cli.stacks import confirm, farewell, question, say, say_json

    name = resolve_stack(stack)
    done = do(
        Cloud(region, profile),
        name,
        delete_results=delete_results,
        code_bucket=code_bucket,
        watch=say_json if json_lines else say,
        ask=lambda doomed: yes or confirm(question(name, doomed)),
    )
    if done is None:
        click.echo("nothing was deleted", err=True)
        sys.exit(DECLINED)
    if json_lines:
        say_json(done)
    else:
        click.echo(farewell(name, done))


def _destination(cloud: "Cloud", source: Path, destination: str | None, stack: str | None) -> tuple[str, str]:
    """Return the bucket and the folder that something is copied to: what is named, or the stack's own."""
    if destination:
        bucket, slash, prefix = destination.removeprefix("s3://").partition("/")
        if not slash or not prefix.strip("/"):
            raise click.BadParameter(f"{destination}; expected a bucket, '/' and a folder, as in sky/surveys/25MB")
        return bucket, prefix
    from skyfan.aws.session import resolve_stack
    from skyfan.aws.stack import describe_stack

    found = describe_stack(cloud, resolve_stack(stack))
    if source.suffix == ".onnx":
        return found.bucket, found.parameters["ModelPrefix"]
    return found.data_bucket, f"{found.parameters['DataPrefix']}/{source.resolve().name}"
