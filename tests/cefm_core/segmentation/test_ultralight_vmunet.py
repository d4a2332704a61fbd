"""The network's size, names, output and input transform."""

import pytest
import torch

from cefm_core.segmentation.ultralight_vmunet import (
    PARAMETER_COUNT,
    PVMLayer,
    SpatialAttention,
    UltraLightVMUNet,
    _two_step_convolution,
    to_network_input,
)


def test_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in UltraLightVMUNet().parameters()) == 49_457 == PARAMETER_COUNT


def test_parameter_names_are_those_of_the_published_checkpoints():
    state = UltraLightVMUNet().state_dict()
    shapes = {
        "encoder1.0.weight": (8, 3, 3, 3),
        "encoder4.0.norm.weight": (24,),
        "encoder4.0.mamba.in_proj.weight": (24, 6),
        "encoder4.0.mamba.conv1d.weight": (12, 1, 4),
        "encoder4.0.mamba.A_log": (12, 16),
        "encoder6.0.skip_scale": (1,),
        "scab.catt.get_all_att.weight": (1, 1, 3),
        "scab.catt.att5.weight": (48, 128),
        "scab.satt.shared_conv2d.0.weight": (1, 2, 7, 7),
        "decoder1.0.proj.weight": (48, 64),
        "decoder5.0.weight": (8, 16, 3, 3),
        "ebn5.weight": (48,),
        "dbn1.weight": (48,),
        "final.weight": (1, 8, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_output_is_already_a_probability():
    torch.manual_seed(1)
    network, x = UltraLightVMUNet().eval(), torch.rand(2, 3, 64, 96) * 255
    with torch.inference_mode():
        p, logits = network(x), network.logits(x)
    assert p.shape == (2, 1, 64, 96)
    assert torch.equal(p, torch.sigmoid(logits))


@pytest.mark.parametrize("side", [32, 64, 160])
def test_sides_of_multiples_of_32_pass(side):
    with torch.inference_mode():
        assert UltraLightVMUNet().eval()(torch.rand(1, 3, side, 32) * 255).shape == (1, 1, side, 32)


def test_quarters_share_one_block_and_do_not_mix():
    torch.manual_seed(2)
    layer, x = PVMLayer(24, 32).eval(), torch.randn(2, 24, 16, 16)
    tokens = layer.norm(x.flatten(2).transpose(1, 2))
    parts = [layer.mamba(q) + layer.skip_scale * q for q in tokens.chunk(4, dim=2)]
    expected = layer.proj(layer.norm(torch.cat(parts, dim=2))).transpose(1, 2).reshape(2, 32, 16, 16)
    assert (layer(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [1.0, 1 / 255, 3.7])
def test_input_transform_undoes_any_scale_and_shift(scale):
    image = torch.randint(10, 240, (1, 3, 32, 32)).float()
    image[0, 0, 0, 0], image[0, 1, 0, 0] = 10, 239
    moved = image * scale - 5
    reference = to_network_input(image)
    assert reference.min() == 0
    assert abs(float(reference.max()) - 255) < 1e-3
    assert (to_network_input(moved) - reference).abs().max() < 0.02


def test_input_transform_is_per_image_and_constant_images_become_zero():
    batch = torch.stack([torch.full((3, 8, 8), 77), torch.arange(192).reshape(3, 8, 8)]).to(torch.uint8)
    moved = to_network_input(batch)
    assert torch.equal(moved[0], torch.zeros(3, 8, 8))
    assert torch.equal(moved[1], to_network_input(batch[1:])[0])


def test_gradients_reach_every_parameter():
    torch.manual_seed(3)
    network = UltraLightVMUNet()
    network.logits(to_network_input(torch.rand(2, 3, 64, 64))).square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_inference_gives_what_training_gives_whatever_the_sign_of_a_scale(sign, batch):
    torch.manual_seed(6)
    network = UltraLightVMUNet().eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        for stage in range(1, 6):
            norm = network.get_submodule(f"ebn{stage}")
            norm.weight.uniform_(0.2, 2.0)
            norm.bias.normal_()
            norm.weight[1] *= sign
    x = to_network_input(torch.rand(batch, 3, 256, 256)).contiguous(memory_format=torch.channels_last)
    learning = network(x).detach()
    with torch.inference_mode():
        quiet = network(x)
    assert (learning - quiet).abs().max() < 1e-4  # of two summations in float32, the strips are the more exact one


def test_two_step_convolution_is_the_convolution():
    torch.manual_seed(7)
    layer = SpatialAttention().shared_conv2d[0]
    x = torch.randn(2, 2, 48, 80)
    assert (_two_step_convolution(x, layer.weight, layer.bias, dilation=3) - layer(x)).abs().max() < 1e-5
