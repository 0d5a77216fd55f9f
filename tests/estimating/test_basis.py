"""Where a speed comes from, and how sure it is."""

from typing import Any

import pytest
from msgspec import structs

from skyfan.aws.forecast import ASSUMED
from skyfan.estimating.basis import AWS_TASK_SPREAD, SURE_HERE, Basis, aws_basis, local_basis
from skyfan.estimating.ends import LOCAL_AFTER_TASK_S, initialize_s, summarize_s
from skyfan.host import usable_cores
from skyfan.profiling.profile import Profile
from skyfan.task import ModelRef
from speeds import MODEL, profile


def here(found: Profile | None, model: ModelRef | None = MODEL, **more: Any) -> Basis:
    return local_basis(found, model, **{"batch_size": 32, "threads": 1, "workers": 1, **more})


def there(found: Profile | None, model: ModelRef | None = MODEL, **more: Any) -> Basis:
    return aws_basis(found, model, **{"batch_size": 32, "threads": 1, "memory_mb": 1769, **more})


def test_a_profile_of_this_machine_is_taken_as_it_is() -> None:
    found = here(profile())
    assert (found.speed.s_per_row, found.speed.s_per_task, found.factor) == (1 / 500, 0.01, SURE_HERE)
    assert (found.task_spread, found.peak_memory_mb, found.row_bytes) == (0.03, 140.0, 20_520.0)
    assert "500 rows/s per worker" in found.said[0]
    assert here(profile(origin="reports")).speed.s_per_task == 0.01 + LOCAL_AFTER_TASK_S


@pytest.mark.parametrize(
    ("found", "model", "factor", "said"),
    [
        (profile(), MODEL, 1.15, "measured by 'skyfan profile'"),
        (profile(), structs.replace(MODEL, sha256="b" * 64), 4.0, "is another model"),
        (profile(machine="Other CPU, 64 cores"), MODEL, 2.0, "this machine is another"),
        (None, MODEL, 4.0, "is another model, and was never measured"),
        (None, None, 2.0, "799 rows/s"),
    ],
)
def test_how_sure_it_is_and_why(found: Profile | None, model: ModelRef | None, factor: float, said: str) -> None:
    basis = here(found, model)
    assert basis.factor == factor
    assert said in " | ".join(basis.said)


def test_another_point_than_was_measured_is_less_sure() -> None:
    near = here(profile(), batch_size=64)
    assert near.factor == 1.3
    assert "measured with batch size 32, not 64" in near.said


def test_more_workers_than_cores_share_them() -> None:
    cores = usable_cores()
    crowd = here(profile(), workers=4 * cores)
    measured_with = max(1.0, 2 / cores)
    assert crowd.speed.s_per_row == pytest.approx(4 / measured_with / 400.0)


def test_on_aws_start_up_and_transfer_are_assumed() -> None:
    found = there(profile())
    assert found.speed.s_per_row == 1 / 500
    assert found.speed.s_per_mb == ASSUMED.s_per_mb
    assert found.speed.s_per_cold_start == ASSUMED.s_per_cold_start
    assert (found.factor, found.task_spread) == (2.0, AWS_TASK_SPREAD)
    assert "start-up and transfer are assumed" in " | ".join(found.said)
    assert there(None, None).speed.s_per_row == ASSUMED.s_per_row


@pytest.mark.parametrize("found", [None, profile()])
def test_half_a_core_takes_twice_as_long_and_two_are_no_faster(found: Profile | None) -> None:
    whole, half, two = (there(found, memory_mb=memory).speed.s_per_row for memory in (1769, 885, 3538))
    assert half == pytest.approx(2 * whole, rel=0.002)
    assert two == whole


def test_a_profile_from_lambda_is_taken_as_it_is() -> None:
    measured = profile(machine="AWS Lambda aarch64, 1769 MB", origin="reports", cores=0)
    found = there(measured)
    assert (found.factor, found.task_spread, found.speed.s_per_mb, found.speed.s_per_cold_start) == (
        1.3,
        0.03,
        0.002,
        0.4,
    )
    assert there(measured, memory_mb=885).speed.s_per_row == pytest.approx(2 * found.speed.s_per_row, rel=0.002)
    assert there(measured, memory_mb=885).factor == 2.0


def test_larger_runs_take_longer_to_plan_and_to_sum_up() -> None:
    for on_aws in (False, True):
        begins = [initialize_s(tasks, tasks, on_aws=on_aws) for tasks in (1, 1_000, 100_000)]
        ends = [summarize_s(tasks, on_aws=on_aws) for tasks in (1, 1_000, 100_000)]
        assert begins == sorted(set(begins))
        assert ends == sorted(set(ends))
    assert summarize_s(10_000, on_aws=True) > 10 * summarize_s(10_000, on_aws=False)
