"""More partitions than there are, by repeating them: what a sweep over large data sizes reads."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from skyfan.errors import PartitionError, StoreAbsentError, StoreFullError, SurveyError
from skyfan.keys import index_of, partition_of
from skyfan.partitions import SUFFIXES, Index, PartitionRef, decode_index, open_partition
from skyfan.storage import Bucket, Store
from skyfan.store_errors import translated
from skyfan.survey import Progress
from skyfan.wording import counted, size


def repeat(bucket: Bucket, partitions: Sequence[PartitionRef], prefix: str, count: int, progress: Progress) -> Index:
    """Have `count` partitions below a prefix by repeating those that there are, with an index.

    In a folder store they are hard links, which take no space and are read from the same pages of memory; where links
    do not work they are copies. On a server they are copied there.

    Parameters
    ----------
    bucket : Bucket
    partitions : sequence of PartitionRef
        A rest that is smaller than all others is left out.
    prefix : str
        Folder of the repeated ones.
    count : int
    progress : callable
        Told of the files done and their total.

    Returns
    -------
    Index
        As it is there now.

    Raises
    ------
    SurveyError
        If the folder holds what is not of this kind.
    StoreFullError
        If copies are needed and there is no room for them.
    """
    originals = _with_rows(bucket, whole(partitions))
    wanted = [_numbered(prefix, number, originals[(number - 1) % len(originals)]) for number in range(1, count + 1)]
    there = {entry.key: entry.bytes for entry in bucket.list(prefix)}
    before = _index_there(bucket, prefix, there)
    stored = {f"{prefix}/{ref.key}": ref.bytes for ref in before.partitions}
    if before.complete and list(before.partitions[:count]) == wanted and stored.items() <= there.items():
        return before  # as they are, or more of them
    bucket.put(index_of(prefix), Index(1, 0, False, ()).encode())
    bucket.delete([key for key in there if key.endswith(SUFFIXES)])
    _fill(bucket, originals, wanted, prefix, progress)
    rows = sum(ref.rows or 0 for ref in wanted)
    index = Index(1, rows, True, tuple(wanted))
    bucket.put(index_of(prefix), index.encode())
    return index


def _fill(
    bucket: Bucket, originals: Sequence[PartitionRef], wanted: Sequence[PartitionRef], prefix: str, progress: Progress
) -> None:
    copying = bucket.folder is None
    for done, ref in enumerate(wanted):
        original, target = originals[done % len(originals)].key, f"{prefix}/{ref.key}"
        if not copying and not _linked(bucket, original, target):
            copying, left = True, wanted[done:]
            what = f"{counted(len(left), 'partition')} to copy, since hard links do not work there,"
            check_room(bucket, sum(item.bytes for item in left), what)
        if copying:
            _copy(bucket, original, target)
        progress(done + 1, len(wanted))


def check_room(bucket: Bucket, needed: int, what: str) -> None:
    """Check that a folder's disk has so many bytes left; of a server nobody can say.

    Raises
    ------
    StoreFullError
        If it has not.
    """
    if bucket.folder is None:
        return
    free = shutil.disk_usage(bucket.folder).free
    if needed > free:
        raise StoreFullError(
            f"{bucket.where}: {what} need {size(needed)}; expected as much free on its disk, got {size(free)}: free "
            "some, name another --store, or ask for less"
        )


def free_in(store: Store, bucket: str) -> int | None:
    """Return the bytes that are left on the disk where a bucket is, or would be made; None of a server."""
    if store.is_server:
        return None
    try:
        place = Path(store.bucket(bucket, create="on paper").where)
    except StoreAbsentError:
        place = Path(store.url.removeprefix("file://"))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def whole(partitions: Sequence[PartitionRef]) -> list[PartitionRef]:
    """Leave out the last partition if it is a rest: repeated, it would stand between whole ones."""
    *others, last = partitions
    return others if others and last.bytes < min(ref.bytes for ref in others) else [*others, last]


def _with_rows(bucket: Bucket, partitions: Sequence[PartitionRef]) -> list[PartitionRef]:
    return [ref if ref.rows is not None else _counted(bucket, ref) for ref in partitions]


def _counted(bucket: Bucket, ref: PartitionRef) -> PartitionRef:
    blob = bucket.ranged_blob(ref.key)
    if blob is None:
        raise PartitionError(f"{bucket.where}/{ref.key}: is not there any more; put it back")
    return PartitionRef(ref.key, ref.bytes, open_partition(blob).rows)


def _numbered(prefix: str, number: int, ref: PartitionRef) -> PartitionRef:
    """Name a repeated partition, relative to its folder as in an index."""
    suffix = next(suffix for suffix in SUFFIXES if ref.key.endswith(suffix))
    key = partition_of(prefix, number, suffix).removeprefix(f"{prefix}/")
    return PartitionRef(key, ref.bytes, ref.rows, ref.sha256)


def _index_there(bucket: Bucket, prefix: str, there: dict[str, int]) -> Index:
    data = bucket.get(index_of(prefix))
    if data is not None:
        return decode_index(data, f"{bucket.name}/{index_of(prefix)}")
    if there:
        raise SurveyError(
            f"{bucket.where}/{prefix}: holds {counted(len(there), 'file')} and no index; expected only what a sweep "
            "put there: choose another --name or --data-prefix"
        )
    return Index(1, 0, False, ())


def _linked(bucket: Bucket, source: str, target: str) -> bool:
    """Make a hard link; return whether that works here."""
    path, link = bucket.local_path(source), bucket.local_path(target)
    if path is None or link is None:
        return False
    with translated(str(link.parent)):
        link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # not on this file system, across two of them, or too many of one file
        os.link(path.resolve(), link)
        return True
    return False


def _copy(bucket: Bucket, source: str, target: str) -> None:
    """Copy an object within its bucket: on a server without its bytes coming here."""
    if bucket.folder is not None:
        blob = bucket.blob(source)
        if blob is None:
            raise PartitionError(f"{bucket.where}/{source}: is not there any more; put it back")
        bucket.put(target, [blob.view(0, blob.size)])
        return
    bucket.copy(source, target)
