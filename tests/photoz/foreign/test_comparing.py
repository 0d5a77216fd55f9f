"""The exported file is compared with torch, and scored, on rows that it is given."""

import json

import numpy as np
import pytest

from factories import BANDS, make_rows, write_partition
from photoz.foreign.networks import metadata, survey
from skyfan.errors import ModelError
from skyfan.photoz.foreign import exporting
from skyfan.photoz.foreign.parity import relative


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_rows_without_a_redshift_are_not_scored(export, tmp_path_factory):
    test = survey(tmp_path_factory.mktemp("test"))
    written = export("NanWhereFaint", test=test)
    predicted = make_rows(40)["magnitude"][:, 0] <= 17
    assert 0 < predicted.sum() < 40
    assert written.scores.count == predicted.sum()
    assert np.isfinite(written.scores.bias)
    found = strict(metadata(written.path)["metrics"])
    assert (found["count"], found["survey"]) == (predicted.sum(), "rows.safetensors")


@pytest.mark.parametrize("known", [1, 0])
def test_a_score_that_is_not_defined_is_null(export, tmp_path_factory, known):
    redshift = np.where(np.arange(40) < known, 0.1, -1).astype(np.float32)
    written = export("Arguments", test=survey(tmp_path_factory.mktemp("test"), redshift=redshift))
    assert (written.scores is not None) == bool(known)
    found = metadata(written.path).get("metrics")
    assert (strict(found)["count"], strict(found)["r2"]) == (1, None) if known else found is None


def test_a_survey_without_a_finite_row_is_refused(export, tmp_path_factory):
    test = survey(tmp_path_factory.mktemp("test"), magnitude=np.full((40, BANDS), np.nan))
    with pytest.raises(ModelError, match=r"none of its 40 rows is finite in image, magnitude; .* leave --test away"):
        export("Arguments", test=test)


def test_finite_rows_are_found_wherever_they_are(export, tmp_path_factory):
    test = tmp_path_factory.mktemp("test") / "rows.safetensors"
    rows = make_rows(4500)
    rows["magnitude"][:4480] = np.nan
    write_partition(test, arrays=rows)
    assert export("Arguments", test=test).compared_rows == 64 + 20


def test_a_test_survey_of_other_shapes_is_refused(export, tmp_path_factory):
    test = tmp_path_factory.mktemp("test") / "rows.safetensors"
    write_partition(test, arrays={"image": np.ones((4, BANDS, 6, 6), np.float32)})
    with pytest.raises(ModelError, match=r"has no image of the shape \(5, 8, 8\) a row, .*set --input"):
        export("Arguments", test=test)


def test_a_file_that_disagrees_is_refused(export, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "difference", lambda *_: 2e-4)
    with pytest.raises(ModelError, match=r"differs from torch by 2\.0e-04, expected at most 1e-04"):
        export("Arguments")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("want", "got", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0002], 1e-4),
        ([1e-9, 1.0], [2e-9, 1.0], 1e-9 / 0.5**0.5),
        ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-30], np.inf),
        ([1.0, 1.0], [1.0], np.inf),
    ],
)
def test_differences_are_relative_to_the_value_or_what_is_usual(want, got, expected):
    assert relative(np.array(want), [np.array(got)]) == pytest.approx(expected, rel=1e-6)
