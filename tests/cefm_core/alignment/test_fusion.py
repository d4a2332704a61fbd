import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from cefm_core.alignment.fusion import Blend, choose_blend, fit_blend, operating_threshold
from cefm_core.alignment.linear import log_loss


@pytest.fixture
def scored():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 600)
    good = 2.0 * (labels - 0.5) + random.normal(size=600)
    return labels, {"linear": good, "image": random.normal(size=600), "clinical": 0.7 * (labels - 0.5) + random.normal(size=600)}


def test_overconfident_logits_are_cooled_and_a_shifted_prior_is_mended(scored):
    labels, logits = scored
    wrong = {"linear": 5 * logits["linear"] + 4}
    blend = fit_blend(("linear",), wrong, labels)
    reference = LogisticRegression(C=np.inf).fit(logits["linear"][:, None], labels)
    expected = reference.predict_proba(logits["linear"][:, None])[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-blend.logits(wrong))), expected, atol=0.03)


def test_a_model_is_never_turned_around(scored):
    labels, logits = scored
    assert fit_blend(("linear",), {"linear": -logits["linear"]}, labels).weight[0] == 0.0


def test_choice_prefers_what_predicts_and_leaves_noise_out(scored):
    labels, logits = scored
    chosen, losses = choose_blend(logits, labels, np.arange(600))
    assert chosen in ("linear+clinical", "image+clinical+linear")
    assert losses["linear+clinical"] < losses["linear"] < losses["clinical"] < losses["image"]
    assert losses["image"] == pytest.approx(np.log(2), abs=0.03)


def test_a_difference_within_one_standard_error_keeps_the_fuller_blend(scored):
    labels, logits = scored
    twin = logits | {"image": logits["linear"]}
    chosen, losses = choose_blend(twin, labels, np.arange(600))
    assert chosen == "image+clinical+linear"
    assert losses["image+clinical"] == pytest.approx(losses["linear+clinical"])


def test_a_clear_difference_does_not(scored):
    labels, logits = scored
    wrong = logits | {"clinical": 9 * logits["image"], "image": 9 * logits["image"][::-1]}
    chosen, losses = choose_blend(wrong, labels, np.arange(600))
    assert "linear" in chosen and losses["linear"] < losses["image"]


@pytest.mark.parametrize("labels", [np.zeros(50, int), np.array([0, 1] * 5), np.array([0] * 40 + [1] * 4), np.array([], int)])
def test_too_few_labels_give_plain_averages_and_no_claims(labels):
    logits = {m: np.linspace(-1, 1, len(labels)) for m in ("linear", "image")}
    chosen, losses = choose_blend(logits, labels, np.arange(len(labels)))
    blend = fit_blend(("linear", "image"), logits, labels)
    assert losses == {} and chosen == "linear"
    assert blend.weight == (0.5, 0.5) and blend.bias == 0.0 and not blend.fitted


def test_blend_survives_json(scored):
    labels, logits = scored
    blend = fit_blend(("linear", "clinical"), logits, labels)
    assert Blend.from_facts(blend.as_facts()) == blend


def test_threshold_is_youdens_by_scikit_learn(scored):
    labels, logits = scored
    found = operating_threshold(logits["linear"], labels)
    false, true, _ = roc_curve(labels, logits["linear"])
    called = logits["linear"] >= found
    youden = called[labels == 1].mean() - called[labels == 0].mean()
    assert youden == pytest.approx((true - false).max())


def test_threshold_of_equal_probabilities_is_one_half():
    assert operating_threshold(np.full(60, 0.3), np.array([0, 1] * 30)) == 0.5


def test_log_loss_is_that_of_probabilities_and_survives_huge_logits():
    logits, labels = np.array([0.3, -2.0]), np.array([1, 0])
    p = 1 / (1 + np.exp(-logits))
    assert log_loss(logits, labels) == pytest.approx(-(np.log(p[0]) + np.log(1 - p[1])) / 2)
    assert log_loss(np.array([1e4]), np.array([0])) == pytest.approx(1e4)
