"""The template as CloudFormation sees it: one stack's names, and its functions resolved."""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from skyfan.errors import InputError
from skyfan.wording import with_extra

FUNCTIONS = ("initialize", "infer", "infer-large", "summarize")
SCRIPT = "script"
"""The function that a stack has besides if it has an image for scripts."""
SOME = "*"
"""Stands for the random end of a name that CloudFormation makes up."""

_NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{(!?)([\w:.]+)\}")
_LONGEST_NAME = 64  # of a role; CloudFormation cuts what it makes up to fit
_RANDOM = 13
_NAMED_BY = {
    "AWS::Lambda::Function": ("FunctionName", "lambda", "function:"),
    "AWS::Logs::LogGroup": ("LogGroupName", "logs", "log-group:"),
    "AWS::StepFunctions::StateMachine": ("StateMachineName", "states", "stateMachine:"),
}


class Place:
    """A stack's account and region, and what things are called there."""

    def __init__(self, stack: str, account: str, region: str) -> None:
        self.stack, self.account, self.region = stack, account, region
        self.partition = partition_of(region)

    def arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{'' if service == 'iam' else self.region}:{self.account}:{name}"

    def s3(self, bucket: str) -> str:
        return f"arn:{self.partition}:s3:::{bucket}"

    def role(self, name: str) -> str:
        return self.arn("iam", f"role/{made_up(self.stack, name)}")

    @property
    def made_bucket(self) -> str:
        return made_up(self.stack, "NewBucket").lower()

    def log_groups(self, functions: Iterable[str]) -> list[str]:
        return [self.arn("logs", f"log-group:/aws/lambda/{self.stack}-{name}") for name in functions]


def partition_of(region: str) -> str:
    """Return the partition of AWS that a region is in, with which every ARN begins."""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")


def made_up(stack: str, name: str) -> str:
    """Return how CloudFormation begins a name that it makes up; it cuts both halves of one that would be too long."""
    if len(f"{stack}-{name}-") + _RANDOM <= _LONGEST_NAME:
        return f"{stack}-{name}-{SOME}"
    return f"{stack[:20]}{SOME}-{name[:4]}{SOME}"


def read_template() -> dict[str, Any]:
    """Return the template, with CloudFormation's short forms as its long ones.

    Raises
    ------
    InputError
        If pyyaml is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"AWS: pyyaml is not installed; {with_extra('aws')}") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Reads CloudFormation's short forms as its long ones."""

    def function(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            argument: Any = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            argument = loader.construct_sequence(node, deep=True)
        else:
            argument = loader.construct_mapping(node, deep=True)
        if suffix == "GetAtt" and isinstance(argument, str):
            argument = argument.split(".", 1)
        return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": argument}

    Loader.add_multi_constructor("!", function)
    text = (files("skyfan.aws") / "template.yaml").read_text(encoding="utf-8")
    template: dict[str, Any] = yaml.load(text, Loader)  # noqa: S506  a SafeLoader
    return template


def values_of(parameters: Mapping[str, Mapping[str, Any]], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every parameter that has one, as the text that CloudFormation makes of it."""
    for name, value in settings.items():
        rules = parameters.get(name)
        if rules is None:
            raise InputError(f"{name}: the template has no such parameter; expected one of {', '.join(parameters)}")
        allowed = [str(one) for one in rules.get("AllowedValues", [])]
        pattern = rules.get("AllowedPattern", ".*")
        if (allowed and value not in allowed) or not re.fullmatch(pattern, value, re.DOTALL):
            expected = f"one of {', '.join(allowed)}" if allowed else rules.get("ConstraintDescription", pattern)
            raise InputError(f"{name}: got {value!r}; expected {expected}")
    defaults = {name: str(rules["Default"]) for name, rules in parameters.items() if "Default" in rules}
    return defaults | dict(settings)


class Resolver:
    """Resolves CloudFormation's functions for one stack."""

    def __init__(
        self,
        template: Mapping[str, Any],
        values: Mapping[str, str],
        place: Place,
        made: Mapping[str, str],
    ) -> None:
        self._resources, self._conditions = template["Resources"], template.get("Conditions", {})
        self._place, self._made = place, made
        self._values: dict[str, Any] = {
            **values,
            "AWS::AccountId": place.account,
            "AWS::NoValue": _NO_VALUE,
            "AWS::Partition": place.partition,
            "AWS::Region": place.region,
            "AWS::StackName": place.stack,
            "AWS::URLSuffix": "amazonaws.com.cn" if place.partition == "aws-cn" else "amazonaws.com",
        }
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": lambda argument: self._attribute(*argument),
            "Fn::If": lambda argument: self.resolve(argument[1 if self.holds(argument[0]) else 2]),
            "Fn::Join": lambda argument: argument[0].join(self.resolve(argument[1])),
            "Fn::Sub": self._sub,
        }
        self._tests: dict[str, Callable[[Any], bool]] = {
            "Condition": self.holds,
            "Fn::And": lambda argument: all(map(self._is_true, argument)),
            "Fn::Equals": lambda argument: self.resolve(argument[0]) == self.resolve(argument[1]),
            "Fn::Not": lambda argument: not self._is_true(argument[0]),
            "Fn::Or": lambda argument: any(map(self._is_true, argument)),
        }

    def holds(self, condition: str | None) -> bool:
        """Whether a condition of the template does; none always does."""
        return condition is None or self._is_true(self._conditions[condition])

    def resolve(self, node: Any) -> Any:
        """Return a part of the template with its functions resolved."""
        if isinstance(node, list):
            items = [self.resolve(item) for item in node]
            return [item for item in items if item is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                raise InputError(f"template: {name} is not resolved here; expected Ref, GetAtt, If, Join or Sub")
        pairs = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in pairs.items() if value is not _NO_VALUE}

    def _is_true(self, node: Mapping[str, Any]) -> bool:
        ((name, argument),) = node.items()
        return self._tests[name](argument)

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name not in self._resources:
            raise InputError(f"{name}: is a parameter without a default; expected a value for it: see --set")
        resource = self._resources[name]
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            return self._attribute(name, "Arn")
        return self._name(name)

    def _name(self, name: str) -> str:
        """Return what a resource is called in the account."""
        if name in self._made:
            return self._made[name]
        resource = self._resources[name]
        key = _NAMED_BY.get(resource["Type"], ("BucketName", "", ""))[0]
        given = resource.get("Properties", {}).get(key)
        if given is not None:
            return str(self.resolve(given))
        called = made_up(self._place.stack, name)
        return called.lower() if resource["Type"] == "AWS::S3::Bucket" else called

    def _attribute(self, name: str, attribute: str) -> str:
        kind, called = self._resources[name]["Type"], self._name(name)
        if attribute != "Arn":
            raise InputError(f"template: {name}.{attribute} is not resolved here; expected its Arn")
        if kind == "AWS::S3::Bucket":
            return self._place.s3(called)
        if kind == "AWS::IAM::Role":
            return self._place.arn("iam", f"role/{called}")
        _, service, before = _NAMED_BY[kind]
        return self._place.arn(service, f"{before}{called}{':*' if kind == 'AWS::Logs::LogGroup' else ''}")

    def _sub(self, argument: Any) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})
        known = {name: self.resolve(value) for name, value in names.items()}

        def value(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in known:
                return str(known[name])
            resource, dot, attribute = name.partition(".")
            return self._attribute(resource, attribute) if dot else str(self._ref(name))

        return _VARIABLE.sub(value, text)
