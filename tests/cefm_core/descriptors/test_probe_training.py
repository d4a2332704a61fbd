"""Probes are learned with lesions apart, calibrated, and used only where they say something."""

import numpy as np
import pytest

from cefm_core.descriptors.probe_training import FINDINGS, FLOOR, ISIC, MEASURED, PH2, Finding, Sample, learn


def sample(signal: float, count: int = 240) -> Sample:
    """Lesions of two images each; the label shifts the first of twelve features, and the measurement of asymmetry, by ``signal``."""
    rng = np.random.default_rng(5)
    present = np.repeat(rng.random(count // 2) < 0.4, 2)
    records = [
        {"id": str(i), "lesion_id": f"lesion {i // 2}", "dup_group": "", ISIC: "", PH2: "A", "ph2_asymmetry": "2.0" if here else "0.0"}
        for i, here in enumerate(present)
    ]
    vectors = rng.normal(size=(count, 12)).astype(np.float32)
    vectors[:, 0] += signal * present
    measured = np.full((count, len(MEASURED)), np.nan)
    measured[:, MEASURED.index("asymmetry_score")] = signal * present + rng.normal(size=count)
    return Sample(records, vectors, rng.normal(size=(count, 5)), measured)


PLAIN = Finding("asymmetric shape", PH2, "ph2_asymmetry", ("1.0", "2.0"))


def test_a_probe_with_a_signal_is_used_and_its_log_odds_are_calibrated():
    data = sample(3.0)
    probe, weights, intercept, line = learn(data, PLAIN)
    assert probe.used and probe.low >= FLOOR and probe.n == 240 and "yes" in line
    log_odds = data.vectors @ weights + intercept
    truth = np.array([record["ph2_asymmetry"] == "2.0" for record in data.records])
    assert abs((1 / (1 + np.exp(-log_odds))).mean() - truth.mean()) < 0.05
    assert abs((log_odds >= probe.cut).mean() - truth.mean()) < 0.06


def test_a_probe_without_a_signal_is_below_the_floor_on_held_out_lesions():
    probe, *_, line = learn(sample(0.0), PLAIN)
    assert (probe.used, probe.why) == (False, "below_floor") and "below floor" in line


def test_a_probe_that_is_not_beyond_the_measurement_is_left_out():
    probe, *_ = learn(sample(2.0), next(finding for finding in FINDINGS if finding.measured == "asymmetry_score"))
    assert (probe.used, probe.why) == (False, "not_beyond_measurement") and probe.measured_auc == pytest.approx(0.9, abs=0.06)
