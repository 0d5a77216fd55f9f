"""How much memory this machine can give to workers."""

from pathlib import Path

import pytest

from skyfan.estimating.memory import free_memory_mb


@pytest.mark.parametrize(
    ("meminfo", "limit", "outer", "expected"),
    [
        ("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", "max", "max", 2.0),
        ("MemAvailable: 9999 kB\n", str(3 * 1024**2), "max", 2.0),
        ("MemAvailable: 9999 kB\n", "max", str(6 * 1024**2), 1.0),
        ("MemAvailable: 512 kB\n", str(3 * 1024**2), "max", 0.5),
        ("MemAvailable: x kB\n", str(1024**2), "max", 0.0),
        ("MemAvailable: 9999 kB\n", "1", "max", 0.0),
    ],
)
def test_free_memory(tmp_path: Path, meminfo: str, limit: str, outer: str, expected: float) -> None:
    """The inner group takes 1 MiB now, and the one around it 5."""
    (tmp_path / "meminfo").write_text(meminfo)
    (tmp_path / "member").write_text("1:name=systemd:/other\n0::/outer/inner\n")
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, most, mb in ((inner, limit, 1), (inner.parent, outer, 5)):
        (folder / "memory.max").write_text(most + "\n")
        (folder / "memory.current").write_text(f"{mb * 1024**2}\n")
    assert free_memory_mb(tmp_path / "meminfo", tmp_path, tmp_path / "member") == expected


def test_free_memory_of_another_system(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert (free_memory_mb(none, none, none) or 0) > 0
