"""measure_abc on drawn lesions whose answers are known."""

import cv2
import numpy as np
import pytest

from cefm_core.abc_features.intervals import edge_reach, perturbed_masks
from cefm_core.abc_features.lesion import find_lesion
from cefm_core.abc_features.measure import measure_abc, measure_paper_row
from cefm_core.abc_features.view import make_view
from cefm_core.config import AbcConfig
from cefm_core.tables.abc_features import TABLE

CONFIG = AbcConfig()
SKIN, BROWN, DARK = (226, 184, 160), (150, 100, 70), (80, 50, 40)


def draw(shape, contour_mask, colour=BROWN, blur=2.0):
    """Paint a lesion on skin with an edge blurred by ``blur`` pixels."""
    alpha = cv2.GaussianBlur(contour_mask.astype(np.float32), (0, 0), blur)[..., None]
    image = np.array(SKIN) * (1 - alpha) + np.array(colour) * alpha
    assert image.shape[:2] == shape
    return image.round().astype(np.uint8)


def ellipse(shape=(300, 400), axes=(90, 60), angle=0.0, centre=None):
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, centre or (shape[1] // 2, shape[0] // 2), axes, angle, 0, 360, 1, -1)
    return mask.astype(bool)


def half_dark(mask, image):
    """Darken the left half of the image's lesion."""
    result = image.copy()
    left = mask.copy()
    left[:, mask.shape[1] // 2 :] = False
    result[left] = DARK
    return result


def row_of(image, mask, config=CONFIG, **more):
    row = measure_abc(image, mask, config, **more)
    TABLE.to_arrow([row | {"image_id": "a", "image_sha256": "b", "row_key": "c"}])
    for column in TABLE.columns:
        value = row.get(column.name)
        if value is None and column.reason_column:
            assert row.get(column.reason_column), f"{column.name} is null without a reason"
        if value is not None and column.minimum is not None:
            assert value >= column.minimum, column.name
        if value is not None and column.maximum is not None:
            assert value <= column.maximum, column.name
    return row


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        ((0, 0), (0, 0), "empty_mask"),
        ((5, 6), (5, 6), "lesion_too_small"),
        ((5, 6), (5, 7), "lesion_too_small"),
        ((5, 6), (5, 20), "lesion_too_small"),
        ((2, 31), (5, 8), "lesion_too_small"),
    ],
)
def test_masks_that_cannot_be_measured_give_null_and_a_reason(rows, columns, reason):
    mask = np.zeros((32, 32), bool)
    mask[slice(*rows), slice(*columns)] = True
    row = row_of(np.full((32, 32, 3), 200, np.uint8), mask)
    assert row["reason"] == row["asymmetry_reason"] == row["tds_reason"] == reason
    assert all(row.get(c.name) is None for c in TABLE.columns if c.type in ("float", "int"))


def test_disc_is_symmetric_by_every_measure():
    mask = ellipse(axes=(80, 80))
    row = row_of(draw(mask.shape, mask), mask)
    assert row["asymmetry_score"] < 0.2
    assert row["asymmetry_shape"] < 0.02
    assert row["a_grey"] < 2
    assert row["border_compactness"] == pytest.approx(1, abs=0.03)
    assert row["border_curvature_energy"] == pytest.approx(1, abs=0.05)
    assert row["border_solidity"] > 0.99
    assert "principal_axis_undefined" in row["flags"]


def test_half_dark_ellipse_is_asymmetric_about_one_axis():
    mask = ellipse()
    plain = draw(mask.shape, mask)
    even, uneven = row_of(plain, mask), row_of(half_dark(mask, plain), mask)
    assert even["asymmetry_axes"] == 0
    assert uneven["asymmetry_axes"] == 1
    assert uneven["asymmetry_score"] > even["asymmetry_score"] + 0.5


