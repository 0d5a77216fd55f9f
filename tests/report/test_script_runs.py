"""The report of a run whose tasks ran a script: what is known of it, and nothing that only the script knows."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import skyfan
from scripted import CODE, DRIVE, SCRIPT, script_run
from skyfan.report.completeness import catalogue_digest
from skyfan.report.composing import NO_CATALOGUE, compose
from skyfan.report.document import Block, Code, Document, Gallery, Grid, Text
from skyfan.report.drawing import draw_gantt
from skyfan.report.numbers import MEANINGS, MEANINGS_OF_SCRIPTS
from skyfan.report.record import Record, read_record
from skyfan.report.sources import sources
from skyfan.report.timeline import lanes_of, progress
from skyfan.report.verdict import verdict
from skyfan.report.writing import write_report
from skyfan.storage import Store
from skyfan.task import Seconds

TRACE = ["Traceback (most recent call last):", "MemoryError: </code><script>alert(1)</script>"]


@pytest.fixture
def done(store: Store, asked: Mapping[str, Any]) -> skyfan.Run:
    """A complete run of a script: three of its four tasks left a result."""
    return script_run(store, asked)


@pytest.fixture
def failed(store: Store, asked: Mapping[str, Any]) -> skyfan.Run:
    """A run of a script of which one task failed."""
    return script_run(store, asked, failed={3: TRACE}, tolerated_failure_count=1)


def document(run: skyfan.Run, store: Store, **options: Any) -> Document:
    return compose([read_record(run, store, **options)], images=4, histories={})


def blocks(document: Document, section: str) -> tuple[Block, ...]:
    return next(found for found in document.sections if found.id == section).blocks


def made(run: skyfan.Run, store: Store, out: Path, form: Any = "md") -> str:
    write_report([run], store, out, form)
    return out.read_text()


def test_the_verdict_says_tasks_exit_codes_and_results(done: skyfan.Run, store: Store) -> None:
    found = verdict(read_record(done, store))
    assert (found.good, found.headline) == (True, "Complete")
    assert found.sentence.startswith(
        "4 of 4 tasks done; their scripts ended with exit code 0, and 3 of them left a result."
    )
    figures = {name: (value, remark) for name, value, remark in found.figures}
    assert figures["Tasks"] == ("4", "done; results of 3")
    assert figures["Script"][0] == SCRIPT
    assert "Model" not in figures
    assert figures["Where"][1].startswith("logs and results in ")


def test_no_row_is_counted_on_the_whole_page(done: skyfan.Run, store: Store, tmp_path: Path) -> None:
    text = made(done, store, tmp_path / "r.md")
    page, words = text.split("## Words")
    assert re.search(r"\b0 rows|rows read|rows in the catalogue|rows expected", page) is None
    assert "Rows flagged" not in page
    assert "not known rows" not in page
    assert "**Script**" in words


def test_a_run_of_which_no_script_ended_says_so(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, failed=dict.fromkeys(range(4), TRACE), tolerated_failure_count=4)
    found = verdict(read_record(run, store))
    assert not found.good
    assert "0 of 4 tasks done; no script has ended well." in found.sentence


def test_completeness_holds_tasks_and_results_against_the_plan(failed: skyfan.Run, store: Store) -> None:
    table, facts, hashes, *_ = blocks(document(failed, store), "completeness")
    assert isinstance(table, Grid)
    assert [row[0] for row in table.rows] == ["Tasks", "Partitions", "Bytes of these"]
    assert table.rows[0][1:] == ("4", "3", "differ")
    assert table.marked == (0, 1)
    assert [row[:2] for row in facts.rows if row[0] == "Results"] == [("Results", "3")]  # type: ignore[union-attr]
    assert isinstance(hashes, Grid)
    assert hashes.head == ("Task", "Partition", "Bytes", "sha256 of its result")
    assert len(hashes.rows) == 3


def test_the_hash_of_all_results_changes_with_any_of_them(
    done: skyfan.Run, store: Store, asked: Mapping[str, Any]
) -> None:
    other = script_run(store, asked, results=(0, 1, 3), result_path="results/two")
    assert catalogue_digest(read_record(done, store)) != catalogue_digest(read_record(other, store))


def test_a_proof_of_a_script_run_speaks_of_results(done: skyfan.Run, store: Store, root: Path) -> None:
    said = str(blocks(document(done, store, verify=True), "completeness"))
    assert "Every result was read and hashed again for this report" in said
    assert "every row" not in said
    (root / "sky" / "results" / "one" / "1.json").write_text('{"rank": 1, "accuracy": 9.5}')
    found = document(done, store, verify=True)
    assert not found.verdicts[0].good
    assert "results/one/1.json: its hash is" in str(blocks(found, "completeness"))


def test_a_result_that_is_gone_leaves_its_task_undone(done: skyfan.Run, store: Store, root: Path) -> None:
    (root / "sky" / "results" / "one" / "1.json").unlink()
    found = verdict(read_record(done, store))
    assert not found.good
    assert "3 of 4 tasks done" in found.sentence


def test_failed_tasks_whose_reports_were_not_read_are_counted_all_the_same(
    store: Store, asked: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyfan.report.record.MAX_FAILURES", 2)
    monkeypatch.setattr("skyfan.report.execution.SHOWN_LOGS", 1)
    run = script_run(store, asked, failed=dict.fromkeys(range(4), TRACE), tolerated_failure_count=4)
    said = str(blocks(document(run, store), "execution"))
    assert "Of 4 tasks that failed, the last attempts of 2 are below, in red." in said
    assert "The logs of 3 more failed tasks are not shown." in said


@pytest.mark.parametrize("form", ["html", "md"])
def test_failed_tasks_show_the_last_lines_of_their_logs(
    failed: skyfan.Run, store: Store, tmp_path: Path, form: str
) -> None:
    (log,) = [block for block in blocks(document(failed, store), "execution") if isinstance(block, Code)]
    assert log.text.splitlines() == TRACE
    assert log.title.startswith("Task 3: exit code 3 after 1.5 s, 303 MiB; the last lines of ")
    assert log.title.endswith("sky/results/one/logs/00003.log")
    page = made(failed, store, tmp_path / f"r.{form}", form)
    assert "Traceback (most recent call last):" in page
    assert form == "md" or "<script>" not in page


def test_logs_of_many_failures_are_not_a_book(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, failed={0: TRACE}, tolerated_failure_count=1)
    record = read_record(run, store)
    (end,) = record.failed_ends.values()
    found = compose([replace(record, failed_ends=dict.fromkeys(range(25), end))], images=0, histories={})
    shown = blocks(found, "execution")
    assert sum(isinstance(block, Code) for block in shown) == 10
    assert shown[-1] == Text("The logs of 15 more failed tasks are not shown.")


def test_phases_are_those_of_a_script_and_of_a_model_those_of_a_model(
    done: skyfan.Run, store: Store, root: Path, asked: dict[str, Any]
) -> None:
    def phases(record: Record) -> list[str]:
        found = blocks(compose([record], images=0, histories={}), "numbers")
        return [row[0] for block in found if isinstance(block, Grid) for row in block.rows]

    of_script = phases(read_record(done, store))
    assert of_script[:4] == list(MEANINGS_OF_SCRIPTS) == ["model", "script", "write", "other"]
    of_model = phases(read_record(skyfan.run(asked | {"result_path": "m"}, store=root, workers=1), store))
    assert of_model[:7] == list(MEANINGS)
    assert "script" not in of_model


def test_phases_of_both_kinds_are_all_that_a_task_counts() -> None:
    counted = {name for name in Seconds.__struct_fields__ if name != "total"} | {"other"}
    assert set(MEANINGS) | set(MEANINGS_OF_SCRIPTS) == counted


def test_the_numbers_are_tasks_and_memory_of_scripts(done: skyfan.Run, store: Store) -> None:
    said = str(blocks(document(done, store), "numbers"))
    assert "0.500 tasks/s" in said
    assert "rows/s" not in said
    assert "Memory of a script" in said
    assert "303 MiB at most" in said
    phases = next(block for block in blocks(document(done, store), "numbers") if isinstance(block, Grid))
    assert phases.rows[1][:3] == ("script", "6.00", "75.0%")


def test_there_is_no_catalogue_no_plot_and_no_gallery(done: skyfan.Run, store: Store) -> None:
    found = document(done, store)
    assert blocks(found, "science") == (Text(NO_CATALOGUE),)
    assert not [block for section in found.sections for block in section.blocks if isinstance(block, Gallery)]


def test_the_charts_count_tasks(done: skyfan.Run, store: Store) -> None:
    record = read_record(done, store)
    assert progress(record.seen.spans)[-1][1] == 4
    svg = draw_gantt(record.seen.spans, [])[0].decode()
    assert "task 3: 2.00 s" in svg
    assert "row" not in svg.split("</style>")[1]
    merged = lanes_of(record.seen.spans, most=1)
    assert {mark.rows for mark in merged.marks} == {None}
    assert sum(mark.tasks for mark in merged.marks) == 4


def test_sources_name_the_script_its_code_and_how_to_run_it_again(done: skyfan.Run, store: Store) -> None:
    record = read_record(done, store)
    said = str(sources(record))
    assert f"'Script', '{SCRIPT}'" in said
    assert "sky/code" in said
    assert "results/one/logs/" in said
    assert "--allow-scripts" in said
    assert '"S3_object_name": "code"' in said
    on_aws = str(sources(replace(record, execution="arn:aws:states:x")))
    assert "--engine aws" in on_aws
    assert "--allow-scripts" not in on_aws


def test_a_run_on_dask_is_run_again_on_dask(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, drive=structs.replace(DRIVE, engine="dask"))
    assert "--engine dask --allow-scripts" in str(sources(read_record(run, store)))


def test_other_code_in_one_run_is_said(done: skyfan.Run, store: Store) -> None:
    record = read_record(done, store)
    record.seen.programs[SCRIPT, "f" * 64] += 1
    assert "its tasks used 2 versions of a script" in str(sources(record))


def test_what_scripts_printed_is_not_held_in_mind(done: skyfan.Run, store: Store) -> None:
    slim = read_record(done, store).seen.slim
    assert [report.ending.last_lines for report in slim if report.ending] == [[]] * 4


def test_a_script_that_never_ran_to_an_end_has_a_page(store: Store, asked: Mapping[str, Any], tmp_path: Path) -> None:
    run = script_run(store, asked, failed=dict.fromkeys(range(4), TRACE), tolerated_failure_count=4)
    Path(store.url, "sky", "results", "one", "summary.json").unlink()
    text = made(run, store, tmp_path / "r.md")
    assert "INTERRUPTED" in text
    assert f"| Script | {SCRIPT} |" in text


def test_a_model_beside_a_script_is_a_run_of_the_model(root: Path, asked: dict[str, Any], store: Store) -> None:
    run = skyfan.run(asked | CODE, store=root, workers=1)
    found = verdict(read_record(run, store))
    assert "34 rows read = 34 rows in the catalogue" in found.sentence
