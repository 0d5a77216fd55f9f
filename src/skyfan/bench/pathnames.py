"""What the path of a result of the original system says of its run: there, names are the only record of it."""

import re
from pathlib import PurePosixPath

from msgspec import Struct

MB_PER_GB = 1024

_PARTITION = re.compile(r"(?:.*[-_])?partition[-_]?(\d{1,6}(?:\.\d{1,6})?)MB", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s?(MB|GB|TB)", re.ASCII | re.IGNORECASE)
_BATCH = re.compile(r"batch(?:es)?(?:[-_]?size)?[-_]?(\d{1,9})?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_IN_GB = {"MB": 1 / MB_PER_GB, "GB": 1.0, "TB": float(MB_PER_GB)}

LEAST_FILES = {
    (1.0, 25.0): 41,
    (1.0, 50.0): 21,
    (1.0, 75.0): 14,
    (1.0, 100.0): 11,
    (8.0, 25.0): 327,
    (8.0, 50.0): 163,
    (8.0, 75.0): 110,
    (8.0, 100.0): 82,
    (12.6, 25.0): 516,
    (12.6, 50.0): 258,
    (12.6, 75.0): 173,
    (12.6, 100.0): 129,
}
"""(data size in GB, partition size in MB) -> files of that run in the original system: now rounded down, now up."""


class Named(Struct, frozen=True, kw_only=True):
    """What a path says; None for what it does not."""

    partition_mb: float | None = None
    data_gb: float | None = None
    batch_size: int | None = None
    repeat: int | None = None

    @property
    def files(self) -> tuple[int, int] | None:
        """Least and most partitions that a run over so much data has; None if the path does not say."""
        if not self.partition_mb or not self.data_gb:
            return None
        ratio = self.data_gb * MB_PER_GB / self.partition_mb
        least = LEAST_FILES.get((self.data_gb, self.partition_mb), int(ratio))
        return max(1, min(least, int(ratio) + 1)), int(ratio) + 1


def read_path(path: str) -> Named:
    """Read names as in `scaling/result-partition-25MB/12.6GB/2` or `.../1GB/Batches/128/1`; the deepest one counts.

    `25MB` alone is a partition's size, unless another name says `partition`; a size in GB or TB is that of the data.
    The last folder is the number of the repeat if it is a number.
    """
    partition_mb = plain_mb = data_gb = None
    batch_size = repeat = None
    after_batch = False
    for name in PurePosixPath(path).parts:
        if after_batch and _COUNT.fullmatch(name):
            batch_size, after_batch, repeat = int(name), False, None
            continue
        after_batch = False
        repeat = int(name) if _COUNT.fullmatch(name) else None
        if found := _PARTITION.fullmatch(name):
            partition_mb = float(found[1])
        elif found := _SIZE.fullmatch(name):
            if found[2].upper() == "MB":
                plain_mb = float(found[1])
            else:
                data_gb = float(found[1]) * _IN_GB[found[2].upper()]
        elif found := _BATCH.fullmatch(name):
            after_batch, batch_size = found[1] is None, int(found[1]) if found[1] else batch_size
    if partition_mb is None:
        partition_mb = plain_mb
    elif plain_mb is not None and data_gb is None:
        data_gb = plain_mb / MB_PER_GB
    return Named(partition_mb=partition_mb or None, data_gb=data_gb or None, batch_size=batch_size, repeat=repeat)
