"""Results of the original system: what is read from their records, and what these do not say."""

from pathlib import Path

import pytest

from bench.results import PLACE, SEED, given_records, record, records, write, write_seed
from skyfan.bench.importing import import_results
from skyfan.cost import seed_cost_usd
from skyfan.errors import InputError


def test_a_whole_run(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41))
    found = run.measurement
    assert (run.verdict, run.records, run.notes, found.problem) == ("complete", 41, (), "")
    assert (found.origin, found.run, found.complete) == ("imported", f"{PLACE}/combined_data.json", True)
    assert (found.tasks, found.partitions, found.workers, found.repeat) == (41, 41, 41, 1)
    assert (found.partition_mb, found.bytes_in, found.batch_size, found.data) == (25, 41 * 25 * 1024**2, 256, "25MB")
    assert found.seed_avg_runtime_s == pytest.approx(6.0)
    assert found.seed_memory_mb == pytest.approx(1780.0)
    assert found.seed_cost_usd == pytest.approx(float(seed_cost_usd(41, 6.0, 1780.0)))
    assert found.seed_throughput_gb_s == pytest.approx(41 * 25 / 1024 / 6.0)


def test_what_its_records_do_not_say_is_not_known(tmp_path: Path) -> None:
    """The profiler's sum is no task's seconds, batches times batch size is only the most that the rows can be."""
    found = given_records(tmp_path, records(41)).measurement
    assert found.rows is None
    assert {name for name in found.__struct_fields__ if name.endswith(("_wall_s", "_p50", "_p95", "_max"))} == {
        name
        for name in found.__struct_fields__
        if name.endswith(("_wall_s", "_p50", "_p95", "_max")) and getattr(found, name) is None
    }
    assert (found.task_s_mean, found.cost_usd, found.predict_s, found.threads) == (None, None, None, None)


def test_the_originals_table_is_what_its_results_give(tmp_path: Path) -> None:
    write_seed(tmp_path)
    found = import_results(tmp_path)
    assert found.complete
    by_size = {(run.measurement.partition_mb, run.measurement.tasks): run.measurement for run in found.runs}
    for row in SEED:
        run = by_size[row["partition_mb"], int(row["file_limit"])]
        assert run.seed_avg_runtime_s == pytest.approx(row["avg_runtime_s"])
        assert run.seed_cost_usd == pytest.approx(row["cost_usd"], abs=2e-4)
        assert run.seed_throughput_gb_s == pytest.approx(row["throughput_printed"], rel=5e-4)


def test_text_that_is_no_text_and_times_that_are_none_end_no_import(tmp_path: Path) -> None:
    odd = records(41, device="\ud800cpu", folder="\udfff25MB")
    write(tmp_path, "result-partition-25MB/1GB/1", odd)
    write(tmp_path, "result-partition-25MB/1GB/2", records(41, **{"total_cpu_time (seconds)": 1e-10}))
    write(tmp_path, "result-partition-25MB/1GB/3", records(41, **{"total_cpu_time (seconds)": 1e-9}))
    first, second, third = import_results(tmp_path).runs
    assert first.measurement.machine == "not known, device ?cpu"
    assert first.measurement.data == "?25MB"
    assert second.verdict == "damaged"
    assert "is 1e-10; expected 1e-09 or more" in second.measurement.problem
    assert third.verdict == "complete"


def test_a_rate_that_is_null_is_not_known(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41, throughput_bps=None))
    assert (run.verdict, len(run.notes)) == ("complete", 1)
    assert "'throughput_bps' (41)" in run.notes[0]


def test_records_are_believed_before_the_path_and_it_is_said(tmp_path: Path) -> None:
    content = records(21, folder="50MB", batch_size=128, result_path="scaling/result-partition-50MB/1GB/3")
    run = given_records(tmp_path, content, "result-partition-25MB/1GB/Batches/64/2")
    assert (run.verdict, run.measurement.partition_mb, run.measurement.batch_size) == ("complete", 50, 128)
    assert run.measurement.repeat == 3
    said = " ".join(run.notes)
    assert "batch size: the path says 64, the records 128; the records are believed" in said
    assert "partition size: the path says 25 MB, the records 50 MB" in said


def test_a_key_that_nothing_needs_may_be_absent_and_it_is_said(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41, throughput_bps=...))
    assert run.verdict == "complete"
    assert run.notes == ("keys that some records lack, and nothing here needs: 'throughput_bps' (41)",)


def test_several_files_of_a_worker_are_several_partitions(tmp_path: Path) -> None:
    content = [record(data_path=[f"25MB/{2 * rank}.pt", f"25MB/{2 * rank + 1}.pt"]) for rank in range(20)]
    run = given_records(tmp_path, [*content, record(data_path=["25MB/99.pt"])])
    assert (run.verdict, run.measurement.tasks, run.measurement.partitions) == ("complete", 21, 41)


def test_expect_must_be_a_number_of_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expect: got 0"):
        import_results(tmp_path, expect=0)
