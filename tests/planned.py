"""A payload, and a listing of what lies below its data prefix, to plan with."""

from skyfan.payload import Payload
from skyfan.storage import Entry


def payload(file_limit: int | None = None, world_size: int | None = None) -> Payload:
    """Return a payload of the prefix 25MB."""
    return Payload(
        bucket="out",
        data_bucket="sky",
        data_prefix="25MB",
        result_path="results/one",
        file_limit=file_limit,
        world_size=world_size,
        batch_size=7,
    )


def listing(*names: str) -> list[Entry]:
    """List files of that prefix, of 100 bytes, 101 and so on."""
    return [Entry(f"25MB/{name}", 100 + number) for number, name in enumerate(names)]
