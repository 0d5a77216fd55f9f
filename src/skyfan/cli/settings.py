"""What the commands on AWS share: where the stack is, and what it is set to."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

NAMED = {
    "bucket": "Bucket",
    "data_bucket": "DataBucket",
    "code_bucket": "CodeBucket",
    "architecture": "Architecture",
    "memory": "InferMemory",
    "max_concurrency": "MaxConcurrency",
    "children": "ChildExecutionType",
    "script_image": "ScriptImage",
}
"""Option -> the parameter of the template that it sets."""


def cloud_options(function: F) -> F:
    """Add --stack, --region and --profile."""
    for option in (
        click.option("--profile", metavar="NAME", help="Of the credentials. Default: what boto3 finds."),
        click.option("--region", metavar="NAME", help="As us-east-1. Default: AWS_REGION, then the profile's."),
        click.option("--stack", metavar="NAME", help="Name of the stack. Default: SKYFAN_STACK, then skyfan."),
    ):
        function = option(function)
    return function


def settings_options(function: F) -> F:
    """Add --set and the options for what is often set."""
    for option in (
        click.option(
            "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any parameter of the template; repeat."
        ),
        click.option("--code-bucket", metavar="NAME", help="For the code. Default: skyfan-code-ACCOUNT-REGION."),
        click.option(
            "--script-image",
            metavar="URI",
            help="Image of ECR with what scripts need, and skyfan; it lets payloads with a script run.",
        ),
        click.option(
            "--children",
            type=click.Choice(["EXPRESS", "STANDARD"]),
            help="EXPRESS: a task has five minutes and costs next to nothing. STANDARD: no such limit.",
        ),
        click.option("--max-concurrency", type=int, metavar="N", help="Tasks at a time, at most."),
        click.option("--memory", type=int, metavar="MB", help="Of a worker."),
        click.option("--architecture", type=click.Choice(["arm64", "x86_64"]), help="Processor of the functions."),
        click.option("--data-bucket", metavar="NAME", help="An existing bucket with the partitions; only read."),
        click.option("--bucket", metavar="NAME", help="An existing bucket for results and models, never deleted."),
    ):
        function = option(function)
    return function


def settings_of(options: dict[str, Any]) -> dict[str, str]:
    """Return the template's parameters that the options name; each may be given once."""
    settings = {NAMED[option]: str(value) for option, value in options.items() if option in NAMED and value is not None}
    for pair in options["pairs"]:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"--set {pair}; expected a name, '=' and a value, as in --set LogRetentionDays=7")
        if name in settings:
            raise click.BadParameter(f"{name} is given twice; expected each setting once")
        settings[name] = value
    return settings
