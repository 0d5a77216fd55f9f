"""What a stack cannot run is refused before anything starts, and what Initialize refuses in its own words."""

from typing import Any

import pytest

import skyfan
from aws.driver.executions import Seen, executions_of
from aws.states import Machine
from skyfan.errors import InputError, PayloadError, RunFailedError, StackError


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bucket": "land"}, "'bucket' is 'land'; expected 'sky', the one of stack skyfan"),
        ({"data_bucket": "sea"}, "'data_bucket' is 'sea'; expected 'sky'"),
        (
            {"result_path": "results-old/one"},
            "'result_path' is 'results-old/one'; expected it in the folder 'results/'",
        ),
        ({"result_path": "results"}, "'result_path' is 'results'; expected it in the folder 'results/'"),
        ({"data_prefix": "50MB"}, "'data_prefix' is '50MB'; expected it in the folder '25MB/'.*another DataPrefix"),
        ({"model": "old/tiny.onnx"}, "'model' is 'old/tiny.onnx'; expected it in the folder 'models/'"),
    ],
)
def test_what_the_stack_may_not_reach_is_said_before_anything_starts(
    arn: str, asked: dict[str, Any], changed: dict[str, str], message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        skyfan.run(asked | changed, engine="aws")
    assert executions_of(arn) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "/srv/x"}, "expected s3://"),
        ({"workers": 2}, "limit it with max_concurrency"),
        ({"engine": "local", "stack": "skyfan"}, "stack: got 'skyfan' with the engine 'local'"),
        ({"engine": "local", "max_cost": 1.0}, "max_cost: got 1.0"),
        ({"engine": "local", "detach": True}, "detach: got True"),
        ({"engine": "slurm"}, "there is no such engine; expected one of local, dask, aws"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    asked: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        skyfan.run(asked, **{"engine": "aws", **options})


def test_a_stack_that_is_not_there_is_said(machine: Machine, asked: dict[str, Any]) -> None:
    with pytest.raises(StackError, match=r"stack nowhere: there is none .*skyfan aws deploy"):
        skyfan.run(asked, engine="aws", stack="nowhere")


def test_what_initialize_refuses_comes_in_its_own_words(machine: Machine, arn: str, asked: dict[str, Any]) -> None:
    seen = Seen()
    with pytest.raises(RunFailedError, match=r"^sky/results/\w+: payload: max_attempts is 4; expected at most 3") as at:
        skyfan.run(asked, engine="aws", max_attempts=4, watch=seen)
    assert at.value.exit_code == 2
    assert "Traceback" not in str(at.value)
    assert seen.names == ["Priced", "Started", "Planned"]
