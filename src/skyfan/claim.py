"""A result path belongs to the payload that claimed it first."""

from collections.abc import Callable, Sequence

from skyfan.errors import ClaimedError, PayloadError, StoreError
from skyfan.keys import RunKeys
from skyfan.manifest import decode_manifest
from skyfan.payload import Payload, decode_object, differing_keys, parse_payload
from skyfan.storage import Bucket

AT_ONCE = 1000
"""Objects that are deleted between two checks: as many as S3 takes in one request."""


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
        said = ", ".join(f"{name} {_shown(holder, name)} (asked now: {_shown(payload, name)})" for name in differing)
        raise ClaimedError(
            f"{payload.run_id}: this result path belongs to another payload, with {said}; expected the same: "
            "choose another result_path, or --overwrite to delete that run first"
        )


def release_claim(bucket: Bucket, keys: RunKeys, check: Callable[[], None] = lambda: None) -> None:
    """Delete what a run stored, by its names only.

    Its verdict goes first, so that none is left on half a run; the claim goes last: an interruption leaves a run to
    resume.

    Parameters
    ----------
    bucket : Bucket
    keys : RunKeys
    check : callable
        Called before each deletion; what it raises ends them.
    """
    release_verdict(bucket, keys, check)
    _release_results(bucket, keys, check)
    release_tasks(bucket, keys, check)
    _delete(bucket, [keys.pending, keys.manifest], check)
    _delete(bucket, [keys.payload], check)


def release_verdict(bucket: Bucket, keys: RunKeys, check: Callable[[], None] = lambda: None) -> None:
    """Delete what says how a run ended."""
    _delete(bucket, [keys.summary, keys.combined, keys.bill], check)


def release_tasks(bucket: Bucket, keys: RunKeys, check: Callable[[], None] = lambda: None) -> None:
    """Delete the reports and parts that a run stored, by their names only; reports first, which vouch for the parts."""
    for folder in (keys.reports, keys.failures, keys.predictions, keys.logs):
        _delete(bucket, [entry.key for entry in bucket.list(folder) if keys.owns(entry.key)], check)


def _delete(bucket: Bucket, names: Sequence[str], check: Callable[[], None]) -> None:
    for start in range(0, len(names), AT_ONCE):
        check()
        bucket.delete(names[start : start + AT_ONCE])


def _release_results(bucket: Bucket, keys: RunKeys, check: Callable[[], None]) -> None:
    """Delete the results that a run's scripts left: of its tasks alone, other files of such names are others'."""
    try:
        holder = read_claim(bucket, keys)
        tasks = decode_manifest(bucket.get(keys.manifest) or b"", keys.manifest)
    except (PayloadError, StoreError):
        return
    if holder is not None and holder.is_script:
        _delete(bucket, [keys.result(task.rank) for task in tasks], check)


def _shown(payload: Payload, name: str) -> str:
    """Return what a payload has for a key, for a message."""
    value = getattr(payload, "s3_object_name" if name == "S3_object_name" else name)
    return "nothing" if value is None else repr(value)
