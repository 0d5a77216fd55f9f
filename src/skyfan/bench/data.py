"""The partitions of a sweep: cut from its survey once, and repeated where more data are asked for than there are."""

import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from skyfan.bench.repeating import check_room, repeat, whole
from skyfan.bench.sweep import Cut, Sweep, label_of
from skyfan.blob import is_file
from skyfan.errors import InputError, SurveyError
from skyfan.ingest.opening import SURVEY_SUFFIXES, find_survey, open_survey
from skyfan.ingest.options import ingest_options
from skyfan.keys import check_bucket, check_prefix, index_of
from skyfan.partitions import Index, Partition, PartitionRef, decode_index
from skyfan.payload import Payload
from skyfan.selection import find_partitions
from skyfan.storage import Bucket, Store
from skyfan.survey import Progress, parse_size, rows_per_partition, split
from skyfan.wording import size

SAMPLED_ROWS = 16
REPEATED = "repeated"

Note = Callable[[str, str | None], None]
"""Keeps, by prefix, the hash of the index of partitions that were cut; None: they are being cut."""

Tell = Callable[[str, int, int], None]
"""Told of a folder, and of the rows or files done in it and their total."""


@dataclass(frozen=True)
class Source:
    """What a sweep's partitions come from."""

    cuts: tuple[Cut, ...]
    fingerprint: str
    """Another one means other data."""
    survey: Partition | None
    """None: partitions are taken as they are."""
    partitions: tuple[PartitionRef, ...] = ()
    """Those, in their order."""


