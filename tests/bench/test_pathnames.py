"""What the names of the original system's folders say of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.bench.pathnames import LEAST_FILES, Named, read_path


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("result-partition-25MB/1GB/1", Named(partition_mb=25, data_gb=1, repeat=1)),
        ("scaling/result-partition-25MB/12.6GB/2", Named(partition_mb=25, data_gb=12.6, repeat=2)),
        ("result-partition-100MB/1TB/3", Named(partition_mb=100, data_gb=1024, repeat=3)),
        ("a/result-partition-25MB/1GB/Batches/128/1", Named(partition_mb=25, data_gb=1, batch_size=128, repeat=1)),
        ("Batches/512", Named(batch_size=512)),
        ("batch-64/2", Named(batch_size=64, repeat=2)),
        ("25MB", Named(partition_mb=25)),
        ("result-partition-25MB/500MB/1", Named(partition_mb=25, data_gb=500 / 1024, repeat=1)),
        ("8GB-disk/25MB-old/notes", Named()),
        ("", Named()),
        ("0MB/0GB/\u0663", Named()),
    ],
)
def test_names_of_folders(path: str, named: Named) -> None:
    assert read_path(path) == named


@pytest.mark.parametrize(("size", "files"), LEAST_FILES.items())
def test_files_of_the_originals_runs(size: tuple[float, float], files: int) -> None:
    least, most = Named(data_gb=size[0], partition_mb=size[1]).files or (0, 0)
    assert least == files <= most <= files + 1


@given(st.text(max_size=60))
def test_any_path_is_read(path: str) -> None:
    assert isinstance(read_path(path), Named)
