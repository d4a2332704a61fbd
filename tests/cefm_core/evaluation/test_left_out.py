import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.rows import find_row


@pytest.fixture(scope="module")
def tables(run):
    """A run with a left-out probability that is good on two sources, chance on a third, and a fourth source that is tiny."""
    made = run()
    joined = made["manifest"].merge(made["predictions"], on="image_id")
    random = np.random.default_rng(1)
    signal = np.where(joined["source"] == "PH2", 0.0, 2.0) * joined["target"].astype(int) + random.normal(size=len(joined))
    left_out = pd.DataFrame({"image_id": joined["image_id"], "p_left_out": 1 / (1 + np.exp(1 - signal))})
    made["predictions"] = made["predictions"].merge(left_out, on="image_id")
    made["manifest"].loc[:15, "source"] = "tiny"
    return made


@pytest.fixture(scope="module")
def found(tables, config):
    return evaluate(**tables, config=config)


def test_each_source_is_scored_on_all_its_labelled_images(tables, found):
    joined = tables["manifest"].merge(tables["predictions"], on="image_id")
    values = []
    for source in ("HAM", "ISIC", "PH2"):
        rows = joined[joined["source"] == source]
        row = find_row(found.metric_rows, "combined", "left_out", "roc_auc", f"source={source}")
        assert row["value"] == pytest.approx(roc_auc_score(rows["target"].astype(int), rows["p_left_out"]))
        assert (row["n"], row["role"]) == (len(rows), "held_out") and row["low"] < row["value"] < row["high"]
        values.append(row["value"])
    mean = find_row(found.metric_rows, "combined", "left_out", "mean_roc_auc")
    assert mean["value"] == pytest.approx(np.mean(values))
    assert mean["low"] < mean["value"] < mean["high"]


def test_a_small_source_says_so_and_enters_no_mean(found):
    row = find_row(found.metric_rows, "combined", "left_out", "roc_auc", "source=tiny")
    assert (row["value"], row["reason"]) == (None, "too_few")


def test_summary_card_and_figure_show_it(found):
    line = next(line for line in found.headline if line.startswith("Trained without a source"))
    assert "over 3 sources" in line and "on PH2" in line
    assert "### Sources left out of training" in found.model_card and "| PH2 |" in found.model_card
    assert found.figures["left_out.png"].startswith(b"\x89PNG")


def test_it_is_no_model_of_its_own_and_without_it_nothing_is_said(run, config, found):
    assert "left_out" not in {row["model"] for row in found.metric_rows}
    plain = evaluate(**run(300), config=config)
    assert not [row for row in plain.metric_rows if row["split"] == "left_out"]
    assert "left_out.png" not in plain.figures and "Not measured." in plain.model_card
