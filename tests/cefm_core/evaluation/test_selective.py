import numpy as np
import pandas as pd
import pytest

from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.rows import find_row
from cefm_core.evaluation.selective import confidence_of, risk_area, selective_risk


def test_risk_and_coverage_by_hand():
    confidence, wrong = np.array([0.9, 0.6, 0.8, 0.8]), np.array([0.0, 1.0, 1.0, 0.0])
    share, risk = selective_risk(np.ones((1, 4)), confidence, wrong)
    np.testing.assert_allclose(share, [[0.25, 0.75, 1.0]])
    np.testing.assert_allclose(risk, [[0.0, 1 / 3, 0.5]])
    assert risk_area(np.ones((1, 4)), confidence, wrong)[0] == pytest.approx(0.5 / 3 + 0.25 / 2)


def test_a_weight_is_a_repetition():
    random = np.random.default_rng(0)
    confidence, wrong, weights = random.random(50), (random.random(50) < 0.3).astype(float), random.integers(1, 4, 50)
    repeated = risk_area(np.ones((1, weights.sum())), np.repeat(confidence, weights), np.repeat(wrong, weights))
    assert risk_area(weights[None].astype(float), confidence, wrong)[0] == pytest.approx(repeated[0])


def test_a_sure_model_that_errs_where_it_is_sure_gains_nothing_by_declining():
    random = np.random.default_rng(0)
    probability, target = random.random(4000), random.integers(0, 2, 4000)
    wrong = ((probability >= 0.5) != (target == 1)).astype(float)
    assert risk_area(np.ones((1, 4000)), confidence_of(probability), wrong)[0] == pytest.approx(wrong.mean(), abs=0.03)


@pytest.fixture(scope="module")
def tables(run):
    made = run()
    joined = made["manifest"].merge(made["predictions"], on="image_id")
    p, target = joined["p_melanoma"], joined["target"].astype(int)
    held = [[*(["nevus"] if v < 0.8 else []), *(["melanoma"] if v > 0.2 else [])] for v in p]
    sets = pd.DataFrame({"image_id": joined["image_id"], "conformal_set": held, "target": target, "split": joined["split"]})
    made["predictions"] = made["predictions"].merge(sets[["image_id", "conformal_set"]], on="image_id")
    return made, sets


def test_coverage_and_single_sets_are_counted_on_the_held_out_rows(tables, config):
    made, sets = tables
    found = evaluate(**made, config=config)
    val = sets[sets["split"] == "val"]
    for label, name in ((0, "nevus"), (1, "melanoma")):
        expected = np.mean([name in held for held in val.loc[val["target"] == label, "conformal_set"]])
        row = find_row(found.metric_rows, "combined", "val", f"conformal_coverage_{name}")
        assert row["value"] == pytest.approx(expected) and row["low"] <= row["value"] <= row["high"]
        assert row["n"] == (val["target"] == label).sum()
    single = np.array([len(held) == 1 for held in val["conformal_set"]])
    assert find_row(found.metric_rows, "combined", "val", "conformal_single_share")["value"] == pytest.approx(single.mean())
    by_source = [
        r
        for r in found.metric_rows
        if r["metric"] == "conformal_coverage_nevus" and r["stratum"].startswith("source=") and r["split"] == "val"
    ]
    assert sum(r["n"] for r in by_source) == (val["target"] == 0).sum()
    assert found.figures["risk_coverage.png"].startswith(b"\x89PNG")
    assert "### Prediction sets and abstention" in found.model_card


def test_without_sets_nothing_is_said_of_them(run, config):
    rows = evaluate(**run(300), config=config, draw=False).metric_rows
    assert not [row for row in rows if row["metric"].startswith("conformal")]
    assert find_row(rows, "combined", "val", "risk_coverage_area")["value"] > 0


def test_shifts_of_the_clinical_score_are_drawn(run, config):
    made = run(300)
    random = np.random.default_rng(0)
    assert "clinical_shifts.png" not in evaluate(**made, config=config).figures
    made["predictions"] = made["predictions"].assign(
        **{f"shift_{name}": random.normal(size=300) for name in ("asymmetry", "border", "colour")}
    )
    assert evaluate(**made, config=config).figures["clinical_shifts.png"].startswith(b"\x89PNG")
