"""Rows of one image as the stages write them, and the ledger made from them."""

import pytest

from cefm_core.reports.facts import collect_facts

SHARES = {"white": 0.0, "red": 0.051, "light_brown": 0.623, "dark_brown": 0.246, "blue_gray": 0.01, "black": 0.0}


@pytest.fixture
def rows() -> dict:
    abc = {
        "reason": None,
        "flags": ["cut_by_frame"],
        "asymmetry_score": 1.62,
        "asymmetry_low": 1.2,
        "asymmetry_high": 1.9,
        "asymmetry_level": 5,
        "border_score": 4.3,
        "border_low": 3.1,
        "border_high": 5.2,
        "border_level": 3,
        "colour_count": 3,
        "colour_low": 3.0,
        "colour_high": 4.0,
        "colour_level": 3,
        "structure_count": None,
        "structure_reason": "structure_not_measured",
        "tds": None,
        "tds_reason": "structure_not_measured",
        "tds_without_structures": 4.036,
        "a_grey": 14.83,
        "b2_mean_curvature": 0.0421,
        "hue_std": 23.1,
        "saturation_std": 35.4,
        "value_std": 23.3,
    }
    for name, share in SHARES.items():
        abc |= {f"colour_{name}_share": share, f"colour_{name}": share > 0.02}
    return {
        "abc": abc,
        "prediction": {
            "split": "val",
            "p_melanoma": 0.234,
            "p_low": 0.151,
            "p_high": 0.332,
            "p_image": 0.25,
            "p_clinical": 0.31,
            "abstain": False,
            "abstain_reasons": [],
        },
        "descriptors": {
            "phrases": ["symmetric shape", "dark brown areas", "blue-gray areas"],
            "scores": [0.03, 0.02, 0.01],
            "reason": None,
        },
        "quality": {"hair_share": 0.031, "vignette_share": 0.0, "glare_share": 0.004, "ink_share": 0.0, "flags": ["hair"]},
        "refined": {
            "refiner": "sam2",
            "decision": "accepted",
            "decision_reason": "better_evidence",
            "agreement_dice": 0.943,
            "area_share": 0.231,
        },
        "coarse": {"touches_border": True},
        "manifest": {"site": "posterior torso", "sex": "female", "age_years": 55.0, "patient_id": "P-77", "diagnosis": "melanoma"},
    }


@pytest.fixture
def facts(rows):
    return collect_facts("ISIC_0000001", **rows)
