"""What is refused, what a failure leaves behind, and what the command says."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from astropy.io import fits, votable
from astropy.table import Table
from click.testing import CliRunner

import skyfan
from factories import make_rows, write_partition
from skyfan.catalog import writing
from skyfan.catalog.writing import FORMATS
from skyfan.cli import cli
from skyfan.cli.catalogs import catalog as command
from skyfan.errors import InputError, PartitionError

Refused = Callable[..., None]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder for catalogues, in which nothing may be left."""
    folder = tmp_path / "catalogues"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_an_incomplete_run_is_refused(incomplete: skyfan.Run, empty: Path, form: Any) -> None:
    with pytest.raises(InputError, match="is incomplete, 3 of 4 tasks are done; expected a complete run"):
        incomplete.catalog(empty / "c", form)
    assert not list(empty.iterdir())


def test_what_is_there_of_an_incomplete_run_says_that_it_is_not_all(incomplete: skyfan.Run, empty: Path) -> None:
    said = "NO, incomplete, 3 of 4 tasks are in it"
    path = incomplete.catalog(empty / "c.fits", "fits", allow_incomplete=True)
    assert len(Table.read(path)) == 7 + 8 + 9
    assert f"skyfan_complete: {said}" in list(fits.getheader(path, 1)["HISTORY"])
    path = incomplete.catalog(empty / "c.vot", "votable", allow_incomplete=True)
    infos = {info.name: info.value for info in votable.parse(path).resources[0].infos}
    assert infos["skyfan_complete"] == said
    path = incomplete.catalog(empty / "c", "hats", allow_incomplete=True)
    assert f"skyfan_complete={said}" in (path / "hats.properties").read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_what_exists_is_replaced_only_if_told_to(run: skyfan.Run, empty: Path, form: Any) -> None:
    out = run.catalog(empty / "c", form)
    before = out.stat().st_mtime_ns
    with pytest.raises(InputError, match="exists; expected a new name; give another, or replace it with --overwrite"):
        run.catalog(out, form)
    assert out.stat().st_mtime_ns == before
    run.catalog(out, form, overwrite=True)
    assert out.stat().st_mtime_ns > before
    assert list(empty.iterdir()) == [out]


def test_a_folder_that_is_no_catalogue_is_never_replaced(run: skyfan.Run, empty: Path) -> None:
    precious = empty / "home" / "thesis.tex"
    precious.parent.mkdir()
    precious.touch()
    for form in FORMATS:
        with pytest.raises(InputError, match="so it is not replaced"):
            run.catalog(precious.parent, form, overwrite=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is not a HATS catalogue"):
        run.catalog(precious, "hats", overwrite=True)
    assert precious.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_interrupted_leaves_nothing_new_and_the_old(
    root: Path, run: skyfan.Run, empty: Path, form: Any
) -> None:
    out = run.catalog(empty / "c", form)
    before = sorted(path.stat().st_mtime_ns for path in [out, *out.rglob("*")])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.catalog(out, form, overwrite=True, progress=interrupt)
    part = root / "sky" / "results" / "one" / "predictions" / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises((PartitionError, InputError)):
        run.catalog(out, form, overwrite=True, allow_incomplete=True)
    assert list(empty.iterdir()) == [out]
    assert sorted(path.stat().st_mtime_ns for path in [out, *out.rglob("*")]) == before


def test_hats_needs_positions(root: Path, asked: dict[str, Any], empty: Path) -> None:
    for number in range(1, 5):
        rows = make_rows(5, number)
        del rows["ra"], rows["dec"]
        write_partition(root / "sky" / "25MB" / f"{number}.safetensors", arrays=rows)
    run = skyfan.run(asked, store=root, workers=1)
    with pytest.raises(InputError, match="no column ra and no column dec, and HATS sorts rows by their place"):
        run.catalog(empty / "c", "hats")
    assert not list(empty.iterdir())
    assert "ra" not in Table.read(run.catalog(empty / "c.fits", "fits")).colnames


@pytest.mark.parametrize(("name", "value"), [("dec", 91.0), ("ra", float("nan"))])
def test_hats_needs_every_position(root: Path, asked: dict[str, Any], empty: Path, name: str, value: float) -> None:
    rows = make_rows(8, 2)
    rows[name][5] = value
    write_partition(root / "sky" / "25MB" / "2.safetensors", arrays=rows)
    run = skyfan.run(asked, store=root, workers=1)
    with pytest.raises(InputError, match=f"row 5 of 25MB/2.safetensors has .*{name} {value}"):
        run.catalog(empty / "c", "hats")
    assert not list(empty.iterdir())


def test_other_targets_that_cannot_be(run: skyfan.Run, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such format of a catalogue; expected parquet, fits, votable, hats"):
        run.catalog(empty / "c", "csv")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"there is no folder .*none; expected one to write into"):
        run.catalog(empty / "none" / "c.fits", "fits")
    monkeypatch.setitem(writing._WRITERS, "fits", ("skyfan.nothing_of_that_name", "write"))
    with pytest.raises(
        InputError, match=r"is not installed; install skyfan with its extra 'catalog', as in pip install"
    ):
        run.catalog(empty / "c.fits", "fits")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(run: skyfan.Run, empty: Path) -> None:
    empty.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot write the catalogue .*Permission denied"):
        run.catalog(empty / "c.fits", "fits")


def test_a_full_disk(run: skyfan.Run, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        Path(str(arguments[1])).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skyfan.catalog.fits.write_fits", full)
    with pytest.raises(InputError, match=r"cannot write the catalogue .*: No space left on device"):
        run.catalog(empty / "c.fits", "fits")
    assert not list(empty.iterdir())


def test_the_command_knows_every_format() -> None:
    option = next(option for option in command.params if option.name == "form")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == FORMATS


def test_the_command(root: Path, run: skyfan.Run, empty: Path) -> None:
    arguments = ["catalog", "sky/results/one", str(empty / "c.fits"), "--format", "fits", "--store", str(root)]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, f"{empty / 'c.fits'}: 34 rows, fits\n")
    with pytest.raises(InputError, match="--overwrite"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    shutil.rmtree(root / "sky" / "results" / "one" / "reports")
    with pytest.raises(PartitionError, match="no part to read"):
        CliRunner().invoke(cli, [*arguments, "--overwrite", "--allow-incomplete"], catch_exceptions=False)


def test_the_command_on_an_incomplete_run(root: Path, incomplete: skyfan.Run, empty: Path) -> None:
    arguments = ["catalog", incomplete.id, str(empty / "c.parquet"), "--store", str(root)]
    with pytest.raises(InputError, match="--allow-incomplete"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    done = CliRunner().invoke(cli, [*arguments, "--allow-incomplete"], catch_exceptions=False)
    assert done.exit_code == 3
    assert "24 rows" in done.stdout
    assert "is incomplete" in done.stderr
    assert "holds 3 of 4 tasks" in done.stderr
