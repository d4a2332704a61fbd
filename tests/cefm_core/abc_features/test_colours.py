"""Colours, skin and structures of drawn lesions."""

import cv2
import numpy as np
import pytest

from cefm_core.abc_features import colour, structure
from cefm_core.abc_features.lesion import find_lesion
from cefm_core.abc_features.measure import measure_abc
from cefm_core.abc_features.view import make_view
from cefm_core.config import AbcConfig
from cefm_core.imaging.artefacts import Artefacts

SKIN = (228, 190, 165)
TONES = {
    "white": (250, 246, 242),
    "red": (190, 80, 105),
    "light_brown": (176, 122, 80),
    "dark_brown": (92, 52, 30),
    "blue_gray": (98, 104, 124),
    "black": (22, 18, 20),
}


def disc(radius=100, shape=(320, 420)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - shape[0] / 2, x - shape[1] / 2) < radius


def clear(mask):
    none = np.zeros(mask.shape, bool)
    return Artefacts(none, none, none, none)


def painted(names):
    """A disc cut into equal sectors of the named tones."""
    mask = disc()
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    sector = ((np.arctan2(y - 160, x - 210) + np.pi) / (2 * np.pi) * len(names)).astype(int).clip(0, len(names) - 1)
    image = np.full((*mask.shape, 3), SKIN, np.uint8)
    image[mask] = np.array([TONES[name] for name in names], np.uint8)[sector][mask]
    return cv2.GaussianBlur(image, (0, 0), 1), mask


@pytest.mark.parametrize("name", TONES)
def test_each_colour_of_the_rule_is_told_alone(name):
    image, mask = painted([name])
    row = measure_abc(image, mask, AbcConfig(), clear(mask))
    assert row[f"colour_{name}"]
    assert row[f"colour_{name}_share"] > 0.9


def test_two_tones_are_counted_with_their_shares():
    image, mask = painted(["light_brown", "black"])
    row = measure_abc(image, mask, AbcConfig(), clear(mask))
    assert row["colour_light_brown_share"] == pytest.approx(0.5, abs=0.05)
    assert row["colour_black_share"] == pytest.approx(0.5, abs=0.05)
    assert row["colour_light_brown"] and row["colour_black"]


def test_a_tone_no_lighter_than_the_skin_is_not_white():
    image, mask = painted(["white"])
    image[~disc(101)] = (255, 250, 246)
    assert not measure_abc(image, mask, AbcConfig(), clear(mask))["colour_white"]


def test_skin_angle_follows_its_definition():
    image, mask = painted(["dark_brown"])
    lab = cv2.cvtColor(np.array([[SKIN]], np.float32) / 255, cv2.COLOR_RGB2Lab)[0, 0]
    wanted = np.degrees(np.arctan((lab[0] - 50) / lab[2]))
    assert measure_abc(image, mask, AbcConfig(), clear(mask))["skin_ita_deg"] == pytest.approx(wanted, abs=1)


def test_hair_and_vignette_do_not_enter_colours():
    image, mask = painted(["light_brown"])
    plain = measure_abc(image, mask, AbcConfig(), clear(mask))
    hair, vignette = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    hair[:, 200:206] = True
    vignette[:60, :80] = True
    image[hair | vignette] = (5, 5, 5)
    none = np.zeros(mask.shape, bool)
    row = measure_abc(image, mask, AbcConfig(), Artefacts(hair, vignette, none, none))
    assert row["colour_black_share"] < 0.02
    assert row["skin_ita_deg"] == pytest.approx(plain["skin_ita_deg"], abs=1)
    assert row["asymmetry_score"] == pytest.approx(plain["asymmetry_score"], abs=0.05)


def test_artefacts_over_the_whole_lesion_are_not_believed():
    image, mask = painted(["blue_gray"])
    none = np.zeros(mask.shape, bool)
    row = measure_abc(image, mask, AbcConfig(), Artefacts(none, none, mask, none))
    assert "artefacts_over_lesion" in row["flags"]
    assert row["colour_blue_gray"]


def test_lesion_that_fills_the_frame_has_no_skin_to_compare_with():
    image, mask = painted(["dark_brown"])
    row = measure_abc(image[90:230, 140:280], np.ones((140, 140), bool), AbcConfig(), clear(np.ones((140, 140), bool)))
    assert row["colour_reason"] == row["skin_reason"] == "skin_not_visible"
    assert row["tds_reason"] in ("skin_not_visible", "cut_by_frame")


def test_variety_of_one_tone_is_nothing():
    lab = np.full((50, 3), 40.0)
    assert colour.measure_variety(lab)["colour_variety"] == 0
    lab[:25, 0] += 10
    assert colour.measure_variety(lab)["colour_variety"] == pytest.approx(5)


def textured(paint):
    mask = disc()
    image = np.full((*mask.shape, 3), SKIN, np.uint8)
    image[mask] = TONES["light_brown"]
    paint(image)
    lesion, _ = find_lesion(mask, AbcConfig())
    return make_view(image, lesion, None, AbcConfig())


def dots(image):
    for x in range(140, 290, 22):
        for y in range(90, 240, 22):
            cv2.circle(image, (x, y), 3, TONES["dark_brown"], -1)


def test_even_lesion_is_structureless_and_dotted_one_is_not():
    even, dotted = (structure.measure_structures(textured(paint)) for paint in (lambda image: None, dots))
    assert even["structure_structureless"] and even["structureless_share"] > 0.5
    assert dotted["structureless_share"] < 0.3
    assert dotted["structure_dots"] and not even["structure_dots"]
    assert dotted["structure_globules_score"] > even["structure_globules_score"]


def test_count_is_the_number_of_structures_present():
    row = structure.measure_structures(textured(dots))
    present = sum(row[f"structure_{n}"] for n in ("network", "streaks", "globules", "dots", "structureless"))
    assert row["structure_count"] == max(1, present)
