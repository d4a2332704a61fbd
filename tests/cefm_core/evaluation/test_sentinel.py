"""The sentinel fires on what can be had without the lesion, says so first, and is quiet on an honest set."""

import numpy as np
import pandas as pd
import pytest

from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.matching import matched_auc
from cefm_core.evaluation.rows import find_row
from cefm_core.evaluation.shortcuts import id_number, out_of_fold


@pytest.mark.parametrize("seed", range(6))
def test_quiet_on_a_clean_set(run, sentinel, config, seed):
    result = sentinel(run(seed=seed), config)
    assert not result.alarms
    assert sum(s.auc.value is not None for s in result.scores) == 6  # each was tried


def test_a_quiet_sentinel_says_so_after_the_score(run, config):
    lines = evaluate(**run(400), config=config, draw=False).headline
    assert lines[0].startswith("val: AUC ")
    assert "Shortcut sentinel on val: quiet." in lines


def test_fires_on_a_planted_source_in_the_first_line(run, config):
    result = evaluate(**run(planted=True), config=config, draw=False)
    assert result.headline[0].startswith("SHORTCUT ALARM on val: source of the image alone reaches AUC ")
    assert "same source" in result.headline[0]
    model = find_row(result.metric_rows, "combined", "val", "roc_auc")["value"]
    assert find_row(result.metric_rows, "shortcut:source", "val", "roc_auc")["value"] > model - 0.05
    assert find_row(result.metric_rows, "combined", "val", "roc_auc_source_matched")["value"] < model - 0.1
    assert result.model_card.index("SHORTCUT ALARM") < result.model_card.index("val: AUC")


def plant_id(tables, target, rng):
    low = rng.permutation(5000)[: len(target)]
    tables_ids = [f"ISIC_{i + (20000 if t else 900000):07d}" for i, t in zip(low, target, strict=True)]
    old = dict(zip(tables["manifest"]["image_id"], tables_ids, strict=True))
    for table in tables.values():
        if isinstance(table, pd.DataFrame):
            table["image_id"] = table["image_id"].map(old)


def plant_size(tables, target, rng):
    tables["manifest"]["width_px"] = np.where(target == 1, 1024, 600)


def plant_area(tables, target, rng):
    tables["refined_masks"]["area_share"] = np.clip(0.2 + 0.4 * target + rng.normal(0, 0.05, len(target)), 0, 1)


def plant_quality(tables, target, rng):
    tables["image_quality"]["hair_share"] = 0.01 + 0.2 * target + rng.uniform(0, 0.02, len(target))


@pytest.mark.parametrize(
    ("plant", "name"),
    [(plant_id, "id_range"), (plant_size, "image_size"), (plant_area, "lesion_area"), (plant_quality, "quality")],
)
def test_fires_on_every_kind_of_shortcut(run, sentinel, config, plant, name):
    tables = run()
    plant(tables, tables["manifest"]["target"].to_numpy(dtype=int), np.random.default_rng(3))
    result = sentinel(tables, config)
    score = next(s for s in result.scores if s.shortcut.name == name)
    assert score.auc.value > 0.95
    assert any(alarm.startswith(score.shortcut.label) for alarm in result.alarms)


def test_as_right_as_the_model_is_an_alarm_too(run, sentinel, config):
    """The paper's case: the model orders images better, yet the shortcut is as often right."""
    tables = run(1500)
    rng, target = np.random.default_rng(1), tables["manifest"]["target"].to_numpy(dtype=int)
    tables["manifest"]["source"] = np.where((target == 1) & (rng.random(1500) < 0.65), "HAM", "ISIC")
    tables["predictions"]["p_melanoma"] = 1 / (1 + np.exp(-(3 * target + rng.normal(0, 1.1, 1500) - 2.4)))
    tables["predictions"].loc[rng.random(1500) < 0.12, "p_melanoma"] = 0.51
    result = sentinel(tables, config)
    score = result.scores[0]
    assert score.auc.value < 0.86
    assert any(alarm.startswith("source of the image alone") for alarm in result.alarms)


def test_calling_everything_benign_is_no_shortcut(run, sentinel, config):
    tables = run(1500)
    tables["manifest"]["source"] = "one"
    tables["predictions"]["p_melanoma"] = tables["predictions"]["p_melanoma"].clip(0, 1) * 0.4 + 0.2
    assert not sentinel(tables, config).alarms


def test_strong_abc_is_a_note_and_no_alarm(run, sentinel, config):
    tables = run()
    target = tables["manifest"]["target"].to_numpy(dtype=int)
    tables["abc_features"]["tds"] = 4 + 2 * target + np.random.default_rng(0).normal(0, 0.5, len(target))
    result = sentinel(tables, config)
    assert not result.alarms
    assert any("A, B, C numbers alone reach" in note for note in result.notes)


@pytest.mark.parametrize("planted", [True, False])
def test_scored_out_of_fold_where_nothing_was_fitted(run, sentinel, config, planted):
    tables = run(500, planted=planted)
    tables["manifest"]["split"] = "external"
    result = sentinel(tables, config, "external")
    assert {s.fitted for s in result.scores} == {"out of fold"}
    assert result.fires == planted


def test_too_few_images_are_not_judged(run, sentinel, config):
    result = sentinel(run(60, planted=True), config)
    assert not result.alarms
    assert not result.judged
    assert any("not judged" in note for note in result.notes)


def test_out_of_fold_learns_nothing_from_noise_and_keeps_groups_together():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    target = np.repeat(rng.integers(0, 2, 60), 5)
    # A number that names the group: known label within a group, noise across groups.
    features = pd.DataFrame({"number": np.repeat(rng.permutation(60), 5) * 100.0})
    probability = out_of_fold(features, target, groups)
    assert abs(np.corrcoef(probability, target)[0, 1]) < 0.35
    assert out_of_fold(features, np.r_[1, np.zeros(299, dtype=int)], groups) is None


def test_matched_auc_counts_pairs_within_sources_only():
    target = np.array([1, 0, 1, 0, 0, 1])
    score = np.array([0.9, 0.1, 0.4, 0.6, 0.3, 0.2])
    source = np.array(["a", "a", "b", "b", "b", "c"], dtype=object)
    weights = np.ones((3, 6), dtype=np.uint16)
    weights[1] = [0, 1, 1, 2, 1, 1]
    result = matched_auc(target, score, source, weights)
    assert result.value == pytest.approx((1 + 0 + 1) / 3)
    np.testing.assert_allclose(result.samples, [2 / 3, 1 / 3, 2 / 3])
    assert result.covered_share == pytest.approx(2 / 3)
    assert matched_auc(target, score, target.astype(str).astype(object), weights).value is None


def test_id_number_takes_the_longest_run_of_digits():
    numbers = id_number(pd.Series(["ISIC_0024306", "ISIC_0000012_downsampled2", "a1b22", "none"]))
    assert numbers[:3].tolist() == [24306, 12, 22]
    assert np.isnan(numbers[3])
