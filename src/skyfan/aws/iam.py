"""Permissions as JSON: the roles that the template makes, and what the people need who deploy it and who run on it.

The roles are read from the template itself, with CloudFormation's functions resolved: they are what is deployed.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from skyfan.aws.resolving import FUNCTIONS, SCRIPT, Place, Resolver, read_template, values_of
from skyfan.aws.script_image import read_image

_NOTHING: Mapping[str, str] = MappingProxyType({})


def role_documents(
    settings: Mapping[str, str], *, stack: str, account: str, region: str, made: Mapping[str, str] = _NOTHING
) -> dict[str, dict[str, Any]]:
    """Return the trust policy and the policies of every role that the template makes.

    Parameters
    ----------
    settings : mapping
        Of the template's parameters; the others have their defaults.
    stack, account, region : str
        Where it is, or would be, deployed.
    made : mapping
        Names that CloudFormation made up, by their names in the template, as `NewBucket`. Without, the random end of
        such a name is `*`.

    Returns
    -------
    dict
        By the role's name in the template: `AssumeRolePolicyDocument`, and `Policies` as a list of `PolicyName` and
        `PolicyDocument`.

    Raises
    ------
    InputError
        If a setting is none, or the template takes no such value.
    """
    template = read_template()
    resolver = Resolver(template, values_of(template["Parameters"], settings), Place(stack, account, region), made)
    roles = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role" and resolver.holds(resource.get("Condition")):
            properties = resolver.resolve(resource["Properties"])
            roles[name] = {key: properties[key] for key in ("AssumeRolePolicyDocument", "Policies")}
    return roles


def deployer_permissions(
    *,
    stack: str,
    account: str,
    region: str,
    code_bucket: str | None = None,
    bucket: str | None = None,
    data_bucket: str | None = None,
    script_image: str | None = None,
) -> dict[str, Any]:
    """Return what a person needs to deploy, look at and destroy a stack, as one policy document.

    Parameters
    ----------
    stack, account, region : str
    code_bucket : str, optional
        Default: `skyfan-code-ACCOUNT-REGION`.
    bucket, data_bucket : str, optional
        That are there already; by default the stack makes one.
    script_image : str, optional
        URI of the image for scripts, if the stack has one.

    Raises
    ------
    InputError
        If that is no image.
    """
    place = Place(stack, account, region)
    code = code_bucket or f"skyfan-code-{account}-{region}"
    given = [name for name in (bucket, data_bucket) if name]
    statements = [
        _stack(place),
        _nameless(place),
        *_code(place, code),
        *([] if bucket else _results(place)),
        *([_allow("CheckBuckets", ["s3:ListBucket"], [place.s3(name) for name in given])] if given else []),
        *_roles(place, scripts=bool(script_image)),
        *_made(place, _functions(script_image)),
        *([_image(place, script_image)] if script_image else []),
    ]
    return _document(statements)


def runner_permissions(
    *,
    stack: str,
    account: str,
    region: str,
    settings: Mapping[str, str] = _NOTHING,
    bucket: str | None = None,
    data_bucket: str | None = None,
) -> dict[str, Any]:
    """Return what a person needs to upload, and to run, watch and stop runs, as one policy document.

    Parameters
    ----------
    stack, account, region : str
    settings : mapping
        Of the stack's parameters, for its folders and buckets.
    bucket, data_bucket : str, optional
        The stack's outputs `BucketName` and `DataBucketName`; default: those of the settings, or what the stack makes.

    Raises
    ------
    InputError
        If a setting is none, or the template takes no such value.
    """
    place, values = Place(stack, account, region), values_of(read_template()["Parameters"], settings)
    results = place.s3(bucket or values["Bucket"] or place.made_bucket)
    data = place.s3(data_bucket or values["DataBucket"]) if data_bucket or values["DataBucket"] else results
    folders = {results: [values["ModelPrefix"], values["ResultPrefix"]]}
    folders[data] = [*folders.get(data, []), values["DataPrefix"]]
    uploads = [f"{data}/{values['DataPrefix']}/*", f"{results}/{values['ModelPrefix']}/*"]
    if values["ScriptImage"]:
        uploads.append(f"{results}/{values['ScriptPrefix']}/*")
        folders[results].append(values["ScriptPrefix"])
    groups = place.log_groups(_functions(values["ScriptImage"]))
    reads = [f"{results}/{values['ResultPrefix']}/*"]
    statements = [
        _allow("FindStack", ["cloudformation:DescribeStacks"], [place.arn("cloudformation", f"stack/{stack}/*")]),
        *_running(place),
        _allow("ReadDurations", ["logs:FilterLogEvents"], [f"{group}:*" for group in groups]),
        _allow(
            "Upload",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            uploads,
        ),
        _allow("TakeMarkAway", ["s3:DeleteObject"], [f"{data}/{values['DataPrefix']}/*index.json"]),
        _allow("FindUnfinishedUploads", ["s3:ListBucketMultipartUploads"], list(folders)),
        _allow("ReadResults", ["s3:GetObject"], reads),
        _allow("GiveLeaseUp", ["s3:PutObject"], [f"{reads[0]}/lease/*.json"]),
        _allow("KeepBill", ["s3:PutObject"], [f"{reads[0]}/bill.json"]),
    ]
    for (where, names), number in zip(folders.items(), ("", "Too"), strict=False):
        prefixes = {"s3:prefix": [f"{name}/*" for name in names]}
        statements.append(_allow(f"ListFolders{number}", ["s3:ListBucket"], [where], {"StringLikeIfExists": prefixes}))
    return _document(statements)


def _functions(script_image: str | None) -> tuple[str, ...]:
    """Return the names of a stack's functions."""
    return (*FUNCTIONS, SCRIPT) if script_image else FUNCTIONS


