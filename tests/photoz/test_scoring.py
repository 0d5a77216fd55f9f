"""Figures of a model file: which rows they are of, and how they are compared."""

import numpy as np
import pytest

from photoz.small import TINY
from skyfan.errors import SurveyError
from skyfan.photoz.calibration import LEAST_ROWS
from skyfan.photoz.dataset import open_survey
from skyfan.photoz.posterior import LEVELS
from skyfan.photoz.scoring import CHANGES, Evaluated, finite_rows, largest_change


def test_rows_that_are_not_finite_are_passed_over(survey_file):
    data = open_survey(survey_file, TINY)
    image = np.array(data.image[:60])
    image[2, 0, 0, 0] = np.nan
    broken = type(data)(**vars(data) | {"image": image, "redshift": data.redshift[:60]})
    assert finite_rows(broken, np.arange(60)).tolist() == [0, 1, *range(3, 60)]
    assert len(finite_rows(broken, np.arange(LEAST_ROWS + 1))) == LEAST_ROWS
    for few in (np.arange(LEAST_ROWS), np.array([2]), np.empty(0, np.int64)):
        with pytest.raises(SurveyError, match=f"has {max(len(few) - 1, 0)} rows to test with"):
            finite_rows(broken, few)


def test_change_is_counted_in_dz():
    one = {"z_phot": np.array([0.1, 0.2], np.float32)}
    assert largest_change({"z_phot": np.array([0.1, 0.32], np.float32)}, one)["z_phot"] == pytest.approx(0.1)


def outputs(z_phot):
    pdf = np.full((len(z_phot), TINY.bins), 1.0 / TINY.bins, np.float32)
    ends = {name: np.full(len(z_phot), level * TINY.z_max, np.float32) for name, level in LEVELS.items()}
    return {"z_phot": z_phot, "pdf": pdf, "anomaly_score": np.zeros_like(z_phot), **ends}


def test_change_of_figures_is_after_less_before():
    z = np.linspace(0.0, 0.4, 101).astype(np.float32)
    before, after = (Evaluated.of(outputs(z + shift * (-1.0) ** np.arange(101)), z, TINY) for shift in (0.01, 0.02))
    found = after.change_from(before)
    assert found["sigma_nmad"] == after.scores.sigma_nmad - before.scores.sigma_nmad
    assert found["sigma_nmad_relative"] == pytest.approx(1.0, rel=0.02)
    assert set(CHANGES) < set(found)
    assert after.pdf_scores.coverage_68 == pytest.approx(0.68, abs=0.02)


def test_relative_change_of_no_scatter_is_not_defined():
    z = np.linspace(0.0, 0.4, 101).astype(np.float32)
    perfect = Evaluated.of(outputs(z), z, TINY)
    assert np.isnan(perfect.change_from(perfect)["sigma_nmad_relative"])
