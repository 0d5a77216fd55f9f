"""Which partitions a run works on: those below its data prefix, held against the indexes that lie beside them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from skyfan.errors import SurveyError
from skyfan.keys import INDEX_NAME, index_of, natural
from skyfan.partitions import SUFFIXES, Index, PartitionRef, decode_index
from skyfan.payload import Payload
from skyfan.storage import Bucket, Entry
from skyfan.wording import first_of

_ALIKE = re.compile(rf"(?:{'|'.join(map(re.escape, SUFFIXES))})(?:\.[^./]+)*", re.IGNORECASE)
"""How names end that somebody may take for a partition's: 1.PT, 1.pt.gz, 1.safetensors.part."""


def find_partitions(payload: Payload, data_bucket: Bucket) -> tuple[list[PartitionRef], list[str]]:
    """List the partitions that a payload asks for.

    Returns
    -------
    partitions, warnings
        As `select`.

    Raises
    ------
    SurveyError
        As `select`, and if something lies there that no listing would show as it is.
    """
    prefix = payload.data_prefix
    data_bucket.check_listable(prefix)
    listing = data_bucket.list(prefix)
    indexes, strange = _read_indexes(data_bucket, prefix, listing)
    partitions, warnings = select(payload, listing, indexes)
    if strange:
        warnings.append(f"{first_of(strange)}: not an index of partitions; what is there is taken as it lies")
    return partitions, warnings


def _read_indexes(data_bucket: Bucket, prefix: str, listing: Sequence[Entry]) -> tuple[dict[str, Index], list[str]]:
    """Return the index of each folder that has one, and the files below that only have its name."""
    indexes, strange = {}, []
    for key in sorted(entry.key for entry in listing if entry.key.endswith(f"/{INDEX_NAME}")):
        where = f"{data_bucket.name}/{key}"
        try:
            indexes[key.removesuffix(f"/{INDEX_NAME}")] = decode_index(data_bucket.get(key) or b"", where)
        except SurveyError:
            if key == index_of(prefix):
                raise
            strange.append(where)
    return indexes, strange


def select(
    payload: Payload, listing: Sequence[Entry], indexes: Mapping[str, Index]
) -> tuple[list[PartitionRef], list[str]]:
    """Choose a run's partitions from what lies below its data prefix.

    Parameters
    ----------
    payload : Payload
    listing : sequence of Entry
        Everything below the prefix, in any order.
    indexes : mapping of str to Index
        By the folder that each lies in and is of.

    Returns
    -------
    partitions, warnings
        In natural order, at most `file_limit` of them.

    Raises
    ------
    SurveyError
        If there is no partition, or an index does not fit the listing.
    """
    where = f"{payload.data_bucket}/{payload.data_prefix}/"
    found = sorted((entry for entry in listing if entry.key.endswith(SUFFIXES)), key=lambda entry: natural(entry.key))
    if not found:
        raise SurveyError(
            f"no partition below {where}: found {len(listing)} other objects; expected files ending in "
            f"{' or '.join(SUFFIXES)}; check data_bucket and data_prefix, or make some with 'skyfan partition'"
        )
    warnings = _doubts(listing, found)
    if payload.file_limit is not None and payload.file_limit > len(found):
        warnings.append(f"file_limit is {payload.file_limit}, but {where} holds {len(found)} partitions; all are taken")
    partitions = _with_indexes([PartitionRef(entry.key, entry.bytes) for entry in found], indexes, payload.data_bucket)
    return partitions[: payload.file_limit], warnings


def _doubts(listing: Sequence[Entry], found: Sequence[Entry]) -> list[str]:
    """Say what may not be meant so: files that only look like partitions, and partitions that are there twice."""
    taken = {entry.key for entry in found}
    alike = sorted((entry.key for entry in listing if entry.key not in taken and _is_alike(entry.key)), key=natural)
    stems = Counter(entry.key.rpartition(".")[0] for entry in found)
    twice = [stem for stem, times in stems.items() if times > 1]
    doubts = []
    if alike:
        doubts.append(
            f"{first_of(alike)}: looks like a partition and is not taken; expected names that end in "
            f"{' or '.join(SUFFIXES)}: rename it if it is one"
        )
    if twice:
        doubts.append(
            f"{first_of(twice)}: is there as {' and as '.join(SUFFIXES)}; both are taken, and if they hold the same "
            "rows each comes twice: take one away"
        )
    return doubts


def _is_alike(key: str) -> bool:
    name = key.rpartition("/")[2]
    ending = _ALIKE.search(name)
    return ending is not None and ending.end() == len(name)


def _with_indexes(found: list[PartitionRef], indexes: Mapping[str, Index], bucket: str) -> list[PartitionRef]:
    """Add rows and hashes from the indexes, each of which must name exactly the partitions below its folder."""
    below: dict[str, list[PartitionRef]] = {folder: [] for folder in indexes}
    for ref in found:
        folder = ref.key
        while folder := folder.rpartition("/")[0]:
            if folder in below:
                below[folder].append(ref)
    known: dict[str, PartitionRef] = {}
    for folder, index in sorted(indexes.items()):
        held = _with_index(below[folder], index, folder, f"{bucket}/{folder}/")
        known.update((ref.key, ref) for ref in held)
    return [known.get(ref.key, ref) for ref in found]


def _with_index(found: list[PartitionRef], index: Index, folder: str, where: str) -> list[PartitionRef]:
    """Add rows and hashes from an index, which must name exactly the partitions found."""
    if not index.complete:
        raise SurveyError(
            f"{where}: its {INDEX_NAME} says that 'skyfan partition' has not finished writing {index.rows} rows there, "
            "or that an upload has not ended; wait for it, or run it again (skyfan partition with --overwrite)"
        )
    known = {f"{folder}/{item.key}": item for item in index.partitions}
    advice = f"make the partitions again with 'skyfan partition', or delete {where}{INDEX_NAME} to go without"
    absent = list(known.keys() - {partition.key for partition in found})
    if absent:
        raise SurveyError(
            f"{where}: the index names {len(known)} partitions with {index.rows} rows, but {len(absent)} of them are "
            f"not there, the first {min(absent, key=natural)}; {advice}"
        )
    result = []
    for partition in found:
        item = known.get(partition.key)
        if item is None:
            raise SurveyError(f"{partition.key} is not in the index of {where}; {advice}")
        if item.bytes != partition.bytes:
            raise SurveyError(f"{partition.key} has {partition.bytes} bytes, the index says {item.bytes}; {advice}")
        result.append(PartitionRef(partition.key, item.bytes, item.rows, item.sha256))
    return result
