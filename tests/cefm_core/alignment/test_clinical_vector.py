import numpy as np
import pytest

from cefm_core.alignment.clinical_vector import CLINICAL, PAPER, ClinicalScale, clinical_matrix, clinical_names
from cefm_core.tables import abc_features

NAN = np.nan


def test_every_measurement_is_a_number_of_the_abc_table():
    for name in (*CLINICAL, *PAPER):
        assert abc_features.TABLE.column(name).type in ("float", "int")


def test_size_and_place_of_the_lesion_do_not_enter():
    assert not {name for name in (*CLINICAL, *PAPER) if "area" in name or "px" in name or "touches" in name}


def test_matrix_reads_null_and_absent_as_missing_and_never_as_zero():
    row = dict.fromkeys(PAPER, 1.5) | {"hue_std": None}
    found = clinical_matrix([row, {}], "paper")
    assert found.shape == (2, 5)
    assert np.isnan(found[0, PAPER.index("hue_std")]) and found[0, 0] == 1.5
    assert np.isnan(found[1]).all()


def test_no_row_gives_an_empty_matrix_of_the_right_width():
    assert clinical_matrix([], "clinical").shape == (0, len(clinical_names("clinical")))


def test_training_values_become_zero_mean_unit_variance():
    values = np.random.default_rng(0).normal(40, 9, (300, 2)).clip(20, 60)
    found = ClinicalScale.fit(values).transform(values)
    assert found.shape == (300, 2)
    np.testing.assert_allclose([found.mean(0), found.std(0)], [[0, 0], [1, 1]], atol=1e-4)


def test_missing_values_become_the_median_and_are_told_apart_by_an_indicator():
    values = np.array([[1.0, 5.0], [2.0, 6.0], [9.0, NAN]])
    scale = ClinicalScale.fit(values)
    found = scale.transform(np.array([[NAN, NAN], [2.0, 5.5]]))
    np.testing.assert_allclose(found[0, :2], found[1, :2], atol=1e-6)
    assert scale.width == 3
    assert found[:, 2].tolist() == [1.0, 0.0]


def test_measurements_that_fail_together_share_an_indicator():
    values = np.array([[1.0, 2.0, 3.0], [NAN, NAN, 4.0], [2.0, 3.0, 5.0]])
    assert ClinicalScale.fit(values).indicator.tolist() == [0]


def test_constant_and_never_seen_measurements_stay_finite():
    values = np.array([[7.0, NAN], [7.0, NAN], [7.0, NAN]])
    found = ClinicalScale.fit(values).transform(np.array([[7.0, 3.0]]))
    assert np.isfinite(found).all() and found[0, 0] == 0


def test_outliers_are_limited():
    values = np.random.default_rng(1).normal(size=(100, 1))
    assert ClinicalScale.fit(values).transform(np.array([[1e9]]))[0, 0] == pytest.approx(5.0)


def test_the_papers_way_leaves_values_unscaled():
    values = np.array([[10.0], [30.0], [110.0]])
    assert ClinicalScale.fit(values, standardise=False).transform(values)[:, 0].tolist() == [10.0, 30.0, 110.0]
