"""A mask as a prior on a model's outline."""

import cv2
import numpy as np
import pytest

from cefm_core.segmentation.prior import weigh_against_prior


def _disc() -> np.ndarray:
    return cv2.circle(np.zeros((100, 100), np.uint8), (50, 50), 30, 1, -1) > 0


@pytest.mark.parametrize("says", [-6.0, -3.0, 0.0, 3.0, 6.0, 50.0])
def test_the_model_moves_the_outline_by_its_logit_over_the_weight(says: float) -> None:
    evidence = weigh_against_prior(np.full((50, 50), says, np.float32), _disc(), 20.0, long_side_px=100)
    assert evidence.shape == (100, 100)
    moved = np.sqrt((evidence > 0).sum() / np.pi) - 30
    assert moved == pytest.approx(30 * np.clip(says, -6, 6) / 20, abs=0.8)  # weight 20: six logits move it by 0.3 radii


def test_without_weight_the_model_is_alone() -> None:
    logits = np.random.RandomState(0).normal(0, 2, (40, 60)).astype(np.float32)
    assert np.array_equal(weigh_against_prior(logits, np.zeros((80, 120), bool), 0.0, long_side_px=60), np.clip(logits, -6, 6))


def test_an_empty_or_full_prior_gives_finite_evidence() -> None:
    for prior in (np.zeros((20, 30), bool), np.ones((20, 30), bool)):
        assert np.isfinite(weigh_against_prior(np.zeros((20, 30), np.float32), prior, 60.0, long_side_px=30)).all()


@pytest.mark.parametrize("side", [20, 80])
def test_many_answers_are_weighed_as_each_by_itself(side: int) -> None:
    logits = np.random.RandomState(1).normal(0, 3, (40, 40, 7)).astype(np.float32)
    together = weigh_against_prior(logits, _disc(), 20.0, long_side_px=side)
    assert together.shape == (side, side, 7)
    for index in range(7):
        alone = weigh_against_prior(logits[..., index], _disc(), 20.0, long_side_px=side)
        np.testing.assert_allclose(together[..., index], alone, atol=1e-5)
