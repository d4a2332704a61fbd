"""The shares add up to the score, and a player that the model does not use gets none."""

import dataclasses

import numpy as np
import pytest

from cefm_core.alignment.explain import PLAYERS, coalition, player_of, shapley_values
from cefm_core.alignment.models import load_models
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig

QUICK = AlignmentConfig(seeds=(1, 2), epochs=2, classifier_epochs=3)


@pytest.fixture(scope="module")
def trained(world):
    return train_alignment(world, QUICK)


def test_values_by_hand():
    worth = {(): 0.0, ("a",): 2.0, ("b",): 1.0, ("a", "b"): 7.0}
    shares = shapley_values({frozenset(k): np.array([v]) for k, v in worth.items()})
    assert (shares["a"][0], shares["b"][0]) == (4.0, 3.0)


def test_shares_add_to_the_log_odds_of_p_clinical(world, trained):
    one = dataclasses.replace(world, split=list(world.split))
    single = train_alignment(one, QUICK.model_copy(update={"seeds": (1,)}))
    for row in predict(single, one):
        logit = row["clinical_reference_log_odds"] + sum(row[f"shift_{player}"] for player in PLAYERS)
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(row["p_clinical"], abs=1e-6)


def test_a_lesion_like_the_reference_is_moved_by_nothing(world, trained):
    reference = load_models(trained).scales.clinical.median
    names = world.clinical_names
    typical = coalition(np.zeros((1, len(names))), names, reference, frozenset())
    data = dataclasses.replace(world, clinical=np.repeat(typical, len(world.image_ids), axis=0))
    row = predict(trained, data)[0]
    assert [row[f"shift_{player}"] for player in PLAYERS] == pytest.approx([0] * len(PLAYERS), abs=1e-9)


def test_only_measurements_that_differ_get_a_share(world, trained):
    reference = load_models(trained).scales.clinical.median
    names = world.clinical_names
    values = coalition(np.zeros((1, len(names))), names, reference, frozenset())
    colour = [i for i, name in enumerate(names) if name in ("colour_variety", "hue_resultant")]
    values[:, colour] += 3.0
    row = predict(trained, dataclasses.replace(world, clinical=np.repeat(values, len(world.image_ids), axis=0)))[0]
    assert row["shift_asymmetry"] == pytest.approx(0, abs=1e-9) and row["shift_border"] == pytest.approx(0, abs=1e-9)
    assert abs(row["shift_colour"]) > 1e-3


def test_every_measurement_but_the_total_belongs_to_one_player(world_of):
    for profile in ("clinical", "paper"):
        names = world_of(profile=profile).clinical_names
        players = set(PLAYERS) if profile == "clinical" else set(PLAYERS) - {"structure"}
        assert {player_of(name) for name in names if name != "tds_without_structures"} == players


def test_without_measurements_there_is_no_share_but_a_reason(world, trained):
    clinical = world.clinical.copy()
    clinical[3] = np.nan
    row = predict(trained, dataclasses.replace(world, clinical=clinical))[3]
    assert row["shift_border"] is None and row["reason"] == "no_clinical_features"
