import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.alignment.balance import LEAST_CELL, balance_weights
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig

SOURCE = ["a"] * 100 + ["b"] * 60
LABELS = np.array([0] * 70 + [1] * 30 + [0] * 40 + [1] * 20)


def test_labels_weigh_the_same():
    weights = balance_weights(LABELS, SOURCE, "label")
    assert weights[LABELS == 1].sum() == pytest.approx(weights[LABELS == 0].sum())
    assert weights.mean() == pytest.approx(1)


def test_every_source_and_label_weighs_the_same():
    weights = balance_weights(LABELS, SOURCE, "source")
    cells = [weights[(np.array(SOURCE) == s) & (y == LABELS)].sum() for s in "ab" for y in (0, 1)]
    assert cells == pytest.approx([40.0] * 4)


def test_a_handful_of_images_does_not_decide():
    labels, source = np.append(LABELS, 1), [*SOURCE, "c"]
    weights = balance_weights(labels, source, "source")
    assert weights[-1] == pytest.approx(weights[100] * 40 / LEAST_CELL)


def test_without_balance_all_weigh_one():
    assert set(balance_weights(LABELS, SOURCE, "none")) == {1.0}
    assert len(balance_weights(np.array([], int), [], "source")) == 0


def test_where_the_source_tells_the_label_balance_serves_a_world_in_which_it_does_not(world_of):
    world = world_of(1200)
    random = np.random.default_rng(0)
    n, labels = len(world.image_ids), world.labels()
    val = np.array(world.split) == "val"
    agrees = random.random(n) < np.where(val, 0.5, 0.9)
    source = np.where(agrees == (labels == 1), "a", "b")
    embeddings = (
        random.normal(size=(n, 8)) + 0.8 * labels[:, None] * (np.arange(8) < 2) + 3.0 * (source == "a")[:, None] * (np.arange(8) > 5)
    )
    data = dataclasses.replace(world, embeddings=embeddings.astype(np.float32), source=source.tolist())
    auc = {}
    for how in ("none", "source"):
        settings = AlignmentConfig(seeds=(1,), epochs=1, classifier_epochs=2, balance=how)
        rows = predict(train_alignment(data, settings), data)
        auc[how] = roc_auc_score(labels[val], [row["p_linear"] for row, chosen in zip(rows, val, strict=True) if chosen])
    assert auc["source"] > auc["none"] + 0.05
