"""Prompts sampled from masks of awkward shapes."""

import cv2
import numpy as np
import pytest

from cefm_core.config import RefineConfig
from cefm_core.segmentation.prompts import PromptSet, check_inside, make_prompts, mask_box, mask_logits

HEIGHT, WIDTH = 450, 600


def _blank() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), np.uint8)


def _disc() -> np.ndarray:
    return cv2.circle(_blank(), (310, 220), 120, 1, -1) > 0


def _c_shape() -> np.ndarray:
    return cv2.ellipse(_blank(), (300, 225), (150, 120), 0, 40, 320, 1, 36) > 0


def _ring() -> np.ndarray:
    return cv2.circle(_blank(), (300, 225), 130, 1, 24) > 0


def _thin_line() -> np.ndarray:
    return cv2.line(_blank(), (40, 400), (560, 60), 1, 5) > 0


def _cut_by_frame() -> np.ndarray:
    return cv2.circle(_blank(), (590, 10), 200, 1, -1) > 0


def _two_pixels() -> np.ndarray:
    mask = _blank()
    mask[7, 8:10] = 1
    return mask > 0


def _almost_everything() -> np.ndarray:
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[:3, :] = False
    return mask


SHAPES = {f.__name__.strip("_"): f for f in (_disc, _c_shape, _ring, _thin_line, _cut_by_frame, _two_pixels, _almost_everything)}


@pytest.mark.parametrize("name", SHAPES)
def test_every_point_is_on_its_side_and_inside_the_frame(name: str) -> None:
    mask = SHAPES[name]()
    prompts = make_prompts(mask, RefineConfig())
    for x, y in prompts.positive.astype(int):
        assert mask[y, x], f"positive point ({x}, {y}) of {name} lies outside the lesion"
    for x, y in prompts.negative.astype(int):
        assert not mask[y, x], f"negative point ({x}, {y}) of {name} lies inside the lesion"
    check_inside(np.concatenate([prompts.positive, prompts.negative]), (HEIGHT, WIDTH))


@pytest.mark.parametrize("name", ["disc", "c_shape", "ring", "thin_line", "cut_by_frame", "almost_everything"])
def test_nine_distinct_positive_and_four_negative_points(name: str) -> None:
    prompts = make_prompts(SHAPES[name](), RefineConfig())
    assert len(np.unique(prompts.positive, axis=0)) == 9
    assert len(np.unique(prompts.negative, axis=0)) == 4


def test_two_pixels_give_two_points_and_not_nine_copies() -> None:
    prompts = make_prompts(_two_pixels(), RefineConfig())
    assert sorted(map(tuple, prompts.positive)) == [(8, 7), (9, 7)]


def test_a_disc_gives_a_grid_and_negative_points_beyond_the_margin() -> None:
    mask = _disc()
    prompts = make_prompts(mask, RefineConfig(negative_margin=0.15))
    columns = sorted(set(np.round(prompts.positive[:, 0], -1)))
    assert columns == [250, 310, 370]  # quarters of the box
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    diagonal = 241 * np.sqrt(2)
    assert min(away[int(y), int(x)] for x, y in prompts.negative) >= 0.15 * diagonal - 1
    assert {(x > 310, y > 220) for x, y in prompts.negative} == {(a, b) for a in (True, False) for b in (True, False)}


def test_positive_points_keep_away_from_the_boundary() -> None:
    mask = _ring()
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert min(depth[int(y), int(x)] for x, y in make_prompts(mask, RefineConfig()).positive) >= 4


def test_the_numbers_of_points_are_settings() -> None:
    prompts = make_prompts(_disc(), RefineConfig(positive_grid=2, negative_points=6))
    assert (len(prompts.positive), len(prompts.negative)) == (4, 6)
    assert len(make_prompts(_disc(), RefineConfig(negative_points=0)).negative) == 0


def test_points_are_x_y_and_transposing_the_image_swaps_them() -> None:
    mask = _c_shape()
    box = mask_box(mask)
    assert mask[:, box[0]].any() and mask[box[1], :].any()
    assert make_prompts(mask.T.copy(), RefineConfig()).box == (box[1], box[0], box[3], box[2])


@pytest.mark.parametrize("point", [(-1, 5), (5, -0.5), (WIDTH, 5), (5, HEIGHT), (float("nan"), 5), (HEIGHT + 100, 0)])
def test_a_coordinate_outside_the_image_is_an_error(point: tuple[float, float]) -> None:
    if point == (HEIGHT + 100, 0):
        check_inside(np.array([point]), (HEIGHT, WIDTH))  # fine as (x, y); swapped it must fail
        point = (0, HEIGHT + 100)
    with pytest.raises(ValueError, match="outside an image of width 600 and height 450"):
        PromptSet(np.array([point]), np.zeros((0, 2)), (0, 0, 1, 1), (HEIGHT, WIDTH))


def test_an_empty_mask_has_no_prompts() -> None:
    with pytest.raises(ValueError, match="empty"):
        make_prompts(np.zeros((5, 5), bool), RefineConfig())


def test_the_row_holds_flat_lists() -> None:
    prompts = PromptSet(np.array([(1.0, 2.0), (3.0, 4.0)]), np.zeros((0, 2)), (1, 2, 3, 4), (9, 9))
    assert prompts.row() == {"positive_points": [1, 2, 3, 4], "negative_points": [], "box": [1, 2, 3, 4]}


@pytest.mark.parametrize("padded", [True, False])
def test_mask_logits_are_signed_and_in_the_models_frame(padded: bool) -> None:
    mask = _disc()
    logits = mask_logits(mask, padded=padded)
    assert logits.shape == (1, 256, 256) and logits.dtype == np.float32
    assert logits.min() < -5 and logits.max() > 5
    rows = round(HEIGHT * 256 / WIDTH) if padded else 256
    back = cv2.resize(logits[0, :rows], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) > 0
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.985
    if padded:
        assert (logits[0, rows:] < -5).all()


def test_same_mask_same_points() -> None:
    first, second = (make_prompts(_c_shape(), RefineConfig()) for _ in range(2))
    assert first.row() == second.row()
