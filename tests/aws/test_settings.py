"""Settings of a stack: those of the template, checked by its rules."""

import pytest
import yaml

from aws.policies import PLACE
from aws.test_template import _Loader
from skyfan.aws import template
from skyfan.aws.iam import role_documents, runner_permissions
from skyfan.aws.resolving import read_template
from skyfan.aws.template import parameter_defaults
from skyfan.errors import InputError

BODY_LIMIT_BYTES = 51_200
"""Of a template that is sent with a request, and not from a bucket."""


def test_parameters_are_those_of_the_template() -> None:
    text = template.template_text()
    assert len(text.encode()) < BODY_LIMIT_BYTES
    parameters = yaml.load(text, _Loader)["Parameters"]  # noqa: S506  as there
    expected = {name: str(given["Default"]) if "Default" in given else None for name, given in parameters.items()}
    assert template.parameter_defaults() == expected


def test_the_parameters_are_read_as_a_deployment_reads_them() -> None:
    parameters = read_template()["Parameters"]
    expected = {name: str(rules["Default"]) if "Default" in rules else None for name, rules in parameters.items()}
    assert expected == parameter_defaults()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("infer_memory", "has no such parameter; did you mean 'InferMemory'"),
        ("Architectur", "did you mean 'Architecture'"),
        ("Colour-of-the-sky", "known are CodeBucket, Bucket, DataBucket"),
        ("CodeKey", "is what a deployment uploads; .*leave it out"),
    ],
)
def test_unknown_settings(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        template.check_settings({name: "1"})


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="Bukket: the template has no such parameter; expected one of CodeBucket"):
        role_documents({"Bukket": "x"}, **PLACE)
    with pytest.raises(InputError, match="DataPrefix: got '/x'; expected A folder without a slash at either end"):
        role_documents({"DataPrefix": "/x"}, **PLACE)
    with pytest.raises(InputError, match="Architecture: got 'mips'; expected one of arm64, x86_64"):
        runner_permissions(**PLACE, settings={"Architecture": "mips"})
