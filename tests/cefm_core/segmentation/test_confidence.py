"""How sure a refined mask is."""

import numpy as np
import pytest

from cefm_core.config import RefineConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation import confidence, confidence_fit
from cefm_core.segmentation.confidence import FEATURES, mask_confidence, stability
from cefm_core.segmentation.prompts import jittered, make_prompts

SURE = {"decision": "accepted"} | dict(zip(FEATURES, (0.97, 0.99, 0.97, 0.95, 25.0), strict=True))
UNSURE = {"decision": "accepted"} | dict(zip(FEATURES, (0.6, 0.85, 0.8, 0.6, 4.0), strict=True))


def test_votes_that_agree_are_stable():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 10:30] = True
    votes = mask.astype(np.float32)
    assert stability(votes, mask) == pytest.approx(1)
    votes[10:30, 10:20] = 0.5
    assert stability(votes, mask) == pytest.approx(2 * 300 / (300 + 400))
    assert stability(None, mask) is None


def test_a_sure_mask_is_expected_to_be_better():
    high, low = mask_confidence(SURE, "medsam-lite")[0], mask_confidence(UNSURE, "medsam-lite")[0]
    assert 0 <= low < high <= 1
    assert high > 0.85


@pytest.mark.parametrize("name", FEATURES)
def test_what_is_missing_is_said(name):
    assert mask_confidence(SURE | {name: None}, "medsam-lite") == (None, confidence.MISSING[name])


def test_another_backend_gets_no_number():
    assert mask_confidence(SURE, "sam2") == (None, "not_fitted_for_refiner")


def test_a_kept_coarse_mask_is_judged_by_its_own_confidence():
    kept = dict.fromkeys(FEATURES) | {"decision": "kept"}
    values = [mask_confidence(kept | {"coarse_confidence": c}, "none") for c in (0.7, 0.9, 0.98)]
    assert all(reason is None for _, reason in values)
    assert values[0][0] < values[1][0] < values[2][0]
    assert mask_confidence(kept, "none") == (None, "no_coarse_confidence")


def test_fit_finds_what_decides_the_dice():
    random = np.random.default_rng(0)
    features = np.column_stack([random.uniform(0.5, 0.99, (400, 4)), random.uniform(0, 40, 400)])
    dice = np.clip(features[:, 1] - 0.1 + random.normal(0, 0.02, 400), 0, 1)
    model = confidence_fit.fit_confidence(features, dice, features[:, 0], "medsam-lite")
    assert np.argmax(np.abs(model["weights"][:4])) == 1
    assert model["weights"][1] > 0
    assert np.all(np.diff(model["dice"]) >= 0)
    assert np.allclose(model["coarse_knots"], model["coarse_dice"], atol=0.01)
    assert np.all(np.diff(model["knots"]) > 0)
    score = confidence.transformed(features) @ model["weights"] + model["offset"]
    assert np.abs(np.interp(score, model["knots"], model["dice"]) - dice).mean() < 0.04


def test_too_few_rows_are_refused():
    with pytest.raises(ConfigurationError, match="10 usable rows"):
        confidence_fit.fit_confidence(np.full((10, 5), 0.9), np.full(10, 0.9), np.full(10, 0.9), "medsam-lite")


def test_moved_prompts_differ_stay_inside_and_are_the_same_every_time():
    mask = np.zeros((60, 90), bool)
    mask[0:40, 20:89] = True
    prompts = make_prompts(mask, RefineConfig())
    variants = jittered(prompts, 5)
    assert len({v.box for v in variants}) == 5
    assert all(v.box[0] < v.box[2] and v.box[1] < v.box[3] for v in variants)
    again = jittered(prompts, 5)
    assert all(a.box == b.box and np.array_equal(a.positive, b.positive) for a, b in zip(variants, again, strict=True))
    assert max(abs(a - b) for v in variants for a, b in zip(v.box, prompts.box, strict=True)) <= 0.05 * np.hypot(69, 40) + 1e-9
