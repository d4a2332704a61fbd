"""A map shares out exactly what there is to share, and the deletion test knows a true map from a false one."""

import dataclasses

import numpy as np
import pytest
import torch

from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.encoder import Encoder, one_thread
from cefm_core.alignment.models import load_models
from cefm_core.alignment.predict import predict
from cefm_core.alignment.saliency import ImageScore, Views, deletion_curve, judge_map, patch_shares, patch_side, views_of
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig, EmbedConfig
from cefm_core.errors import ConfigurationError
from cefm_core.evaluation.saliency_figures import deletion_areas, deletion_figure, maps_figure, maps_text

SIDE, PATCH = 24, 4


@pytest.fixture
def views():
    random = np.random.default_rng(0)
    sharp = torch.from_numpy(random.normal(size=(2, 3, SIDE, SIDE))).float()
    blurred = sharp.clone()
    blurred[-1] = 0.0
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[: SIDE // 2] = True
    return Views(sharp, blurred, np.full((SIDE, SIDE, 3), 128, np.uint8), mask)


def weights_on(rows):
    weights = torch.zeros(3, SIDE, SIDE)
    weights[:, rows] = torch.from_numpy(np.random.default_rng(1).normal(size=(3, len(range(SIDE)[rows]), SIDE))).float()
    return weights


def test_a_linear_score_is_shared_exactly(views):
    weights = weights_on(slice(None))
    shares = patch_shares(lambda v: (v[-1] * weights).sum(), views, PATCH, steps=3)
    expected = (views.sharp[-1] * weights).sum(0).double().numpy().reshape(6, PATCH, 6, PATCH).sum(axis=(1, 3))
    np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-4)


def test_shares_of_a_curved_score_add_up_to_its_difference(views):
    weights = weights_on(slice(None)) / 20

    def score(v):
        return torch.tanh((v[-1] * weights).sum()) + (v[-1] ** 2).mean()

    total = patch_shares(score, views, PATCH, steps=64).sum()
    assert total == pytest.approx(float(score(views.sharp) - score(views.blurred)), rel=1e-2)


def test_deletion_follows_the_order_and_ends_at_the_blurred_crop(views):
    weights = weights_on(slice(None))
    order = np.arange(36)
    curve = deletion_curve(lambda v: (v[-1] * weights).sum(), views, order, PATCH, (0.0, 1 / 36, 1.0))
    whole = float((views.sharp[-1] * weights).sum())
    assert curve[0] == pytest.approx(whole, rel=1e-5) and curve[2] == pytest.approx(0, abs=1e-4)
    assert curve[1] == pytest.approx(whole - float((views.sharp[-1] * weights)[:, :PATCH, :PATCH].sum()), rel=1e-4)


def test_a_true_map_beats_chance_and_its_weight_lies_where_the_score_looks(views):
    weights = weights_on(slice(0, SIDE // 2))
    found = [judge_map(lambda v: (v[-1] * weights).sum(), views, PATCH, seed) for seed in range(8)]
    by_map, by_chance = deletion_areas(found)
    assert by_map.mean() > by_chance.mean() + 1
    assert found[0].inside == pytest.approx(1, abs=1e-6) and found[0].lesion == 0.5
    assert "share of the map's weight on the lesion | 1.000" in maps_text(found)


@pytest.fixture(scope="module")
def real(world_of):
    """The shipped encoder with a model on random embeddings: what is tested is that both see the same image the same way."""
    encoder = Encoder.load(EmbedConfig())
    random = np.random.default_rng(0)
    rgb = random.integers(60, 220, (200, 260, 3)).astype(np.uint8)
    mask = np.zeros((200, 260), np.bool_)
    mask[60:140, 80:180] = True
    embedding = encoder.embed([rgb], [mask])
    world = world_of(120)
    drawn = embedding + random.normal(size=(120, encoder.dimension)).astype(np.float32)
    data = dataclasses.replace(world, embeddings=drawn, encoder_sha256=encoder.digest)
    trained = train_alignment(data, AlignmentConfig(seeds=(1, 2), epochs=1, classifier_epochs=1, components=32))
    return encoder, trained, dataclasses.replace(data, embeddings=np.repeat(embedding, 120, axis=0)), rgb, mask


def test_the_score_is_that_of_the_prediction(real):
    encoder, trained, data, rgb, mask = real
    assert isinstance(data, AlignmentData)
    score, views = ImageScore(encoder, load_models(trained)), views_of(encoder, rgb, mask)
    with one_thread():
        logit = float(score(views.sharp).detach())
        shares = patch_shares(score, views, patch_side(encoder), steps=2)
    blend = trained.facts["blends"]["image"]
    expected = 1 / (1 + np.exp(-(blend["weight"][0] * logit + blend["bias"])))
    assert predict(trained, data)[0]["p_image"] == pytest.approx(expected, abs=0.01)
    assert shares.shape == (12, 12) and np.isfinite(shares).all() and np.abs(shares).max() > 0


def test_pictures_are_drawn(real):
    encoder, trained, _, rgb, mask = real
    views = views_of(encoder, rgb, mask)
    with one_thread():
        found = judge_map(ImageScore(encoder, load_models(trained)), views, patch_side(encoder), 0)
    assert maps_figure([("i", "nevus", views, found)]).startswith(b"\x89PNG")
    assert deletion_figure([found, found]).startswith(b"\x89PNG")
    assert maps_text([]) == "No image has a lesion mask."


def test_without_a_lesion_crop_there_is_no_map():
    encoder = Encoder.load(EmbedConfig(view="frame"))
    with pytest.raises(ConfigurationError, match=r"embed\.view"):
        views_of(encoder, np.zeros((200, 200, 3), np.uint8), np.ones((200, 200), np.bool_))