def _document(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def _actions(service: str, names: str) -> list[str]:
    return [f"{service}:{name}" for name in names.split()]


def _stack(place: Place) -> dict[str, Any]:
    stack = [place.arn("cloudformation", f"stack/{place.stack}/*")]
    changes = place.arn("cloudformation", "changeSet/skyfan-*")
    names = "DescribeStackEvents CreateChangeSet DescribeChangeSet ExecuteChangeSet DeleteChangeSet DeleteStack"
    return _allow("Stack", _actions("cloudformation", names), [*stack, changes])


def _nameless(place: Place) -> dict[str, Any]:
    """Return what has no resource to name: finding stacks, checking a template, limits, log delivery."""
    of_delivery = (
        "CreateLogDelivery GetLogDelivery UpdateLogDelivery DeleteLogDelivery ListLogDeliveries PutResourcePolicy "
        "DescribeResourcePolicies DescribeLogGroups"
    )
    of_stacks = _actions("cloudformation", "DescribeStacks ListStacks ValidateTemplate")
    actions = [*of_stacks, "lambda:GetAccountSettings", *_actions("logs", of_delivery)]
    return _allow("NoResource", actions, ["*"], {"StringEquals": {"aws:RequestedRegion": place.region}})


def _code(place: Place, bucket: str) -> list[dict[str, Any]]:
    where = place.s3(bucket)
    settings = "CreateBucket DeleteBucket GetBucketTagging PutBucketTagging PutBucketPolicy PutBucketPublicAccessBlock "
    return [
        _allow("CodeBucket", _actions("s3", f"{settings}PutEncryptionConfiguration ListBucket"), [where]),
        _allow(
            "Code",
            _actions("s3", "GetObject PutObject DeleteObject"),
            [f"{where}/{place.stack}/{name}" for name in ("package-*.zip", "statemachine-*.asl.json")],
        ),
    ]


def _results(place: Place) -> list[dict[str, Any]]:
    where = place.s3(place.made_bucket)
    names = (
        "CreateBucket DeleteBucket ListBucket GetBucketTagging PutBucketTagging GetBucketPolicy PutBucketPolicy "
        "DeleteBucketPolicy GetBucketPublicAccessBlock PutBucketPublicAccessBlock GetEncryptionConfiguration "
        "PutEncryptionConfiguration GetBucketOwnershipControls PutBucketOwnershipControls GetLifecycleConfiguration "
        "PutLifecycleConfiguration"
    )
    return [
        _allow("ResultBucket", _actions("s3", names), [where]),
        _allow("DeleteResults", ["s3:DeleteObject"], [f"{where}/*"]),
    ]


def _roles(place: Place, *, scripts: bool) -> list[dict[str, Any]]:
    names_of_workers = ["Initialize", "Infer", "InferLarge", "Summarize", *(["Script"] if scripts else [])]
    workers = [place.role(f"{name}Role") for name in names_of_workers]
    machine = [place.role("StateMachineRole")]
    names = (
        "CreateRole GetRole DeleteRole UpdateRole UpdateAssumeRolePolicy PutRolePolicy GetRolePolicy DeleteRolePolicy "
        "ListRolePolicies ListAttachedRolePolicies TagRole UntagRole ListRoleTags"
    )
    passed = [("PassWorkers", workers, "lambda"), ("PassStateMachine", machine, "states")]
    return [
        _allow("Roles", _actions("iam", names), [*workers, *machine]),
        *(
            _allow(sid, ["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}})
            for sid, roles, service in passed
        ),
    ]


def _image(place: Place, uri: str) -> dict[str, Any]:
    """Return what Lambda asks of whoever makes a function from an image; it puts its own right into the repository."""
    names = "BatchGetImage GetDownloadUrlForLayer GetRepositoryPolicy SetRepositoryPolicy"
    repository = place.arn("ecr", f"repository/{read_image(uri).repository}")
    return _allow("ScriptImage", _actions("ecr", names), [repository])


def _made(place: Place, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what else the stack is made of."""
    functions = [place.arn("lambda", f"function:{place.stack}-{name}") for name in names]
    groups = [*place.log_groups(names), place.arn("logs", f"log-group:/aws/vendedlogs/states/{place.stack}")]
    of_functions = (
        "CreateFunction GetFunction GetFunctionConfiguration DeleteFunction UpdateFunctionCode "
        "UpdateFunctionConfiguration GetFunctionCodeSigningConfig GetFunctionRecursionConfig "
        "GetRuntimeManagementConfig TagResource UntagResource ListTags"
    )
    of_groups = (
        "CreateLogGroup DeleteLogGroup PutRetentionPolicy TagResource UntagResource ListTagsForResource "
        "GetDataProtectionPolicy DescribeIndexPolicies"
    )
    of_machine = (
        "CreateStateMachine DescribeStateMachine UpdateStateMachine DeleteStateMachine TagResource UntagResource "
        "ListTagsForResource ListExecutions"
    )
    return [
        _allow("Functions", _actions("lambda", of_functions), functions),
        _allow("Logs", _actions("logs", of_groups), [name + end for name in groups for end in ("", ":*")]),
        _allow("StateMachine", _actions("states", of_machine), [place.arn("states", f"stateMachine:{place.stack}")]),
        _allow("StopExecutions", ["states:StopExecution"], [place.arn("states", f"execution:{place.stack}:*")]),
    ]


def _running(place: Place) -> list[dict[str, Any]]:
    machine = place.arn("states", f"stateMachine:{place.stack}")
    execution = place.arn("states", f"execution:{place.stack}:*")
    maps = place.arn("states", f"mapRun:{place.stack}/*")
    of_execution = "DescribeExecution StopExecution GetExecutionHistory ListMapRuns"
    return [
        _allow("Start", _actions("states", "StartExecution ListExecutions"), [machine]),
        _allow("FollowAndStop", _actions("states", of_execution), [execution]),
        _allow("FollowMap", ["states:DescribeMapRun"], [maps]),
    ]
