"""A result path belongs to the payload that claimed it first."""

from skyfan.errors import ClaimedError, PayloadError, StoreError
from skyfan.keys import RunKeys
from skyfan.manifest import decode_manifest
from skyfan.payload import Payload, decode_object, differing_keys, parse_payload
from skyfan.storage import Bucket


def read_claim(bucket: Bucket, keys: RunKeys) -> Payload | None:
    """Return the payload that holds a result path, None if it is free.

    Raises
    ------
    PayloadError
        If what is stored there is no payload.
    """
    data = bucket.get(keys.payload)
    if data is None:
        return None
    source = f"{bucket.name}/{keys.payload}"
    return parse_payload(decode_object(data, source), source=source)[0]


def claim(bucket: Bucket, keys: RunKeys, payload: Payload) -> None:
    """Claim a result path, or find that it is this payload's already.

    Raises
    ------
    ClaimedError
        If it belongs to another payload.
    """
    if not bucket.create(keys.payload, payload.encode()):
        check_claim(bucket, keys, payload)


def check_claim(bucket: Bucket, keys: RunKeys, payload: Payload) -> None:
    """Check that a result path is free or this payload's; see `claim`."""
    holder = read_claim(bucket, keys)
    if holder is None:
        return
    differing = differing_keys(holder, payload)
    if differing:
        said = ", ".join(
            f"{name} {_value(holder, name)!r} (asked now: {_value(payload, name)!r})" for name in differing
        )
        raise ClaimedError(
            f"{payload.run_id}: this result path belongs to another payload, with {said}; expected the same: "
            "choose another result_path, or --overwrite to delete that run first"
        )


def release_claim(bucket: Bucket, keys: RunKeys) -> None:
    """Delete what a run stored, by its names only; the claim goes last: an interruption leaves a run to resume."""
    _release_results(bucket, keys)
    release_tasks(bucket, keys)
    bucket.delete([keys.summary, keys.combined, keys.bill, keys.pending, keys.manifest])
    bucket.delete([keys.payload])


def release_tasks(bucket: Bucket, keys: RunKeys) -> None:
    """Delete the parts and reports that a run stored, by their names only."""
    folders = (keys.predictions, keys.reports, keys.failures, keys.logs)
    bucket.delete([entry.key for folder in folders for entry in bucket.list(folder) if keys.owns(entry.key)])


def _release_results(bucket: Bucket, keys: RunKeys) -> None:
    """Delete the results that a run's scripts left: of its tasks alone, other files of such names are others'."""
    try:
        holder = read_claim(bucket, keys)
        tasks = decode_manifest(bucket.get(keys.manifest) or b"", keys.manifest)
    except (PayloadError, StoreError):
        return
    if holder is not None and holder.is_script:
        bucket.delete([keys.result(task.rank) for task in tasks])


def _value(payload: Payload, name: str) -> object:
    return getattr(payload, "s3_object_name" if name == "S3_object_name" else name)
