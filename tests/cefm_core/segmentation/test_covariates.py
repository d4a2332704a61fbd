"""What a failure analysis cuts its scores by."""

import numpy as np
import pytest

from cefm_core.phantoms.render import render_phantom
from cefm_core.segmentation.covariates import covariates, size_stratum, skin_tone, stratum_order, thirds


def test_phantom_is_described():
    phantom = render_phantom(5)
    found = covariates(phantom.rgb, phantom.mask)
    assert 20 < found["lightness"] < 95
    assert found["contrast"] > 5
    assert 0 <= found["irregularity"] < 0.3
    assert found["size"] == size_stratum(float(phantom.mask.mean()))
    assert found["skin_tone"] != "unknown"


def test_notch_makes_an_outline_irregular():
    rgb = np.full((200, 200, 3), 180, np.uint8)
    square = np.zeros((200, 200), bool)
    square[50:150, 50:150] = True
    notched = square.copy()
    notched[50:150, 80:120] = False
    assert covariates(rgb, square)["irregularity"] == pytest.approx(0, abs=0.03)
    assert covariates(rgb, notched)["irregularity"] == pytest.approx(0.4, abs=0.03)


def test_lesion_that_fills_the_frame_leaves_skin_unknown():
    found = covariates(np.full((90, 120, 3), 140, np.uint8), np.ones((90, 120), bool))
    assert found["skin_tone"] == "unknown"
    assert found["contrast"] is None
    assert found["frame"] == "cut by the frame"


def test_empty_reference_has_no_irregularity():
    assert covariates(np.full((90, 120, 3), 140, np.uint8), np.zeros((90, 120), bool))["irregularity"] is None


@pytest.mark.parametrize(("lab", "name"), [((75, 5, 12), "very light"), ((60, 8, 20), "tan"), ((30, 8, 10), "dark")])
def test_skin_tone_classes(lab, name):
    assert skin_tone(np.array(lab, float)) == name


def test_thirds_keep_equal_values_together():
    names = thirds([0.0, 0.0, 0.0, 0.0, None, 1.0, 2.0])
    assert names[4] == "unknown"
    assert len(set(names[:4])) == 1
    assert names[0] != names[-1]


def test_strata_stand_in_their_natural_order():
    names = [
        "high (over 3)",
        "low (to 1)",
        "over 35 %",
        "tan",
        "light",
        "below 5 % of the image",
        "unknown",
        "middle (1 to 3)",
        "some source",
    ]
    found = sorted(names, key=stratum_order)
    assert found == [
        "some source", "below 5 % of the image", "over 35 %", "light", "tan", "low (to 1)", "middle (1 to 3)", "high (over 3)", "unknown",
    ]  # fmt: skip
