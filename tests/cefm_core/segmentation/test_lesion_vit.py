"""LesionViT: what is frozen, what is learned, and which encoder its weights belong to."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cefm_core.errors import ConfigurationError
from cefm_core.segmentation import lesion_vit
from cefm_core.segmentation.lesion_vit import BACKBONE, LesionViT
from cefm_core.segmentation.weights_io import load_weights, save_weights


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return LesionViT().eval()


def test_before_training_the_backbone_is_the_shipped_encoder(network):
    import timm

    with safe_open(BACKBONE, framework="pt") as stream:
        arguments = json.loads(stream.metadata()["cefm_encoder"])["arguments"]
    plain = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **{**arguments, "dynamic_img_size": True}).eval()
    plain.load_state_dict({name: value.float() for name, value in load_file(BACKBONE).items()})
    x = torch.rand(1, 3, 168, 168)
    with torch.inference_mode():
        assert torch.allclose(network.backbone.forward_features(x), plain.forward_features(x), atol=1e-5)


def test_every_pixel_gets_a_probability_at_any_square_side(network):
    with torch.inference_mode():
        for side in (64, 192, 256):
            found = network(torch.rand(2, 3, side, side) * 255)
            assert found.shape == (2, 1, side, side) and 0 <= found.min() and found.max() <= 1
            assert network.training_logits(torch.rand(1, 3, side, side))[1].shape[-1] == max(2, round(side / 14))


def test_a_step_moves_what_is_learned_and_nothing_else():
    network = LesionViT().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=1.0)
    for _ in range(2):  # the first step moves B alone, since A has no gradient while B is zero
        optimiser.zero_grad()
        sum(found.square().mean() for found in network.training_logits(torch.rand(2, 3, 64, 64) * 255)).backward()
        optimiser.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    learned = set(network.learned_state())
    assert {name for name in moved if not name.endswith("num_batches_tracked")} == learned
    assert not any(name.startswith("backbone.patch_embed") or ".base." in name for name in learned)
    assert sum(p.numel() for p in parameters) < 2_000_000


def test_weights_come_back_and_name_their_encoder(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    digest = save_weights(path, network.learned_state(), {"steps": 1}, network)
    other = LesionViT().eval()
    facts = load_weights(path, other)
    assert (facts.sha256, facts.architecture) == (digest, "LesionViT")
    for name, value in network.learned_state().items():
        assert torch.equal(other.learned_state()[name], value.half().float()), name
    tensors = load_file(path)
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    save_file(tensors, path, metadata | {"backbone_sha256": "0" * 64})
    with pytest.raises(ConfigurationError, match="backbone_sha256"):
        load_weights(path, other)


def test_a_missing_encoder_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(lesion_vit, "BACKBONE", tmp_path / "absent.safetensors")
    with pytest.raises(ConfigurationError, match="lacks its shipped encoder"):
        LesionViT()