def open_source(sweep: Sweep, store: Store) -> Source:
    """Look at what a sweep's partitions come from; nothing is written.

    Raises
    ------
    SurveyError, PartitionError
        If there is no such survey or folder, or it cannot be read.
    """
    if not sweep.partition_sizes:
        return _open_folder(sweep, store)
    found = find_survey(sweep.source, store)
    survey = open_survey(found, ingest_options(**sweep.ingest))
    cuts: dict[str, Cut] = {}
    for text in sweep.partition_sizes:
        label, rows = label_of(text), rows_per_partition(survey, parse_size(text), None)
        whole = survey.rows // rows
        problem = (
            "" if whole else f"a partition has {rows:,} rows, and the survey {survey.rows:,}: none would be as large"
        )
        cuts[label] = Cut(label, parse_size(text), rows, -(-survey.rows // rows), problem)
    return Source(tuple(cuts.values()), _fingerprint(survey), survey)


def prefix_of(sweep: Sweep, source: Source, cut: Cut, files: int) -> str:
    """Return the folder from which all configurations of one partition size read, the largest with so many files."""
    if files > cut.count:
        return f"{sweep.data_prefix}/{REPEATED}/{cut.label}"
    return _distinct_prefix(sweep, source, cut)


def is_ready(sweep: Sweep, source: Source, cut: Cut, files: int, known: dict[str, str | None]) -> bool:
    """Whether a configuration's partitions are there before anything is prepared: not cut or repeated yet are not."""
    prefix = _distinct_prefix(sweep, source, cut)
    return prefix_of(sweep, source, cut, files) == prefix and (source.survey is None or bool(known.get(prefix)))


def distinct_of(source: Source, cut: Cut, files: int, most: int) -> int:
    """Return how many of so many partitions are different ones.

    Parameters
    ----------
    source, cut
    files : int
        That a configuration reads.
    most : int
        That the largest configuration of that size reads. If these are repeated, all configurations read the repeated
        ones, and a rest is not among them.
    """
    if most <= cut.count:
        return files
    if source.survey is None:
        return min(files, len(whole(source.partitions)))
    return min(files, max(1, source.survey.rows // (cut.rows or 1)))


def changed(bucket: Bucket, known: dict[str, str | None]) -> dict[str, bool]:
    """Return the folders that are not as this sweep left them: True where they are gone, at least in part.

    Parameters
    ----------
    bucket : Bucket
    known : dict
        Prefix -> hash of the index that this sweep wrote there.
    """
    found: dict[str, bool] = {}
    for prefix, expected in known.items():
        data = bucket.get(index_of(prefix)) if expected else None
        if expected and data is None:
            found[prefix] = True
        elif data is not None and hashlib.sha256(data).hexdigest() != expected:
            found[prefix] = False
        elif data is not None:
            there = {entry.key for entry in bucket.list(prefix)}
            index = decode_index(data, f"{bucket.name}/{index_of(prefix)}")
            if not {f"{prefix}/{ref.key}" for ref in index.partitions} <= there:
                found[prefix] = True
    return found


def room_needed(sweep: Sweep, source: Source, known: dict[str, str | None]) -> int:
    """Return the bytes of the partitions that are still to be cut; repeated ones are links, on a server copies."""
    if source.survey is None:
        return 0
    possible = [cut for cut in source.cuts if not cut.problem]
    to_cut = [cut for cut in possible if not known.get(_distinct_prefix(sweep, source, cut))]
    return sum(source.survey.rows * cut.bytes // (cut.rows or 1) for cut in to_cut)


def prepare(
    sweep: Sweep,
    source: Source,
    cut: Cut,
    files: int,
    store: Store,
    *,
    known: dict[str, str | None],
    note: Note,
    tell: Tell,
) -> str:
    """Have the partitions of one size in the store, at least so many of them; return their folder.

    What is there is used again if it is what this sweep cut; each run holds every partition against its hash too.

    Parameters
    ----------
    sweep, source, cut
    files : int
        That the largest configuration reads.
    store : Store
    known : dict
        Prefix -> hash of the index that this sweep wrote there.
    note : callable
        Told of what becomes known.
    tell : callable
        Told of the folder, and of the rows or files done in it and their total.

    Raises
    ------
    SurveyError
        If the partitions there are not those that this sweep cut.
    StoreFullError
        If there is no room.
    """
    bucket = store.bucket(sweep.data_bucket, create="store")
    prefix = _distinct_prefix(sweep, source, cut)
    partitions = source.partitions
    if source.survey is not None:
        index = _cut_once(source.survey, bucket, prefix, cut, known=known, note=note, progress=partial(tell, prefix))
        partitions = tuple(_at(prefix, ref) for ref in index.partitions)
    target = prefix_of(sweep, source, cut, files)
    if target != prefix:
        _check_own(bucket, target, known)
        note(target, None)
        index = repeat(bucket, partitions, target, files, partial(tell, target))
        note(target, hashlib.sha256(index.encode()).hexdigest())
    return target


def _open_folder(sweep: Sweep, store: Store) -> Source:
    if is_file(Path(sweep.source)) or sweep.source.endswith(SURVEY_SUFFIXES):
        raise InputError(
            f"source {sweep.source}: is a survey, and no size says how to cut it; expected sizes (--partition-sizes), "
            "or <bucket>/<prefix> of partitions that are there"
        )
    bucket_name, _, prefix = sweep.source.partition("/")
    check_bucket(bucket_name, "source")
    prefix = check_prefix(prefix, "source: the prefix after the bucket")
    if bucket_name != sweep.data_bucket:
        raise InputError(
            f"source {sweep.source}: its bucket is {bucket_name!r}, the data bucket is {sweep.data_bucket!r}; expected "
            "the same: change --data-bucket"
        )
    bucket = store.bucket(bucket_name)
    asked = Payload(bucket=sweep.bucket, data_bucket=bucket_name, data_prefix=prefix, result_path=sweep.result_path)
    partitions, _ = find_partitions(asked, bucket)
    rows = [ref.rows for ref in partitions if ref.rows is not None]
    cut = Cut(
        label=label_of(prefix),
        bytes=int(statistics.median(ref.bytes for ref in partitions)),
        rows=max(rows) if len(rows) == len(partitions) else None,
        count=len(partitions),
    )
    fingerprint = hashlib.sha256(msgspec.json.encode(partitions)).hexdigest()
    return Source((cut,), fingerprint, None, tuple(partitions))


def _fingerprint(survey: Partition) -> str:
    """Hash a survey's size, the types and shapes of its tensors, and rows at even distances.

    It tells one survey from another without reading all of it; what was cut is held against its hashes in full.
    """
    digest = hashlib.sha256(f"{survey.blob.size}".encode())
    places = sorted({survey.rows * place // SAMPLED_ROWS for place in range(SAMPLED_ROWS)} | {survey.rows - 1})
    for name, tensor in sorted(survey.tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        for row in places:
            digest.update(tensor.rows(row, row + 1).tobytes())
    return digest.hexdigest()


def _distinct_prefix(sweep: Sweep, source: Source, cut: Cut) -> str:
    if source.survey is None:
        return sweep.source.partition("/")[2].rstrip("/")
    return f"{sweep.data_prefix}/{cut.label}"


def _cut_once(
    survey: Partition,
    bucket: Bucket,
    prefix: str,
    cut: Cut,
    *,
    known: dict[str, str | None],
    note: Note,
    progress: Progress,
) -> Index:
    begun, expected = prefix in known, known.get(prefix)
    if expected:
        data = bucket.get(index_of(prefix)) or b""
        if hashlib.sha256(data).hexdigest() != expected:
            raise SurveyError(
                f"{bucket.where}/{prefix}: its index is gone or not the one that this sweep wrote; expected the "
                "partitions as they were cut: put them back, or delete the folder and begin anew with --overwrite"
            )
        return decode_index(data, f"{bucket.name}/{index_of(prefix)}")
    if not begun and bucket.head(index_of(prefix)):
        raise SurveyError(
            f"{bucket.where}/{prefix}: holds partitions that this sweep did not cut; expected none: choose another "
            "--name or --data-prefix, or delete them"
        )
    check_room(bucket, survey.rows * cut.bytes // (cut.rows or 1), f"partitions of {size(cut.bytes)}")
    note(prefix, None)  # first: whatever lies there from now on is this sweep's to overwrite
    rows = rows_per_partition(survey, cut.bytes, None)
    index = split(survey, bucket, prefix, rows, overwrite=begun, progress=progress)
    note(prefix, hashlib.sha256(index.encode()).hexdigest())
    return index


def _check_own(bucket: Bucket, prefix: str, known: dict[str, str | None]) -> None:
    """Check that the folder of repeated partitions is this sweep's, before what is in it is deleted."""
    data = bucket.get(index_of(prefix))
    expected = known.get(prefix)
    if data is None or (prefix in known and expected in {None, hashlib.sha256(data).hexdigest()}):
        return
    raise SurveyError(
        f"{bucket.where}/{prefix}: holds partitions that this sweep did not repeat; expected none: choose another "
        "--name or --data-prefix, or delete them"
    )


def _at(prefix: str, ref: PartitionRef) -> PartitionRef:
    return msgspec.structs.replace(ref, key=f"{prefix}/{ref.key}")
