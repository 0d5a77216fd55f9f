"""Where a stack may read and write: a payload that names another place is refused before anything is started."""

from collections.abc import Iterator

from skyfan.aws.script_image import refusal
from skyfan.aws.stack import Stack
from skyfan.errors import PayloadError
from skyfan.payload import Payload


def check_places(payload: Payload, stack: Stack) -> None:
    """Check that a stack runs what a payload asks for, and that its functions may read and write where it says.

    Raises
    ------
    ScriptsRefusedError
        If it asks for a script, and the stack runs none.
    PayloadError
        If a place is another than the stack's.
    """
    given = stack.parameters
    if payload.is_script and payload.script is not None and not given.get("ScriptImage"):
        raise refusal(payload.script, stack.name)
    for key, value, own in (
        ("bucket", payload.bucket, stack.bucket),
        ("data_bucket", payload.data_bucket, stack.data_bucket),
    ):
        if value != own:
            raise PayloadError(
                f"payload: {key!r} is {value!r}; expected {own!r}, the one of stack {stack.name}: change it, or name "
                "the stack of that bucket with --stack"
            )
    for key, value, parameter, may_be in _named(payload):
        own = given.get(parameter, "")
        if not value.startswith(f"{own}/") and not (may_be and value == own):
            raise PayloadError(
                f"payload: {key!r} is {value!r}; expected it in the folder '{own}/', since stack {stack.name} may use "
                f"no other: change it, or deploy the stack with another {parameter}"
            )


def _named(payload: Payload) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each place: the payload's key and value, the stack's parameter, and whether its folder itself will do."""
    yield "result_path", payload.result_path, "ResultPrefix", False
    yield "data_prefix", payload.data_prefix, "DataPrefix", True
    if payload.model is not None and payload.model.endswith(".onnx"):
        yield "model", payload.model, "ModelPrefix", False
    if payload.is_script and payload.s3_object_name is not None:
        folder = payload.s3_object_name.removesuffix("/")
        yield "S3_object_name", folder, "ScriptPrefix", payload.object_type == "folder"
