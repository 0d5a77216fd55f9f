"""Opens a survey of any format, by what its name ends in or by its being a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from skyfan.blob import Blob, MappedBlob, is_file
from skyfan.errors import InputError, KeyNameError, StoreAbsentError, SurveyError
from skyfan.formats.opening import SURVEY_SUFFIXES as PLAIN_SUFFIXES
from skyfan.formats.tensor import Tensors
from skyfan.ingest.options import IngestOptions
from skyfan.keys import check_bucket, check_key
from skyfan.partitions import Partition, check_rows, open_partition
from skyfan.storage import Store
from skyfan.wording import with_extra

FITS_SUFFIXES: Final = (".fits", ".fit", ".fts")
HDF5_SUFFIXES: Final = (".hdf5", ".h5", ".hdf")
ZARR_SUFFIX: Final = ".zarr"
LOCAL_SUFFIXES: Final = (*FITS_SUFFIXES, *HDF5_SUFFIXES, ZARR_SUFFIX)
"""What is read from local files and folders only."""
SURVEY_SUFFIXES: Final = (*PLAIN_SUFFIXES, *LOCAL_SUFFIXES)
"""What a survey's name may end in; a folder of FITS cutouts may have any name."""


class _Folder(Blob):
    """Stands for a survey that is read by a library of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), 0)

    def view(self, start: int, stop: int) -> memoryview:
        raise SurveyError(f"{self.name}: its bytes {start} to {stop} were asked for; expected its rows to be")


def refuse_remote(name: str) -> None:
    """Check that an object that is not a local file is in a format that can be read from anywhere.

    Raises
    ------
    SurveyError
        If it is not.
    """
    if _is_local_format(name):
        raise SurveyError(
            f"{name}: FITS, HDF5 and Zarr surveys are read from local files and folders only; expected one: copy it "
            "here first"
        )


def _is_local_format(name: str) -> bool:
    return PurePosixPath(name.rstrip("/")).suffix.lower() in LOCAL_SUFFIXES


def open_survey(source: Path | Blob, options: IngestOptions) -> Partition:
    """Open a survey and check that it is one; images are read when their rows are asked for.

    Parameters
    ----------
    source : Path or Blob
        A local folder or file, or an object of a store: safetensors, `.pt` and `.npz` only, if it is remote.
    options : IngestOptions
        What must be said of FITS, HDF5 and Zarr; the others hold partitions' rows as they are, and take none.

    Raises
    ------
    PartitionError, SurveyError
        If it cannot be read, or does not say what its images are.
    InputError
        If a library for its format is missing.
    """
    name = source.name if isinstance(source, Blob) else str(source)
    path = Path(name) if isinstance(source, MappedBlob | Path) else None
    if path is None:
        refuse_remote(name)
    elif path.is_dir() or _is_local_format(name):
        return _open_local(path, options)
    if options != IngestOptions():
        raise SurveyError(
            f"{name}: options of bands, size, units, columns and catalogue are for FITS, HDF5 and Zarr; expected none: "
            f"{', '.join(PLAIN_SUFFIXES)} are split as they are"
        )
    return open_partition(MappedBlob(source) if isinstance(source, Path) else source)


def _open_local(path: Path, options: IngestOptions) -> Partition:
    suffix = path.suffix.lower()
    blob: Blob = _Folder(path)
    content: Tensors
    with _installed():
        if path.is_dir():
            content = _folder(path, options)
        elif suffix in HDF5_SUFFIXES:
            from skyfan.ingest import hdf5

            content = hdf5.read(path, options)
        elif suffix in FITS_SUFFIXES:
            from skyfan.ingest import fits_table

            blob = MappedBlob(path)
            content = fits_table.read(path, blob, options)
        else:
            raise SurveyError(f"{path}: is a file; expected a Zarr group, which is a folder: unpack it")
    return check_rows(blob, content)


def _folder(path: Path, options: IngestOptions) -> Tensors:
    if path.suffix.lower() == ZARR_SUFFIX or any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        from skyfan.ingest import zarr

        return zarr.read(path, options)
    from skyfan.ingest import fits_folder

    return fits_folder.read(path, options)


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed, and this survey is read with it; {with_extra('ingest')}"
        ) from error


def find_survey(source: str | Path, store: Store) -> Path | Blob:
    """Find a survey: a local file or folder, an s3:// address, or an object of the store.

    Raises
    ------
    SurveyError
        If there is none.
    """
    path = Path(source)
    text = str(source)
    if "://" not in text and text and (is_file(path) or _is_folder(path)):
        return path
    if "://" in text:
        refuse_remote(text)
    place, name = (store, text)
    if text.startswith("s3://"):  # on the store's own server, if it is one
        place, name = store if store.is_server else Store("s3://"), text.removeprefix("s3://")
    bucket, _, key = name.partition("/")
    try:
        check_bucket(bucket, "source")
        blob = place.bucket(bucket).ranged_blob(check_key(key, "source: the key after the bucket"))
    except (KeyNameError, StoreAbsentError):
        blob = None
    if blob is None:
        raise SurveyError(
            f"{text}: there is no such file, nor such an object in the store {place.url}; expected a survey in "
            f"{', '.join(SURVEY_SUFFIXES)}, or a local folder of FITS cutouts"
        )
    return blob


def _is_folder(path: Path) -> bool:
    """Whether a local folder lies there; the current one is never meant by an empty name."""
    try:
        return path != Path() and path.is_dir()
    except OSError:  # a name too long for a folder can still be that of an object
        return False
