import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cefm_core.alignment.checkpoint import TrainedAlignment, checkpoint_bytes, checkpoint_from_bytes
from cefm_core.alignment.diagnostics import diagnose
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig
from cefm_core.errors import CefmError, ConfigurationError
from cefm_core.tables import predictions, training_log

QUICK = AlignmentConfig(seeds=(1, 2), epochs=6, classifier_epochs=4)
LINEAGE = {"image_sha256": "0" * 64, "row_key": "k"}


@pytest.fixture(scope="module")
def trained(world):
    return train_alignment(world, QUICK)


@pytest.fixture(scope="module")
def rows(world, trained):
    return predict(checkpoint_from_bytes(trained.to_bytes()), world)


def column(rows, name, split="val"):
    chosen = [row for row in rows if row["split"] == split]
    return np.array([row["target"] for row in chosen]), np.array([row[name] for row in chosen], float)


def test_what_the_world_hides_is_found_on_held_out_images(rows):
    for name in ("p_melanoma", "p_image", "p_clinical", "p_linear"):
        assert roc_auc_score(*column(rows, name)) > 0.85, name


def test_every_image_has_one_row_that_the_table_takes(world, rows):
    assert [row["image_id"] for row in rows] == list(world.image_ids)
    table = predictions.TABLE.to_arrow([row | LINEAGE for row in rows])
    assert table.num_rows == len(world.image_ids)
    assert all(row["p_low"] <= row["p_melanoma"] <= row["p_high"] for row in rows)
    assert any(row["p_low"] < row["p_high"] for row in rows)


def test_the_log_is_a_table_in_which_each_seed_keeps_its_best_epoch(trained):
    training_log.TABLE.to_arrow(trained.log_rows)
    keys = [(r["model"], r["seed"], r["phase"], r["epoch"]) for r in trained.log_rows]
    assert len(set(keys)) == len(keys)
    for model, phase in (("heads", "align"), ("image", "image_classifier"), ("clinical", "clinical_classifier")):
        for seed in QUICK.seeds:
            log = [r for r in trained.log_rows if (r["model"], r["phase"], r["seed"]) == (model, phase, seed)]
            kept = [r for r in log if r["kept"]]
            assert len(kept) == 1 and kept[0]["tune_loss"] == min(r["tune_loss"] for r in log)


def test_the_kept_heads_are_those_whose_loss_the_log_states(world, trained):
    from cefm_core.alignment.fit_heads import _tune_loss
    from cefm_core.alignment.models import load_models, prepare

    models = load_models(trained)
    tune = prepare(world, models.scales).pairs(world.rows_of("tune"))
    found = _tune_loss(models.network, tune, QUICK)
    expected = [r["tune_loss"] for r in trained.log_rows if r["model"] == "heads" and r["kept"]]
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=1e-5)


def test_same_data_and_settings_give_the_same_bytes_whatever_state_and_threads(world, trained):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(12345)
    again = train_alignment(world, QUICK)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert again.to_bytes() == trained.to_bytes()
    assert again.log_rows == trained.log_rows


def test_other_seeds_give_other_weights(world, trained):
    assert train_alignment(world, QUICK.model_copy(update={"seeds": (3, 4)})).to_bytes() != trained.to_bytes()


def test_held_out_images_have_no_say_in_training(world, trained):
    held_out = world.rows_of("val")
    embeddings, clinical, target = world.embeddings.copy(), world.clinical.copy(), list(world.target)
    embeddings[held_out] = 99.0
    clinical[held_out] = np.nan
    for row in held_out:
        target[row] = 1 - target[row]
    changed = dataclasses.replace(world, embeddings=embeddings, clinical=clinical, target=target)
    assert train_alignment(changed, QUICK).to_bytes() == trained.to_bytes()


def test_a_prediction_depends_on_its_own_image_alone(world, trained, rows):
    one = 17
    alone = dataclasses.replace(
        world,
        image_ids=[world.image_ids[one]],
        embeddings=world.embeddings[[one]],
        clinical=world.clinical[[one]],
        target=[None],
        split=[None],
        group_id=[None],
    )
    found = predict(trained, alone)[0]
    assert found["p_melanoma"] == pytest.approx(rows[one]["p_melanoma"], abs=1e-5)
    assert found["target"] is None


def test_without_measurements_the_image_has_to_do_and_the_row_says_so(world, trained):
    bare = dataclasses.replace(world, clinical=np.full_like(world.clinical, np.nan))
    found = predict(trained, bare)
    assert {row["reason"] for row in found} == {"no_clinical_features"}
    assert all(row["p_clinical"] is None and row["p_melanoma"] is not None for row in found)
    assert roc_auc_score(*column(found, "p_melanoma")) > 0.85


def test_far_away_embeddings_are_told_apart(world, trained, rows):
    strange = dataclasses.replace(world, embeddings=world.embeddings[:, ::-1].copy() * 4)
    assert np.mean(["out_of_distribution" in row["abstain_reasons"] for row in predict(trained, strange)]) > 0.9
    assert np.mean(["out_of_distribution" in row["abstain_reasons"] for row in rows if row["split"] == "val"]) < 0.15


def test_alignment_shows_on_held_out_pairs_and_not_before_training_or_on_shuffled_pairs(world, trained):
    found = diagnose(trained, world)
    assert found["split"] == "val" and found["pairs"] == int(world.measured()[world.rows_of("val")].sum())
    assert found["positive_cosines"].mean() > 0.5 > abs(found["negative_cosines"].mean()) + 0.2
    assert abs(found["positive_cosines_before"].mean()) < 0.3
    assert found["retrieval_image_to_clinical_r10"] > 3 * found["retrieval_chance_r10"]
    assert found["retrieval_shuffled_r10"] < 2 * found["retrieval_chance_r10"]
    assert found["retrieval_image_to_clinical_r1"] <= found["retrieval_image_to_clinical_r5"] <= found["retrieval_image_to_clinical_r10"]


