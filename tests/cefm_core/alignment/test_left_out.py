"""Nothing of a source may reach the models that score it."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.alignment.left_out import REASONS, leave_one_source_out, without
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig
from cefm_core.tables.predictions import LEFT_OUT_REASONS

QUICK = AlignmentConfig(seeds=(1,), epochs=3, classifier_epochs=3)


@pytest.fixture(scope="module")
def sources(world):
    """Sources a, b by lesion, c of val images only; one lesion of a has a second image in b."""
    name = np.array(["a" if i // 2 % 2 else "b" for i in range(len(world.image_ids))], dtype=object)
    name[(np.array(world.split) == "val") & (np.arange(len(name)) % 3 == 0)] = "c"
    name[0], name[1] = "a", "b"
    split = list(world.split)
    split[0] = split[1] = "train"
    group = [f"c{i}" if name[i] == "c" else g for i, g in enumerate(world.group_id)]
    return dataclasses.replace(world, source=name.tolist(), split=split, group_id=group)


@pytest.fixture(scope="module")
def trained(sources):
    return train_alignment(sources, QUICK)


@pytest.fixture(scope="module")
def left_out(sources, trained):
    return leave_one_source_out(sources, trained)


def test_every_image_of_a_source_gets_a_probability_by_the_others(sources, left_out):
    assert np.isfinite(left_out.probability).all() and set(left_out.reason) == {None}
    train = np.array(sources.split) == "train"
    others = sum(train & (np.array(sources.source) != "a"))
    assert left_out.trained_on["a"] == others - 1, "the image of b that shows a lesion of a must not be trained on"
    assert roc_auc_score(sources.target, left_out.probability) > 0.85


def test_labels_and_measurements_of_a_source_do_not_touch_its_own_score(sources, trained, left_out):
    inside = np.array(sources.source) == "a"
    target = [1 - t if gone else t for t, gone in zip(sources.target, inside, strict=True)]
    again = leave_one_source_out(dataclasses.replace(sources, target=target), trained)
    np.testing.assert_array_equal(again.probability[inside], left_out.probability[inside])
    assert np.abs(again.probability[~inside] - left_out.probability[~inside])[np.array(sources.source)[~inside] == "b"].max() > 0.05


def test_a_source_that_training_never_saw_is_scored_by_the_checkpoint_itself(sources, trained, left_out):
    inside = np.array(sources.source) == "c"
    own = np.array([row["p_melanoma"] for row in predict(trained, sources)])
    np.testing.assert_allclose(left_out.probability[inside], own[inside], rtol=1e-6)


def test_groups_that_cross_sources_leave_training_with_the_source(sources):
    data = without(sources, np.flatnonzero(np.array(sources.source) == "a"))
    assert data.split[0] is None and data.split[1] is None
    assert [s for s, name in zip(data.split, sources.source, strict=True) if name == "a" and s in ("train", "tune")] == []


def test_what_cannot_be_scored_says_why(sources, trained):
    alone = leave_one_source_out(dataclasses.replace(sources, source=["a"] * len(sources.source)), trained)
    assert set(alone.reason) == {"single_source"} and np.isnan(alone.probability).all()
    unnamed = leave_one_source_out(dataclasses.replace(sources, source=[None] * len(sources.source)), trained)
    assert set(unnamed.reason) == {"no_source"}
    assert unnamed.columns(0) == {"p_left_out": None, "left_out_reason": "no_source"}
    single = dataclasses.replace(sources, target=[0 if s == "b" else t for s, t in zip(sources.source, sources.target, strict=True)])
    reasons = np.array(leave_one_source_out(single, trained).reason)
    assert set(reasons[np.array(sources.source) == "a"]) == {"no_classifier"}


def test_the_table_knows_every_reason():
    assert set(REASONS) == set(LEFT_OUT_REASONS)
