"""A run's measurement says what its summary and its reports say, and what is wrong with it as one."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import skyfan
from factories import write_partition
from skyfan.bench.measuring import measure_run
from skyfan.cost import Cost
from skyfan.errors import UnknownRunError
from skyfan.keys import RunKeys
from skyfan.prices import load_prices
from skyfan.storage import Store
from skyfan.watching import Billed


def test_a_run_is_measured(finished: skyfan.Run) -> None:
    summary = finished.summary
    assert summary is not None
    found = measure_run(finished)
    assert (found.origin, found.run, found.complete, found.problem) == ("skyfan", "sky/results/one", True, "")
    assert (found.engine, found.machine, found.model) == ("local", summary.machines[0], "models/tiny.onnx")
    assert (found.tasks, found.partitions, found.rows, found.batch_size, found.threads) == (4, 4, 34, 4, 1)
    assert found.distinct_partitions == 4
    assert (found.cold_tasks, found.workers) == (1, 1)
    assert found.run_wall_s == summary.drive.run_wall_s
    assert found.warm_task_s_p50 is not None
    assert found.task_s_max == summary.task_seconds.max
    phases = [found.model_s, found.open_s, found.hash_s, found.read_s, found.predict_s, found.write_s, found.other_s]
    assert sum(phase for phase in phases if phase) == pytest.approx(summary.worker_seconds.total, abs=0.01)
    assert found.cost_kind == "rented"
    assert found.core_hours == pytest.approx(summary.drive.run_wall_s / 3600, abs=1e-6)
    assert (found.prices_region, found.prices_read_in) == ("us-east-1", load_prices().read_in)


def test_the_original_s_formulas_are_kept_apart(finished: skyfan.Run) -> None:
    found = measure_run(finished)
    assert found.seed_avg_runtime_s == found.task_s_mean
    assert found.seed_avg_runtime_s is not None
    assert found.seed_memory_mb is not None
    usd = 4 * found.seed_avg_runtime_s * found.seed_memory_mb / 1024 * 0.0000166667
    assert found.seed_cost_usd == pytest.approx(usd, rel=1e-6, abs=1e-11)
    assert found.seed_throughput_gb_s == pytest.approx(found.bytes_in / 1024**3 / found.seed_avg_runtime_s)


def test_repeated_partitions_are_seen(root: Path, asked: dict[str, Any]) -> None:
    folder = root / "sky" / "25MB"
    for number in (2, 3, 4):
        (folder / f"{number}.safetensors").write_bytes((folder / "1.safetensors").read_bytes())
    found = measure_run(skyfan.run(asked, store=root, workers=1))
    assert (found.partitions, found.distinct_partitions) == (4, 1)


def test_what_was_read_is_known_by_its_content_not_by_its_name(root: Path, asked: dict[str, Any]) -> None:
    (root / "sky" / "25MB").rename(root / "sky" / "other")
    (root / "sky" / "25MB").symlink_to(root / "sky" / "other")
    first, moved, fewer = (
        measure_run(skyfan.run(asked | {"result_path": f"results/{name}"} | more, store=root, workers=1))
        for name, more in (("a", {}), ("b", {"data_prefix": "other", "world_size": 2}), ("c", {"file_limit": 2}))
    )
    assert len(first.data_sha256) == 64
    assert first.data_sha256 == moved.data_sha256
    assert fewer.data_sha256 not in {"", first.data_sha256}
    write_partition(root / "sky" / "other" / "4.safetensors", rows=10, seed=99)
    changed = measure_run(skyfan.run(asked | {"result_path": "results/d"}, store=root, workers=1))
    assert changed.data_sha256 not in {"", first.data_sha256}


def test_what_a_run_did_not_read_has_no_content_unless_an_index_says_it(root: Path, asked: dict[str, Any]) -> None:
    (root / "sky" / "25MB" / "2.safetensors").write_bytes(b"no partition")
    run = skyfan.run(asked, store=root, workers=1, tolerated_failure_count=1)
    assert measure_run(run).data_sha256 == ""
    path = root / "sky" / "results" / "one" / "manifest.json"
    tasks = json.loads(path.read_text())
    for task in tasks:
        task["partitions"][0]["sha256"] = "ab" * 32
    path.write_text(json.dumps(tasks))
    assert len(measure_run(run).data_sha256) == 64


def test_a_run_that_is_not_complete_says_why(root: Path, asked: dict[str, Any]) -> None:
    (root / "sky" / "25MB" / "2.safetensors").write_bytes(b"no partition")
    found = measure_run(skyfan.run(asked, store=root, workers=1, tolerated_failure_count=1))
    assert not found.complete
    assert "1 of 4 tasks failed" in found.problem
    assert found.task_s_p50 is not None, "of the tasks that are there"
    assert (found.seed_avg_runtime_s, found.seed_memory_mb, found.seed_cost_usd) == (None, None, None)
    assert (found.seed_throughput_gb_s, found.task_s_mean) == (None, None)
    assert found.bytes_per_s_map_wall is not None, "all that was read, in the one drive that there was"


def test_a_resumed_run_is_complete_and_no_measurement(root: Path, asked: dict[str, Any]) -> None:
    partition = root / "sky" / "25MB" / "2.safetensors"
    whole = partition.read_bytes()
    partition.write_bytes(b"no partition")
    skyfan.run(asked, store=root, workers=1, tolerated_failure_count=1)
    partition.write_bytes(whole)
    found = measure_run(skyfan.run(asked, store=root, workers=1))
    assert found.complete
    assert "resumed: 3 of 4 tasks were done before" in found.problem
    assert found.bytes_per_s_map_wall is None, "its bytes are of two drives, its wall clock is of one"
    assert found.rows_per_s_map_wall is not None
    assert found.seed_cost_usd is not None


def test_a_run_without_a_summary_did_not_end(finished: skyfan.Run, root: Path) -> None:
    (root / "sky" / "results" / "one" / "summary.json").unlink()
    found = measure_run(finished)
    assert (found.complete, found.problem, found.run_wall_s) == (False, "the run did not come to its end", None)
    with pytest.raises(UnknownRunError, match="there is no run"):
        measure_run(skyfan.Run(Store(str(root)), "sky", "results/none"))


def test_old_reports_without_machine_or_threads_are_read(finished: skyfan.Run, root: Path) -> None:
    folder = root / "sky" / "results" / "one"
    for path in [*(folder / "reports").glob("*.json"), folder / "summary.json"]:
        said = json.loads(path.read_text())
        for key in ("machine", "threads", "machines"):
            said.pop(key, None)
        path.write_text(json.dumps(said))
    found = measure_run(finished)
    assert (found.machine, found.threads, found.complete) == ("", 1, True)


def test_a_version_that_is_not_known_is_not_this_one(finished: skyfan.Run, root: Path) -> None:
    path = root / "sky" / "results" / "one" / "summary.json"
    said = json.loads(path.read_text())
    del said["versions"]["skyfan"]
    path.write_text(json.dumps(said))
    assert measure_run(finished).skyfan == ""


def test_a_report_that_answers_another_task_is_no_report_of_the_run(finished: skyfan.Run, root: Path) -> None:
    folder = root / "sky" / "results" / "one" / "reports"
    said = json.loads((folder / "00003.json").read_text())
    said["partitions"][0]["key"] = "25MB/9.safetensors"
    said["seconds"]["total"] = 999.0
    (folder / "00003.json").write_text(json.dumps(said))
    (folder / "00002.json").write_bytes((folder / "00001.json").read_bytes())
    assert [report.rank for report in finished.reports()] == [0, 1]
    largest = measure_run(finished).task_s_max
    assert largest is not None
    assert largest < 999


@pytest.mark.parametrize(("is_whole", "kind"), [(True, "billed"), (False, "at least")])
def test_the_bill_of_a_run_on_aws_is_its_cost(finished: skyfan.Run, root: Path, is_whole: bool, kind: str) -> None:
    folder = root / "sky" / "results" / "one"
    said = json.loads((folder / "summary.json").read_text())
    said["machines"] = ["AWS Lambda aarch64, 1769 MB"]
    said["drive"]["engine"] = "aws"
    (folder / "summary.json").write_text(json.dumps(said))
    assert (measure_run(finished).engine, measure_run(finished).cost_usd) == ("aws", None)
    assert measure_run(finished).prices_read_in == ""
    cost = Cost("eu-west-1", "2026-02", (), Decimal("0.0123"))
    bill = Billed("sky/results/one", cost, is_whole, ("noted",))
    (root / "sky" / RunKeys("results/one").bill).write_bytes(bill.encode())
    assert finished.bill == bill
    found = measure_run(finished)
    assert (found.cost_usd, found.cost_kind, found.core_hours) == (0.0123, kind, None)
    assert (found.prices_region, found.prices_read_in) == ("eu-west-1", "2026-02")


def test_a_damaged_price_list_costs_a_run_its_price_and_nothing_else(
    finished: skyfan.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measure_run(finished)
    (tmp_path / "us-east-1.json").write_text("{}")
    monkeypatch.setenv("SKYFAN_PRICES", str(tmp_path))
    found = measure_run(finished)
    assert "prices us-east-1.json: " in found.cost_problem
    lost = {"cost_usd": None, "cost_kind": "", "prices_region": "", "prices_read_in": ""}
    assert found == msgspec.structs.replace(before, cost_problem=found.cost_problem, **lost)
