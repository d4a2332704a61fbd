"""The promise of the sets: each class is held as often as asked for, whatever the model is worth."""

import dataclasses

import numpy as np
import pytest

from cefm_core.alignment.conformal import CLASSES, Conformal, fit_conformal
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig


def draw(random, n, share):
    labels = (random.random(n) < share).astype(int)
    return labels, 1 / (1 + np.exp(-(1.5 * labels + random.normal(size=n) - 1.5)))


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_each_class_is_covered_even_where_the_other_is_commoner(coverage):
    random = np.random.default_rng(0)
    covered = {0: [], 1: []}
    for _ in range(60):
        labels, probability = draw(random, 150, 0.3)
        fitted = fit_conformal(probability, labels, coverage)
        labels, probability = draw(random, 300, 0.6)
        sets = fitted.sets(probability)
        for label in (0, 1):
            covered[label].append(np.mean([CLASSES[label] in held for held, y in zip(sets, labels, strict=True) if y == label]))
    for label in (0, 1):
        assert coverage - 0.01 < np.mean(covered[label]) < coverage + 0.04


def test_p_values_count_what_fits_no_better():
    fitted = Conformal(0.9, (np.array([0.1, 0.2, 0.2, 0.6]), np.array([0.3, 0.5])))
    np.testing.assert_allclose(fitted.p_values(np.array([0.2, 0.9])), [[4 / 5, 1 / 5], [1 / 3, 3 / 3]])
    assert Conformal.from_facts(fitted.as_facts()).p_values(np.array([0.2]))[0, 0] == 4 / 5


def test_too_few_images_of_a_class_promise_nothing():
    labels = np.array([0] * 50 + [1] * 8)
    assert fit_conformal(np.linspace(0, 1, 58), labels, 0.9) is None
    assert fit_conformal(np.linspace(0, 1, 58), labels, 0.8) is not None


def test_predictions_hold_sets_and_abstain_where_they_are_no_answer(world_of):
    world = world_of(1500)
    data = dataclasses.replace(
        world, embeddings=world.embeddings + np.random.default_rng(1).normal(0, 4, world.embeddings.shape).astype("f")
    )
    rows = predict(train_alignment(data, AlignmentConfig(seeds=(1,), epochs=2, classifier_epochs=2)), data)
    val = [row for row in rows if row["split"] == "val"]
    for label in (0, 1):
        assert np.mean([CLASSES[label] in row["conformal_set"] for row in val if row["target"] == label]) > 0.82
    assert {len(row["conformal_set"]) for row in val} >= {1, 2}
    for row in rows:
        assert ("undecided" in row["abstain_reasons"]) == (len(row["conformal_set"]) == 2)
        assert row["abstain"] == bool(row["abstain_reasons"]) and row["conformal_reason"] is None


def test_without_labels_in_tune_there_are_no_sets_and_the_reason_stands(world):
    bare = dataclasses.replace(world, target=[None if s == "tune" else t for s, t in zip(world.split, world.target, strict=True)])
    rows = predict(train_alignment(bare, AlignmentConfig(seeds=(1,), epochs=1, classifier_epochs=1)), bare)
    assert {row["conformal_set"] is None for row in rows} == {True}
    assert {row["conformal_reason"] for row in rows} == {"too_few_tune_labels"}
