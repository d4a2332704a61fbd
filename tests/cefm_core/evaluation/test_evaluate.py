"""A whole evaluation: right numbers, the same bytes twice, and a row with a reason for whatever cannot be computed."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.rows import REASONS, find_row
from cefm_core.tables.metrics import TABLE


def check_rows(rows):
    """The rows fit their table, no key stands twice, and null and reason go together."""
    table = TABLE.to_arrow(rows)
    keys = [tuple(row[k] for k in TABLE.primary_key) for row in rows]
    assert len(keys) == len(set(keys)) == table.num_rows
    for row in rows:
        assert (row["value"] is not None) or row["reason"] in REASONS, row
        assert (row["low"] is None) == (row["high"] is None), row
        assert row["low"] is not None or row["reason"] in REASONS, row
        if row["low"] is not None:
            assert row["low"] <= row["high"], row


@pytest.fixture(scope="module")
def clean(run, config):
    tables = run()
    return tables, evaluate(**tables, config=config, facts={"name": "test", "command": "cefm run", "weights": {"coarse": "ab12"}})


def test_rows_fit_their_contract(clean):
    check_rows(clean[1].metric_rows)


def test_auc_is_that_of_the_split_alone(clean):
    tables, result = clean
    joined = tables["manifest"].merge(tables["predictions"], on="image_id")
    for split in ("val", "test"):
        rows = joined[joined["split"] == split]
        row = find_row(result.metric_rows, "combined", split, "roc_auc")
        assert row["value"] == pytest.approx(roc_auc_score(rows["target"].astype(int), rows["p_melanoma"]))
        assert row["low"] < row["value"] < row["high"]
        assert (row["n"], row["n_positive"], row["role"]) == (len(rows), int(rows["target"].sum()), "held_out")


def test_train_and_tune_are_only_fitted_on(clean):
    rows = clean[1].metric_rows
    assert {r["role"] for r in rows if r["split"] in ("train", "tune") and "mask" not in r["model"]} == {"fitted_on"}
    assert {r["role"] for r in rows if r["split"] in ("val", "test")} == {"held_out"}
    assert not any("train" in line.split(":")[0] for line in clean[1].headline)


def test_tuned_threshold_comes_from_tune_and_serves_val(clean):
    tables, result = clean
    joined = tables["manifest"].merge(tables["predictions"], on="image_id")
    threshold = find_row(result.metric_rows, "combined", "val", "threshold_tuned95")["value"]
    tune = joined[(joined["split"] == "tune") & (joined["target"] == 1)]["p_melanoma"]
    assert (tune >= threshold).mean() >= 0.95
    assert (tune > threshold).mean() < 0.95
    val = joined[(joined["split"] == "val") & (joined["target"] == 1)]["p_melanoma"]
    assert find_row(result.metric_rows, "combined", "val", "sensitivity_tuned95")["value"] == pytest.approx((val >= threshold).mean())


def test_strata_partition_the_split_and_small_ones_say_so(clean):
    rows = [r for r in clean[1].metric_rows if r["split"] == "val" and r["metric"] == "roc_auc" and r["model"] == "combined"]
    whole = next(r["n"] for r in rows if r["stratum"] == "all")
    for family in ("source", "age", "sex", "skin_tone", "lesion_size", "cut_by_frame"):
        assert sum(r["n"] for r in rows if r["stratum"].startswith(f"{family}=")) == whole, family
    assert {r["stratum"] for r in rows} >= {"age=unknown", "sex=female", "quality_flag=hair", "quality_flag=none"}
    for row in rows:
        few = min(row["n_positive"], row["n"] - row["n_positive"]) < 20
        assert few == (row["reason"] == "too_few"), row


def test_gap_is_the_difference_to_all_others(clean):
    tables, result = clean
    joined = tables["manifest"].merge(tables["predictions"], on="image_id")
    val = joined[joined["split"] == "val"]
    inside = val["source"] == "HAM"
    aucs = [roc_auc_score(part["target"].astype(int), part["p_melanoma"]) for part in (val[inside], val[~inside])]
    row = find_row(result.metric_rows, "combined", "val", "roc_auc_gap", "source=HAM")
    assert row["value"] == pytest.approx(aucs[0] - aucs[1])
    assert row["low"] < row["value"] < row["high"]


def test_every_calibration_error_stands_beside_what_chance_alone_shows(clean):
    rows = [row for row in clean[1].metric_rows if row["role"] == "held_out"]
    errors = [row for row in rows if row["metric"] == "ece"]
    assert {row["stratum"] for row in errors} > {"all"} and len(errors) == len([r for r in rows if r["metric"] == "ece_by_chance"])
    for row in errors:
        chance = find_row(rows, row["model"], row["split"], "ece_by_chance", row["stratum"])
        assert (chance["value"] is None) == (row["value"] is None) and chance["n"] == row["n"]
        assert row["value"] is None or chance["low"] < chance["value"] < chance["high"]
    assert "probabilities that keep their word would show" in " ".join(clean[1].headline)


def test_models_are_compared(clean):
    rows = clean[1].metric_rows
    difference = find_row(rows, "combined_minus_clinical", "val", "roc_auc_difference")
    aucs = [find_row(rows, m, "val", "roc_auc")["value"] for m in ("combined", "clinical")]
    assert difference["value"] == pytest.approx(aucs[0] - aucs[1])
    assert difference["low"] > 0
    assert find_row(rows, "combined_minus_clinical", "val", "delong_p")["value"] < 0.05


def test_masks_are_averaged_per_image_by_split_and_source(clean):
    tables, result = clean
    joined = tables["manifest"].merge(tables["coarse_masks"], on="image_id")
    val = joined[(joined["split"] == "val") & joined["reference_dice"].notna()]
    row = find_row(result.metric_rows, "coarse_mask", "val", "mean_dice")
    assert (row["value"], row["n"]) == (pytest.approx(val["reference_dice"].mean()), len(val))
    assert row["low"] < row["value"] < row["high"]
    ph2 = find_row(result.metric_rows, "coarse_mask", "val", "mean_dice", "source=PH2")
    assert ph2["value"] == pytest.approx(val[val["source"] == "PH2"]["reference_dice"].mean())
    gain = find_row(result.metric_rows, "refined_mask_minus_coarse_mask", "val", "mean_dice_difference")
    assert gain["value"] == pytest.approx((val["reference_dice"] ** 0.9 - val["reference_dice"]).mean())


def test_figures_are_pngs_and_all_there(clean):
    figures = clean[1].figures
    assert set(figures) == {
        "cosines.png",
        "dice_by_source.png",
        "features_by_class.png",
        "reliability.png",
        "risk_coverage.png",
        "roc.png",
        "shortcuts.png",
        "strata.png",
    }
    assert all(data.startswith(b"\x89PNG") for data in figures.values())
    assert not any(word in data for data in figures.values() for word in (b"Matplotlib", b"Creation", b"tIME"))


def test_shuffled_rows_and_a_second_run_give_the_same_bytes(clean, run, config):
    tables = run()
    shuffled = {k: v.sample(frac=1, random_state=5) if isinstance(v, pd.DataFrame) else v for k, v in tables.items()}
    again = evaluate(**shuffled, config=config, facts={"weights": {"coarse": "ab12"}, "command": "cefm run", "name": "test"})
    assert again == clean[1]


def test_model_card_states_what_the_run_knows(clean):
    card = clean[1].model_card
    for heading in (
        "## Data",
        "## Technique",
        "## Technical assessment",
        "## Application",
        "### Shortcuts",
        "### Bias: strata",
        "### Licences",
    ):
        assert heading in card
    assert "Not a medical device" in card
    assert "weights.coarse | ab12" in card
    assert "cefm run" in card
    auc = find_row(clean[1].metric_rows, "combined", "val", "roc_auc")
    assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in card


def test_a_group_on_both_sides_of_the_split_is_a_leak(run, config):
    tables = run(300)
    assert not any("LEAK" in line for line in evaluate(**tables, config=config, draw=False).headline)
    tables["manifest"]["group_id"] = "g" + (np.arange(300) // 2).astype(str).astype(object)
    result = evaluate(**tables, config=config, draw=False)
    assert result.headline[0].startswith("LEAK on val: ")
    assert find_row(result.metric_rows, "combined", "val", "groups_shared_with_fitted")["value"] > 0


def one_class(tables):
    tables["manifest"]["target"] = 0


def no_labels(tables):
    tables["manifest"]["target"] = None


def no_held_out(tables):
    tables["manifest"]["split"] = "train"


def no_split(tables):
    tables["manifest"]["split"] = None


def no_predictions(tables):
    tables["predictions"] = tables["predictions"].iloc[:0]


def empty_predictions(tables):
    tables["predictions"] = pd.DataFrame()


def all_empty(tables):
    for name in list(tables):
        tables[name] = {} if name == "diagnostics" else pd.DataFrame()


def null_scores(tables):
    tables["predictions"]["p_melanoma"] = None


def no_tune(tables):
    tables["manifest"].loc[tables["manifest"]["split"] == "tune", "split"] = "train"


def five_images(tables):
    for name, table in tables.items():
        if isinstance(table, pd.DataFrame):
            tables[name] = table.head(5).copy()
    tables["manifest"]["split"] = ["train", "tune", "val", "val", "val"]
    tables["manifest"]["target"] = [0, 1, 1, 0, 0]


def one_image(tables):
    five_images(tables)
    tables["manifest"]["split"] = ["train", "train", "tune", "tune", "val"]


def constant_scores(tables):
    tables["predictions"]["p_melanoma"] = 0.25


def nothing_but_scores(tables):
    for name in ("abc_features", "image_quality", "refined_masks", "coarse_masks"):
        tables[name] = pd.DataFrame()
    tables["manifest"] = tables["manifest"][["image_id", "target", "split"]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_class, "single_class"),
        (no_labels, "no_labels"),
        (no_held_out, "no_rows"),
        (no_split, "no_rows"),
        (no_predictions, "no_rows"),
        (empty_predictions, "no_rows"),
        (all_empty, "no_rows"),
        (null_scores, None),
        (no_tune, None),
        (five_images, None),
        (one_image, "single_class"),
        (constant_scores, None),
        (nothing_but_scores, None),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_poor_input_gives_rows_with_reasons(run, config, change, reason):
    tables = run(240)
    change(tables)
    result = evaluate(**tables, config=config)
    check_rows(result.metric_rows)
    assert result.headline
    assert "Research software" in result.model_card
    row = next(r for r in result.metric_rows if r["metric"] == "roc_auc")
    if reason:
        assert row["reason"] == reason
        assert row["value"] is None
        assert "roc.png" not in result.figures
    else:
        assert row["value"] is not None


def test_no_interval_is_claimed_for_five_images(run, config):
    tables = run(240)
    five_images(tables)
    rows = evaluate(**tables, config=config, draw=False).metric_rows
    # What chance alone shows on five images is known, and wide.
    assert all(r["low"] is None for r in rows if r["split"] == "val" and r["metric"] != "ece_by_chance")
    assert find_row(rows, "combined", "val", "roc_auc")["reason"] == "too_few"


def test_without_tune_the_operating_point_is_absent(run, config):
    tables = run(240)
    no_tune(tables)
    row = find_row(evaluate(**tables, config=config, draw=False).metric_rows, "combined", "val", "sensitivity_tuned95")
    assert (row["value"], row["reason"]) == (None, "no_tune_threshold")


def test_images_left_out_are_counted(run, config):
    tables = run(240)
    val = tables["manifest"].index[tables["manifest"]["split"] == "val"]
    tables["manifest"].loc[val[:7], "target"] = None
    tables["predictions"].loc[val[7:10], "p_melanoma"] = None
    result = evaluate(**tables, config=config, draw=False)
    assert "Left out of the scores on val: 7 without a label, 3 without a score." in result.headline
    assert find_row(result.metric_rows, "combined", "val", "roc_auc")["n"] == len(val) - 10


def test_a_model_that_skips_images_is_scored_on_its_own(run, config):
    tables = run(400)
    val = tables["manifest"].index[tables["manifest"]["split"] == "val"]
    tables["predictions"].loc[val[:9], "p_clinical"] = None
    rows = evaluate(**tables, config=config, draw=False).metric_rows
    assert find_row(rows, "combined", "val", "roc_auc")["n"] == len(val)
    assert find_row(rows, "clinical", "val", "roc_auc")["n"] == len(val) - 9
    joined = tables["manifest"].merge(tables["predictions"], on="image_id").loc[val[9:]]
    aucs = [roc_auc_score(joined["target"].astype(int), joined[c].astype(float)) for c in ("p_melanoma", "p_clinical")]
    assert find_row(rows, "combined_minus_clinical", "val", "roc_auc_difference")["value"] == pytest.approx(aucs[0] - aucs[1])
