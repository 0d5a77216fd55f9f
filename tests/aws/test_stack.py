"""A stack as it is found: absent, in another region, at a status that allows nothing, or whole."""

from pathlib import Path

import pytest

from aws.accounts import there
from aws.deployments import MOTO_ACCOUNT, Seen, make
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import destroy
from skyfan.aws.session import Cloud
from skyfan.aws.stack import describe_stack
from skyfan.errors import StackError


def test_no_stack(moto: Cloud) -> None:
    with pytest.raises(StackError, match=r"there is none in account \d+, region us-east-1; deploy it: skyfan aws depl"):
        describe_stack(moto, "none")
    with pytest.raises(StackError, match=r"stack none: there is none .* and no code of it in skyfan-code-"):
        destroy(moto, "none", watch=Seen())


def test_a_stack_in_another_region(moto: Cloud) -> None:
    make(moto, "home")
    away = Cloud("eu-west-1")
    with pytest.raises(StackError, match=r"region eu-west-1; .*name the place where it is: --region, --profile"):
        describe_stack(away, "home")


@pytest.mark.parametrize(
    ("status", "to_deploy", "to_destroy"),
    [
        ("CREATE_IN_PROGRESS", "wait until 'skyfan aws status", "expected no operation under way"),
        ("UPDATE_IN_PROGRESS", "wait until 'skyfan aws status", "expected no operation under way"),
        ("DELETE_IN_PROGRESS", "it is being deleted; wait for the end: skyfan aws destroy", None),
        ("DELETE_FAILED", "not all of it could be deleted; go on: skyfan aws destroy --stack odd", None),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name odd --region us-east-1", None),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "tidies up after an update; wait a minute", "no operation under way"),
    ],
)
def test_a_stack_that_cannot_be_deployed_to(
    moto: Cloud, package: Path, status: str, to_deploy: str, to_destroy: str | None
) -> None:
    make(moto, "odd", status)
    with pytest.raises(StackError, match=to_deploy):
        deploy(moto, "odd", {}, package=package, watch=Seen())
    if to_destroy:
        with pytest.raises(StackError, match=to_destroy):
            destroy(moto, "odd", watch=Seen())
    assert not there(moto)


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"]
)
def test_a_stack_that_runs_can_be_started_on(moto: Cloud, status: str) -> None:
    make(moto, "whole", status)
    found = describe_stack(moto, "whole")
    assert found.status == status
    assert found.account == MOTO_ACCOUNT
    with pytest.raises(StackError, match="stack whole: has no output BucketName; expected a stack of this skyfan"):
        assert found.bucket
