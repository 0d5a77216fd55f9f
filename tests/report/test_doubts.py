"""What a report must not claim: of runs with damage, of figures that are partial, of files that are not its own."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import skyfan
from skyfan.errors import AwsError, InputError, StackError
from skyfan.report import amounts, verdict, writing
from skyfan.report.composing import compose
from skyfan.report.document import Code, Notice
from skyfan.report.record import damaged, moment, read_record
from skyfan.report.sources import sources
from skyfan.report.writing import write_report
from skyfan.storage import Store


def run_folder(root: Path) -> Path:
    return root / "sky" / "results" / "one"


def change_summary(root: Path, **changes: Any) -> None:
    path = run_folder(root) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def resume(root: Path) -> None:
    """Make the run look as if two of its four tasks were done by an earlier drive."""
    drive = json.loads((run_folder(root) / "summary.json").read_text())["drive"]
    change_summary(root, drive=drive | {"tasks": 2, "rows": 15})


def made(run: skyfan.Run, root: Path, out: Path, **options: Any) -> str:
    write_report([run], Store(str(root)), out, "md", images=0, **options)
    return out.read_text()


def test_a_measurement_is_no_more_complete_than_its_run(finished: skyfan.Run, root: Path) -> None:
    (run_folder(root) / "reports" / "00002.json").unlink()
    found = read_record(finished, Store(str(root))).measurement
    assert not found.complete
    assert "1 of 4 tasks without a valid report or part (task 2)" in found.problem
    assert found.distinct_partitions is None


def test_a_measurement_of_a_whole_run_stays_as_it_is(finished: skyfan.Run, root: Path) -> None:
    record = read_record(finished, Store(str(root)))
    assert (record.measurement.complete, record.measurement.distinct_partitions) == (True, 4)
    assert damaged(record, "") is record


def test_a_broken_part_is_found_without_being_asked(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    part = run_folder(root) / "predictions" / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[40] ^= 1
    part.write_bytes(data)
    store = Store(str(root))
    assert write_report([finished], store, tmp_path / "r.md", "md", images=0) is False
    text = (tmp_path / "r.md").read_text()
    assert "NOT COMPLETE: A CHECK FAILED" in text
    assert "is not what its task wrote" in text[: text.index("## Workflow")]
    measured = damaged(read_record(finished, store), "broken").measurement
    assert (measured.complete, measured.problem) == (False, "broken")


def test_a_run_is_counted_once(finished: skyfan.Run, root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    store = Store(str(root))
    write_report([finished, finished], store, tmp_path / "r.md", "md", images=0)
    assert f"# Report of {finished.id}".replace("_", r"\_") in (tmp_path / "r.md").read_text()
    record = read_record(finished, store)
    seen: list[int] = []

    def scaling(rows: Any) -> list[Any]:
        seen.append(len(rows))
        return []

    monkeypatch.setattr("skyfan.report.composing.scaling", scaling)
    other = structs.replace(record.measurement, started_at="2026-01-01T00:00:00+00:00")
    compose([record], [record.measurement, other, other], images=0, histories={})
    assert seen == [2]


def test_the_cost_of_a_resumed_run_is_of_its_last_drive(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    assert "last drive alone" not in made(finished, root, tmp_path / "whole.md")
    resume(root)
    text = made(finished, root, tmp_path / "r.md")
    assert text.count("at least: of the last drive alone, 2 tasks were done before") == 2
    assert "until it asked for the summary; of the last drive alone" in text


def test_warnings_and_old_prices_stand_by_the_verdict(
    finished: skyfan.Run, root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    change_summary(root, warnings=["no index lies there"])
    monkeypatch.setattr(verdict, "age_warning", lambda region, read_in: f"{region} is of old, {read_in}")
    text = made(finished, root, tmp_path / "r.md")
    head, rest = text.split("## Workflow")
    assert "no index lies there; us-east-1 is of old" in head
    assert "The prices are old" in rest


def test_figures_of_a_part_of_a_run_say_so_first(finished: skyfan.Run, root: Path) -> None:
    change_summary(root, complete=False, tasks_ok=3, problems=["1 of 4 tasks failed"])
    (run_folder(root) / "reports" / "00002.json").unlink()
    document = compose([read_record(finished, Store(str(root)))], images=0, histories={})
    for name in ("numbers", "science"):
        first = next(section for section in document.sections if section.id == name).blocks[0]
        assert isinstance(first, Notice)
        assert "of 3 of 4 tasks only" in first.title


def test_a_damaged_summary_is_not_an_absent_one(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    (run_folder(root) / "summary.json").write_text("{")
    text = made(finished, root, tmp_path / "r.md")
    assert "THE SUMMARY CANNOT BE READ" in text
    assert "results/one/summary.json is there and cannot be read" in text
    assert "INTERRUPTED" not in text
    assert "its driver is gone" not in text


def test_figures_go_into_no_folder_of_somebody_else(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r_files"
    folder.mkdir()
    with pytest.raises(InputError, match="without a report of skyfan's beside it"):
        made(finished, root, tmp_path / "r.md")
    assert not list(folder.iterdir())
    made(finished, root, tmp_path / "r.md", overwrite=True)
    made(finished, root, tmp_path / "r.md")  # now it is ours
    (tmp_path / "link_files").symlink_to(folder)
    with pytest.raises(InputError, match="is a link"):
        made(finished, root, tmp_path / "link.md", overwrite=True)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is there and not a file"):
            writing.check_target(tmp_path / "pipe", overwrite=overwrite)


def test_trouble_with_aws_is_told_and_costs_no_report(
    finished: skyfan.Run, root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def refused(*_: Any) -> None:
        raise StackError("there is no such stack")

    def silent(*_: Any) -> None:
        raise AwsError("AWS does not answer")

    monkeypatch.setattr("skyfan.aws.stack.existing_stack", refused)
    monkeypatch.setattr("skyfan.report.history.read_history", silent)
    cloud: Any = object()
    text = made(finished, root, tmp_path / "r.md", cloud=cloud)
    assert "AWS could not be asked" in text
    assert "there is no such stack" in text
    with pytest.raises(StackError):
        made(finished, root, tmp_path / "r.md", cloud=cloud, stack="mine")
    record = replace(read_record(finished, Store(str(root))), execution="arn:aws:states:x")
    assert writing._histories([record], cloud) == ({}, {finished.id: "AWS does not answer"})
    document = compose([record], images=0, histories={}, unanswered={finished.id: "AWS does not answer"})
    first = next(section for section in document.sections if section.id == "execution").blocks[0]
    assert first == Notice("note", "AWS could not be asked", ("AWS does not answer",))


def test_an_amount_too_small_to_write_is_not_nothing() -> None:
    assert amounts.usd(1.6e-9) == "< 0.00000001 USD"
    assert amounts.usd(2e-8) == "0.00000002 USD"
    assert amounts.usd(0.0) == "0.0000 USD"


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_name_that_is_not_utf8_can_be_written(finished: skyfan.Run, root: Path, tmp_path: Path, form: Any) -> None:
    record = replace(read_record(finished, Store(str(root))), execution="arn:\udcff")
    out = tmp_path / f"r.{form}"
    writing._write(compose([record], images=0, histories={}), out, form)
    assert "arn:?" in out.read_text()


@pytest.mark.parametrize("versions", [{"python": ["3.11"]}, {"skyfan": []}, None])
def test_a_version_that_is_not_known_is_not_this_one(
    finished: skyfan.Run, root: Path, versions: dict[str, list[str]] | None
) -> None:
    if versions is None:
        (run_folder(root) / "summary.json").unlink()
    else:
        change_summary(root, versions=versions)
    commands = sources(read_record(finished, Store(str(root))))[-1]
    assert isinstance(commands, Code)
    assert (
        commands.text.splitlines()[0]
        == "# skyfan of a version that is not known: pip install . in the folder of its repository"
    )


def test_the_versions_that_ran_it_are_said_on_a_line(finished: skyfan.Run, root: Path) -> None:
    change_summary(root, versions={"skyfan": ["0.0.8", "0.0.9\nrm -r ."]})
    commands = sources(read_record(finished, Store(str(root))))[-1]
    assert isinstance(commands, Code)
    assert (
        commands.text.splitlines()[0]
        == "# skyfan 0.0.8 and 0.0.9 rm -r .: pip install . in the folder of its repository"
    )


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59+00:00"]
)
def test_a_time_that_no_run_can_have_is_none(text: str, finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    assert moment(text) is None
    for path in [run_folder(root) / "summary.json", *(run_folder(root) / "reports").iterdir()]:
        said = json.loads(path.read_text())
        for keys in (said, said.get("drive", {})):
            keys |= {name: text for name in ("started_at", "ended_at") if name in keys}
        path.write_text(json.dumps(said))
    assert "not known" in made(finished, root, tmp_path / "r.md")
