"""The acceptance gate: each reason fires where it should and nowhere else."""

import cv2
import numpy as np
import pytest

from cefm_core.config import RefineConfig
from cefm_core.segmentation.gate import GateEvidence, border_contact, edge_contrast, failed_checks, gather_evidence

GOOD = GateEvidence(
    agreement_dice=0.95,
    area_ratio=1.05,
    components=1,
    border_contact_before=0.0,
    border_contact_after=0.0,
    edge_contrast_before=10.0,
    edge_contrast_after=16.0,
    predicted_iou=0.97,
)
CONFIG = RefineConfig(
    min_agreement=0.8,
    max_area_ratio=1.5,
    max_components=3,
    max_border_contact_gain=0.05,
    min_edge_contrast_gain=1.0,
    min_predicted_iou=0.9,
)


def _with(**changes: float | int | None) -> GateEvidence:
    return GateEvidence(**{**GOOD.__dict__, **changes})  # type: ignore[arg-type]


def test_good_evidence_is_accepted() -> None:
    assert failed_checks(GOOD, CONFIG) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"agreement_dice": 0.79}, "low_agreement"),
        ({"area_ratio": 1.51}, "area_ratio"),
        ({"area_ratio": 1 / 1.51}, "area_ratio"),
        ({"components": 4}, "components"),
        ({"border_contact_after": 0.06}, "border_contact"),
        ({"edge_contrast_after": 10.9}, "edge_contrast"),
        ({"edge_contrast_after": None}, "edge_contrast"),
        ({"predicted_iou": 0.89}, "predicted_iou"),
    ],
)
def test_each_check_fires_alone(changes: dict, code: str) -> None:
    assert failed_checks(_with(**changes), CONFIG) == [code]


def test_a_backend_without_an_estimate_is_not_judged_by_one() -> None:
    assert failed_checks(_with(predicted_iou=None), CONFIG) == []


def test_all_failures_are_named_the_gravest_first() -> None:
    assert failed_checks(_with(agreement_dice=0.1, area_ratio=9.0, predicted_iou=0.1), CONFIG) == [
        "low_agreement",
        "area_ratio",
        "predicted_iou",
    ]


def _lesion(radius: int = 60) -> tuple[np.ndarray, np.ndarray]:
    mask = cv2.circle(np.zeros((200, 300), np.uint8), (150, 100), radius, 1, -1) > 0
    rgb = np.full((200, 300, 3), (220, 180, 160), np.uint8)
    rgb[mask] = (90, 60, 50)
    return rgb, mask


def test_edge_contrast_is_greatest_on_the_edge() -> None:
    rgb, mask = _lesion()
    on = edge_contrast(rgb, mask, 5)
    off = [edge_contrast(rgb, _lesion(radius)[1], 5) for radius in (50, 70)]
    assert on is not None and all(value is not None and value < 0.2 * on for value in off)


def test_edge_contrast_is_the_lab_distance_of_two_flat_colours() -> None:
    rgb, mask = _lesion()
    lab = cv2.cvtColor(np.array([[[90, 60, 50], [220, 180, 160]]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert edge_contrast(rgb, mask, 5) == pytest.approx(float(np.linalg.norm(lab[0] - lab[1])), rel=1e-4)


def test_a_mask_that_fills_the_frame_has_no_contrast() -> None:
    assert edge_contrast(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), bool), 2) is None


def test_border_contact_counts_the_boundary_on_the_frame() -> None:
    whole = np.ones((10, 10), bool)
    inner = np.zeros((10, 10), bool)
    inner[3:6, 3:6] = True
    half = np.zeros((10, 10), bool)
    half[0:3, 3:6] = True  # 3 x 3 on the top edge: 8 boundary pixels, 3 of them on the edge
    assert (border_contact(whole), border_contact(inner), border_contact(half)) == (1.0, 0.0, pytest.approx(3 / 8))


def test_evidence_of_a_better_outline() -> None:
    rgb, truth = _lesion()
    coarse = _lesion(52)[1]
    evidence = gather_evidence(rgb, coarse, truth, components=1, predicted_iou=0.9)
    overlap = 2 * (coarse & truth).sum() / (coarse.sum() + truth.sum())
    assert evidence.agreement_dice == pytest.approx(overlap)
    assert evidence.area_ratio == pytest.approx(truth.sum() / coarse.sum())
    assert evidence.edge_contrast_after > 2 * evidence.edge_contrast_before


def test_evidence_does_not_depend_on_what_is_far_away() -> None:
    rgb, truth = _lesion()
    coarse = _lesion(52)[1]
    wide = np.pad(rgb, ((100, 100), (100, 100), (0, 0)), constant_values=200)
    here = gather_evidence(rgb, coarse, truth, components=1, predicted_iou=None)
    there = gather_evidence(wide, np.pad(coarse, 100), np.pad(truth, 100), components=1, predicted_iou=None)
    assert here == there
