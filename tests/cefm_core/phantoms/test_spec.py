"""Specifications: reproducible, in range, and separable only in part."""

import numpy as np
from sklearn.metrics import roc_auc_score

from cefm_core.phantoms.palette import COLOURS
from cefm_core.phantoms.spec import STRUCTURES, sample_spec


def test_a_seed_gives_one_specification():
    assert sample_spec(4) == sample_spec(4)
    assert sample_spec(4) != sample_spec(5)


def test_the_diagnosis_can_be_asked_for():
    assert all(sample_spec(seed, True).melanoma for seed in range(10))
    assert not any(sample_spec(seed, False).melanoma for seed in range(10))
    drawn = np.mean([sample_spec(seed).melanoma for seed in range(400)])
    assert 0.28 < drawn < 0.42


def test_every_value_is_in_its_range():
    for seed in range(300):
        spec = sample_spec(seed)
        assert spec.asymmetric_axes in (0, 1, 2)
        assert 0 <= spec.irregularity <= 1
        assert 1 <= spec.elongation <= 1.6
        assert len(spec.abrupt_sectors) == 8
        assert 1 <= len(spec.colours) == len(set(spec.colours)) <= 5
        assert set(spec.colours) <= set(COLOURS)
        assert "brown" in spec.colours[0]
        assert 1 <= len(spec.structures) <= 5
        assert set(spec.structures) <= set(STRUCTURES)
        assert spec.vignette in ("none", "corners", "circle")


def test_melanomas_are_more_severe_with_overlap():
    specs = [sample_spec(seed) for seed in range(1500)]
    labels = [spec.melanoma for spec in specs]
    rules = {
        "asymmetry": [s.asymmetric_axes for s in specs],
        "border": [sum(s.abrupt_sectors) for s in specs],
        "colours": [len(s.colours) for s in specs],
        "irregularity": [s.irregularity for s in specs],
    }
    for name, values in rules.items():
        assert 0.65 < roc_auc_score(labels, values) < 0.93, name
    score = 1.3 * np.array(rules["asymmetry"]) + 0.1 * np.array(rules["border"]) + 0.5 * np.array(rules["colours"])
    assert 0.85 < roc_auc_score(labels, score) < 0.97
