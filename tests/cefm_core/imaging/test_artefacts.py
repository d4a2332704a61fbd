"""Artefacts: each kind drawn on plain skin is found where it was drawn, and skin and lesion alone raise none."""

import cv2
import numpy as np
import pytest

from cefm_core.imaging.artefacts import find_artefacts


def skin(height=450, width=600, seed=0, colour=(205, 160, 140)):
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def with_lesion(rgb, centre=(300, 225), axes=(110, 80), colour=(110, 70, 50)):
    soft = np.zeros(rgb.shape[:2], np.float32)
    cv2.ellipse(soft, centre, axes, 20, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(soft, (0, 0), 6)[..., None]
    return (rgb * (1 - soft) + np.array(colour) * soft).astype(np.uint8)


def overlap(found, drawn):
    return (found & drawn).sum() / max(drawn.sum(), 1)


def test_skin_with_a_lesion_has_no_artefact():
    found = find_artefacts(with_lesion(skin()))
    assert found.any.mean() < 0.001
    assert found.hair.shape == (450, 600)
    assert found.hair.dtype == np.bool_


def test_hairs_are_found_where_they_lie():
    rgb, drawn = with_lesion(skin()), np.zeros((450, 600), np.uint8)
    for start, end in (((30, 20), (420, 200)), ((100, 430), (560, 260)), ((500, 10), (330, 440))):
        cv2.line(rgb, start, end, (50, 35, 30), 3, cv2.LINE_AA)
        cv2.line(drawn, start, end, 1, 3)
    found = find_artefacts(rgb)
    assert overlap(found.hair, drawn > 0) > 0.6
    assert overlap(found.hair, cv2.dilate(drawn, np.ones((9, 9))) == 0) < 0.002


def test_dark_corners_are_a_vignette_and_the_lesion_is_not():
    rgb = with_lesion(skin())
    y, x = np.mgrid[:450, :600]
    corners = np.hypot(y - 225, x - 300) > 290
    rgb[corners] = 8
    found = find_artefacts(rgb)
    assert overlap(found.vignette, corners) > 0.95
    assert (found.vignette & ~corners).mean() < 0.01
    assert found.hair.mean() < 0.002


def test_a_dark_lesion_that_leaves_the_frame_is_no_vignette():
    rgb = with_lesion(skin(), centre=(520, 380), axes=(260, 200), colour=(35, 25, 22))
    assert find_artefacts(rgb).vignette.mean() < 0.01


def test_violet_ink_is_found_and_a_blue_grey_veil_is_not():
    rgb, drawn = skin(), np.zeros((450, 600), np.uint8)
    for canvas, colour in ((rgb, (100, 80, 170)), (drawn, 1)):
        cv2.ellipse(canvas, (300, 225), (200, 150), 0, 20, 160, colour, 6)
    assert overlap(find_artefacts(rgb).ink_or_ruler, drawn > 0) > 0.6
    veil = with_lesion(with_lesion(skin()), axes=(50, 40), colour=(90, 95, 120))
    assert find_artefacts(veil).ink_or_ruler.mean() < 0.001


@pytest.mark.parametrize("angle", [0, 17, -30])
def test_a_ruler_is_found_at_any_angle_and_a_plain_line_is_none(angle):
    rgb, line_only = skin(), skin()
    turn = cv2.getRotationMatrix2D((300, 330), angle, 1.0)

    def draw(canvas, start, end):
        a, b = (turn @ np.array([*point, 1.0]) for point in (start, end))
        cv2.line(canvas, tuple(int(v) for v in a), tuple(int(v) for v in b), (70, 60, 60), 2)

    for canvas in (rgb, line_only):
        draw(canvas, (150, 330), (450, 330))
    for index, x in enumerate(range(150, 451, 10)):
        draw(rgb, (x, 330), (x, 330 - (18 if index % 5 == 0 else 11)))
    assert find_artefacts(rgb).ink_or_ruler.sum() > 800
    assert find_artefacts(line_only).ink_or_ruler.sum() == 0


def test_glare_spots_are_found():
    rgb, drawn = with_lesion(skin()), np.zeros((450, 600), np.uint8)
    for centre in ((200, 120), (330, 240), (480, 350)):
        cv2.circle(rgb, centre, 4, (252, 252, 250), -1)
        cv2.circle(drawn, centre, 4, 1, -1)
    found = find_artefacts(rgb)
    assert overlap(found.glare, drawn > 0) > 0.7
    assert found.glare.mean() < 0.002


@pytest.mark.parametrize("shape", [(8, 8), (1, 400), (64, 2000)])
def test_odd_shapes_are_survived(shape):
    found = find_artefacts(skin(*shape))
    assert found.any.shape == shape


def test_all_black_and_all_white_images_are_survived():
    assert find_artefacts(np.zeros((100, 120, 3), np.uint8)).any.shape == (100, 120)
    assert find_artefacts(np.full((100, 120, 3), 255, np.uint8)).glare.all()


def test_a_large_image_gives_nearly_the_shares_of_a_small_one():
    small = with_lesion(skin())
    cv2.line(small, (30, 20), (420, 200), (50, 35, 30), 3, cv2.LINE_AA)
    large = cv2.resize(small, (1500, 1125), interpolation=cv2.INTER_CUBIC)
    assert find_artefacts(large).hair.mean() == pytest.approx(find_artefacts(small).hair.mean(), rel=0.4)
