"""What training reads: the split by object, constants of the inputs, surveys that cannot be used."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from photoz.small import ROWS, TINY
from skyfan.errors import PartitionError, SurveyError
from skyfan.photoz import dataset
from skyfan.photoz.dataset import measure_normalisation, measure_range, open_survey, split
from skyfan.photoz.render import sky_noise

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50, unique=True)


@given(IDS)
def test_every_row_is_in_exactly_one_part(ids):
    parts = split(np.array(ids))
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(together) == list(range(len(ids)))


@given(IDS, st.randoms())
def test_an_object_is_in_the_same_part_in_any_company(ids, random):
    part = {i: name for name, rows in vars(split(np.array(ids))).items() for i in np.array(ids)[rows]}
    some = random.sample(ids, k=random.randint(1, len(ids)))
    again = {i: name for name, rows in vars(split(np.array(some))).items() for i in np.array(some)[rows]}
    assert again == {i: part[i] for i in some}


def test_parts_have_their_shares():
    parts = split(np.arange(100_000))
    assert len(parts.validation) == pytest.approx(5_000, abs=300)
    assert len(parts.test) == pytest.approx(5_000, abs=300)


def test_range_is_that_of_the_rows(survey_file, survey):
    rows = np.arange(3, ROWS, 2)
    measured = measure_range(open_survey(survey_file, TINY), rows)
    assert measured.image == (survey["image"][rows].min(), survey["image"][rows].max())
    np.testing.assert_array_equal(measured.magnitude[0], survey["magnitude"][rows].min(axis=0))
    np.testing.assert_array_equal(measured.magnitude[1], survey["magnitude"][rows].max(axis=0))


def test_normalisation_finds_the_noise_and_the_scale(survey_file, survey, parameters):
    constants = measure_normalisation(open_survey(survey_file, TINY), np.arange(ROWS), TINY)
    # The outermost pixels of large galaxies are not empty, so that the noise is met from above.
    ratio = constants["softening"].numpy() / (2 * sky_noise(parameters))
    assert (ratio > 0.95).all()
    assert (ratio < 1.3).all()
    np.testing.assert_allclose(constants["measured_mean"][:5], survey["magnitude"].mean(axis=0), rtol=1e-5)
    assert all(torch.isfinite(values).all() for values in constants.values())


def test_float16_images_are_read(tmp_path, survey):
    small = {name: values[:20] for name, values in survey.items()}
    save_file(small | {"image": small["image"].astype(np.float16)}, tmp_path / "s.safetensors")
    image, _, _ = open_survey(tmp_path / "s.safetensors", TINY).batch(np.arange(3))
    assert image.dtype == torch.float32


def changed(survey, **changes):
    return {name: values[:20].copy() for name, values in survey.items()} | changes


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("redshift", np.full(20, 0.5, np.float32), r"redshift 0.5 in row 0 \(20 such rows\).*covers 0 to 0.4"),
        ("redshift", np.full(20, np.nan, np.float32), "redshift nan in row 0"),
        ("redshift", np.full(20, -0.01, np.float32), "redshift -0.0"),
        ("magnitude", np.zeros((20, 4), np.float32), r"magnitude of shape \(20, 4\); expected \(20, 5\)"),
        ("image", np.zeros((20, 5, 16, 16), np.float32), "cut images to 32 x 32"),
        ("object_id", np.zeros(19, np.int64), r"object_id of shape \(19,\)"),
    ],
)
def test_unusable_survey_is_refused(tmp_path, survey, name, values, message):
    save_file(changed(survey, **{name: values}), tmp_path / "s.safetensors")
    with pytest.raises(SurveyError, match=message):
        open_survey(tmp_path / "s.safetensors", TINY)


def test_missing_array_is_named(tmp_path, survey):
    lacking = changed(survey)
    del lacking["redshift"]
    save_file(lacking, tmp_path / "s.safetensors")
    with pytest.raises(SurveyError, match="has no redshift"):
        open_survey(tmp_path / "s.safetensors", TINY)


@pytest.mark.parametrize("name", ["image", "magnitude"])
def test_row_that_is_not_finite_is_named(tmp_path, survey, name):
    broken = changed(survey)
    broken[name][7].flat[0] = np.inf
    save_file(broken, tmp_path / "s.safetensors")
    with pytest.raises(SurveyError, match="not finite in row 7"):
        measure_range(open_survey(tmp_path / "s.safetensors", TINY), np.arange(20))


def test_absent_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(SurveyError, match="skyfan simulate"):
        open_survey(tmp_path / "absent.safetensors", TINY)
    (tmp_path / "text").write_text("not a survey at all")
    with pytest.raises(PartitionError):
        open_survey(tmp_path / "text", TINY)


def test_blocks_cover_all_rows():
    assert [len(block) for block in dataset.blocks(np.arange(5), 2)] == [2, 2, 1]