def test_l_shape_is_more_asymmetric_than_the_ellipse():
    mask = np.zeros((300, 400), bool)
    mask[60:240, 120:170] = True
    mask[190:240, 120:330] = True
    assert row_of(draw(mask.shape, mask), mask)["asymmetry_shape"] > 0.2


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135])
def test_ellipse_stays_symmetric_at_any_angle(angle):
    mask = ellipse(shape=(400, 400), axes=(110, 55), angle=angle)
    row = row_of(draw(mask.shape, mask), mask)
    assert row["asymmetry_shape"] < 0.05
    assert row["a_grey"] < 6


TURNS = {"quarter": lambda a: np.rot90(a), "half": lambda a: np.rot90(a, 2), "mirror": lambda a: a[:, ::-1], "flip": lambda a: a[::-1]}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_turning_and_mirroring_the_image_changes_nothing(blob, turn):
    image, mask = blob
    first, second = row_of(image, mask), row_of(np.ascontiguousarray(turn(image)), np.ascontiguousarray(turn(mask)))
    assert second["asymmetry_score"] == pytest.approx(first["asymmetry_score"], abs=0.02)
    assert second["a_grey"] == pytest.approx(first["a_grey"], abs=0.2)
    assert second["b2_mean_curvature"] == pytest.approx(first["b2_mean_curvature"], rel=0.02)
    for name in ("border_score", "border_compactness", "border_curvature_energy", "colour_variety"):
        assert second[name] == pytest.approx(first[name], rel=0.03, abs=0.03), name
    assert second["colour_count"] == first["colour_count"]


