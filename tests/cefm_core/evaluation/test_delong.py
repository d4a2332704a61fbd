"""DeLong's variance against its definition: the covariance of placements over all pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.evaluation.bootstrap import group_resamples
from cefm_core.evaluation.delong import delong_test
from cefm_core.evaluation.weighted import resampled_auc


def data(n=120, seed=0):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.4).astype(np.int64)
    signal = rng.normal(size=n) + target
    return target, np.round(signal + rng.normal(0, 0.3, n), 1), signal * 0.3 + rng.normal(size=n)


def placements(target, score):
    positive, negative = score[target == 1], score[target == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def test_equals_the_definition():
    target, a, b = data()
    (pa, na), (pb, nb) = placements(target, a), placements(target, b)
    variance = np.var(pa - pb, ddof=1) / pa.size + np.var(na - nb, ddof=1) / na.size
    result = delong_test(target, a, b)
    assert result.auc_a == pytest.approx(roc_auc_score(target, a))
    assert result.auc_b == pytest.approx(roc_auc_score(target, b))
    assert result.standard_error == pytest.approx(np.sqrt(variance))
    assert 0 < result.p_value < 0.05


def test_standard_error_is_the_bootstraps():
    target, a, b = data(400, 1)
    weights = group_resamples(np.arange(400), 1000, 0)
    spread = np.std(resampled_auc(weights, target, a) - resampled_auc(weights, target, b))
    assert delong_test(target, a, b).standard_error == pytest.approx(spread, rel=0.1)


def test_equal_orders_have_no_p_value():
    target, a, _ = data()
    assert delong_test(target, a, 2 * a + 1).p_value is None
    assert delong_test(np.array([1, 0, 0]), np.array([0.3, 0.1, 0.5]), np.array([0.1, 0.2, 0.3])).p_value is None


def test_p_values_are_uniform_when_there_is_no_difference():
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(200):
        target = np.r_[np.ones(30), np.zeros(60)].astype(np.int64)
        p_values.append(delong_test(target, rng.normal(size=90) + target, rng.normal(size=90) + target).p_value)
    assert 2 <= np.sum(np.array(p_values) < 0.05) <= 20