def test_no_held_out_pairs_no_diagnostics(world, trained):
    assert diagnose(trained, dataclasses.replace(world, split=["train"] * len(world.image_ids))) == {}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([None], "no_classifier_single_class"), ([0], "no_classifier_single_class"), ([1, 0], "no_classifier_too_few_labels")],
)
def test_without_enough_labels_there_is_alignment_but_no_prediction(world, labels, reason):
    train = world.rows_of("train")
    target: list = [None] * len(world.image_ids)
    for row, label in zip(train, labels, strict=False):
        target[row] = label
    found = train_alignment(dataclasses.replace(world, target=target), QUICK)
    assert found.facts["classifier_reason"] == reason
    rows = predict(checkpoint_from_bytes(found.to_bytes()), world)
    predictions.TABLE.to_arrow([row | LINEAGE for row in rows])
    assert all(row["p_melanoma"] is None and row["reason"] == reason and row["abstain"] for row in rows)
    assert len(diagnose(found, world)["positive_cosines"]) > 0


def test_a_handful_of_images_without_tune_trains_and_the_log_says_what_is_missing(world_of):
    few = world_of(n=14)
    few = dataclasses.replace(few, split=["train"] * 14)
    found = train_alignment(few, QUICK)
    training_log.TABLE.to_arrow(found.log_rows)
    assert {r["reason"] for r in found.log_rows if r["phase"] == "align"} == {"no_tune_images"}
    assert {r["reason"] for r in found.log_rows if r["phase"] == "fusion"} == {"too_few_tune_labels"}
    assert all(r["epoch"] == QUICK.epochs for r in found.log_rows if r["phase"] == "align" and r["kept"])
    assert all(0 <= row["p_melanoma"] <= 1 for row in predict(found, few))


@pytest.mark.parametrize("change", ["no_train", "no_measurement", "one_lesion"])
def test_nothing_to_align_is_said_in_words(world, change):
    n = len(world.image_ids)
    changed = {
        "no_train": {"split": ["val"] * n},
        "no_measurement": {"clinical": np.full_like(world.clinical, np.nan)},
        "one_lesion": {"group_id": ["same"] * n},
    }[change]
    with pytest.raises(ConfigurationError, match="train_alignment"):
        train_alignment(dataclasses.replace(world, **changed), QUICK)


def test_a_diverging_loss_stops_training_and_names_the_images(world):
    with pytest.raises(CefmError, match="diverged.*image0"):
        train_alignment(world, QUICK.model_copy(update={"learning_rate": 1e38}))


@pytest.mark.parametrize(("small", "stops"), [(1, True), (25, False)])
def test_batches_of_one_group_are_skipped_counted_and_named(world, small, stops, caplog):
    groups: list = ["big"] * len(world.image_ids)
    for row in world.rows_of("train")[:small]:
        groups[row] = f"small{row}"
    changed, few = dataclasses.replace(world, group_id=groups), QUICK.model_copy(update={"training_batch": 8})
    if stops:
        with pytest.raises(CefmError, match="images of one group only"):
            train_alignment(changed, few)
        return
    log = [row for row in train_alignment(changed, few).log_rows if row["phase"] == "align"]
    assert "images of one group only" in caplog.text
    assert max(row["skipped_batches"] for row in log) > 0


def test_the_papers_profile_and_loss_run(world_of):
    world = world_of(profile="paper")
    found = train_alignment(world, QUICK.model_copy(update={"profile": "paper", "loss": "paper", "standardise": False}))
    assert found.facts["clinical_names"][0] == "a_grey"
    assert np.log(2) <= min(r["loss"] for r in found.log_rows if r["phase"] == "align")
    with pytest.raises(ConfigurationError, match="a_grey"):
        predict(found, world_of())


def test_embeddings_of_another_encoder_are_refused(world, trained):
    with pytest.raises(ConfigurationError, match="another|trained on embeddings"):
        predict(trained, dataclasses.replace(world, encoder_sha256="f" * 64))


def test_a_checkpoint_comes_back_as_it_was(trained):
    data = checkpoint_bytes(trained)
    back = checkpoint_from_bytes(data)
    assert back.facts == trained.facts
    assert all(np.array_equal(back.tensors[name], array) for name, array in trained.tensors.items())
    assert back.to_bytes() == data


@pytest.mark.parametrize("change", ["missing", "unexpected", "altered", "format", "not a file"])
def test_a_checkpoint_that_is_not_what_it_says_is_refused(trained, change):
    tensors, facts = dict(trained.tensors), dict(trained.facts)
    if change == "missing":
        del tensors["linear.bias"]
    elif change == "unexpected":
        tensors["extra"] = np.zeros(1)
    elif change == "altered":
        tensors["linear.bias"] = tensors["linear.bias"] + 1
    elif change == "format":
        facts["format"] = "cefm-alignment-0"
    data = b"no tensors" if change == "not a file" else checkpoint_bytes(TrainedAlignment(tensors, facts))
    with pytest.raises(ConfigurationError, match="checkpoint"):
        checkpoint_from_bytes(data)


def test_progress_is_told_of_every_epoch(world):
    told = []
    train_alignment(world, QUICK, told.append)
    assert {t["phase"] for t in told} == {"align", "image_classifier", "clinical_classifier"}
    assert all(np.isfinite(t["loss"]) for t in told)