@pytest.mark.parametrize("scale", [0.5, 2, 4])
def test_clinical_features_do_not_depend_on_resolution(blob, scale):
    image, mask = blob
    size = (int(mask.shape[1] * scale), int(mask.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, size, interpolation=method), cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5
    first, second = row_of(image, mask), row_of(*scaled)
    for name in (
        "asymmetry_shape",
        "asymmetry_colour",
        "border_compactness",
        "border_convexity",
        "border_solidity",
        "border_fractal_dimension",
        "colour_variety",
    ):
        assert second[name] == pytest.approx(first[name], rel=0.03), name
    assert second["asymmetry_score"] == pytest.approx(first["asymmetry_score"], abs=0.06)
    assert second["border_score"] == pytest.approx(first["border_score"], abs=0.24)


def test_hue_around_the_seam_is_circular():
    mask = ellipse(axes=(80, 80))
    hsv = np.zeros((*mask.shape, 3), np.float32)
    hsv[..., 0] = np.where(np.arange(mask.shape[1]) < mask.shape[1] // 2, 359, 1)
    hsv[..., 1], hsv[..., 2] = 0.6, 0.7
    row = row_of((cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8), mask)
    assert min(row["hue_mean_deg"], 360 - row["hue_mean_deg"]) < 0.5
    assert row["hue_circular_std_deg"] == pytest.approx(1, abs=0.3)


def test_balanced_hues_have_no_mean():
    mask = ellipse(axes=(90, 90))
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    hsv = np.zeros((*mask.shape, 3), np.float32)
    hsv[..., 0] = np.floor((np.arctan2(y - 150, x - 200) + np.pi) / (2 * np.pi / 3)).clip(0, 2) * 120
    hsv[..., 1], hsv[..., 2] = 0.6, 0.7
    row = row_of((cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8), mask)
    assert row["hue_mean_deg"] is None if "hue_mean_deg" in row else True
    assert row["hue_reason"] == "hue_undefined"


def test_greyscale_image_has_no_colours_but_a_shape():
    mask = ellipse()
    grey = np.repeat(draw(mask.shape, mask)[..., :1], 3, axis=2)
    row = row_of(grey, mask)
    assert row["colour_reason"] == row["hue_reason"] == row["paper_colour_reason"] == "greyscale_source"
    assert row["hue_std"] is None
    assert row["asymmetry_score"] is not None
    assert "greyscale_source" in row["flags"]


def test_two_equal_lesions_are_told_and_the_nearer_to_the_centre_is_measured():
    mask = ellipse(axes=(30, 30), centre=(90, 150)) | ellipse(axes=(30, 30), centre=(300, 150))
    row = row_of(draw(mask.shape, mask), mask)
    assert "multiple_lesions" in row["flags"]
    assert row["lesion_area_px"] == int(ellipse(axes=(30, 30), centre=(300, 150)).sum())


def test_a_speck_is_ignored_and_told():
    mask = ellipse()
    speck = mask.copy()
    speck[5:7, 5:7] = True
    image = draw(mask.shape, mask)
    assert "islands_ignored" in row_of(image, speck)["flags"]
    assert row_of(image, speck)["a_grey"] == row_of(image, mask)["a_grey"]


def test_lesion_cut_by_the_frame_says_so_and_its_cut_edge_does_not_count():
    whole = ellipse(shape=(300, 500), axes=(110, 90), centre=(250, 150))
    image = draw(whole.shape, whole)
    row = row_of(image[:, 200:], whole[:, 200:].copy())
    assert "cut_by_frame" in row["flags"]
    assert row["border_measured_share"] < 0.85
    assert row["border_score"] == pytest.approx(row_of(image, whole)["border_score"], abs=0.5)


def test_sharp_edge_scores_higher_than_soft_edge():
    mask = ellipse(axes=(80, 80))
    sharp, soft = (row_of(draw(mask.shape, mask, DARK, blur), mask) for blur in (1.0, 25.0))
    assert sharp["border_sectors_abrupt"] == 8
    assert soft["border_sectors_abrupt"] == 0


def test_half_sharp_edge_scores_about_four():
    mask = ellipse(axes=(80, 80))
    sharp, soft = draw(mask.shape, mask, DARK, 1.0), draw(mask.shape, mask, DARK, 25.0)
    sharp[:, 200:] = soft[:, 200:]
    assert row_of(sharp, mask)["border_score"] == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("confidence", [0.95, 0.9, 0.8])
def test_perturbed_masks_are_as_wrong_as_the_mask_is_expected_to_be(blob, confidence):
    rgb, mask = blob
    lesion, _ = find_lesion(mask, AbcConfig())
    view = make_view(rgb, lesion, None, AbcConfig())
    moved = [m >= 0.5 for m in perturbed_masks(view, 40, edge_reach(view, confidence))]
    dice = np.mean([2 * (m & view.inside).sum() / (m.sum() + view.inside.sum()) for m in moved])
    assert dice == pytest.approx(confidence, abs=0.25 * (1 - confidence) + 0.005)


def test_an_unsure_mask_widens_the_intervals(blob):
    config = AbcConfig(mask_samples=12)
    sure, unsure = (measure_abc(*blob, config, mask_confidence=c) for c in (0.99, 0.8))
    widths = [row["asymmetry_high"] - row["asymmetry_low"] for row in (sure, unsure)]
    assert widths[0] < widths[1]
    assert unsure["interval_edge_share"] == pytest.approx(0.2, abs=0.1)


def test_intervals_hold_the_value_and_repeat(blob):
    config = AbcConfig(mask_samples=6)
    first, second = row_of(*blob, config), row_of(*blob, config)
    assert first == second
    for value, stem in (("asymmetry_score", "asymmetry"), ("border_score", "border"), ("colour_count", "colour")):
        assert first[f"{stem}_low"] <= first[value] <= first[f"{stem}_high"]
    assert first["asymmetry_low"] < first["asymmetry_high"]


def test_paper_row_is_the_paper_part_of_the_whole_row(blob):
    whole = measure_abc(*blob, CONFIG)
    assert all(whole[name] == value for name, value in measure_paper_row(*blob, CONFIG).items())


def test_wrong_inputs_raise():
    with pytest.raises(ValueError, match="mask is"):
        measure_abc(np.zeros((10, 10, 3), np.uint8), np.zeros((9, 10), bool), CONFIG)
    with pytest.raises(ValueError, match="uint8"):
        measure_abc(np.zeros((10, 10, 3)), np.zeros((10, 10), bool), CONFIG)
