import pytest
import torch
from torch import nn

from cefm_core.alignment.heads import AlignmentNetwork, apply_all


@pytest.fixture
def network():
    return AlignmentNetwork(20, 7, [1, 2])


def single(head, seed, inputs, hidden):
    """The same head for one seed, from torch's own layers."""
    plain = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 128))
    with torch.no_grad():
        for layer, stacked in ((plain[0], head.first), (plain[3], head.last)):
            layer.weight.copy_(stacked.weight[seed].T)
            layer.bias.copy_(stacked.bias[seed, 0])
    return plain


def test_stack_computes_what_separate_torch_heads_compute_in_training_and_after(network):
    x = torch.randn(2, 16, 20)
    plain = [single(network.image_head, seed, 20, 512) for seed in range(2)]
    for mode in (True, False):
        network.train(mode)
        found = network.image_head(x)
        for seed in range(2):
            expected = nn.functional.normalize(plain[seed].train(mode)(x[seed]), dim=-1)
            torch.testing.assert_close(found[seed], expected, atol=1e-5, rtol=1e-4)


def test_gradients_of_a_seed_are_those_of_its_own_loss(network):
    x = torch.randn(2, 8, 20)
    network.image_head(x).pow(3).sum(dim=(1, 2)).sum().backward()
    together = network.image_head.first.weight.grad.clone()
    network.zero_grad()
    network.image_head(x).pow(3).sum(dim=(1, 2))[0].backward()
    torch.testing.assert_close(network.image_head.first.weight.grad[0], together[0])
    assert float(network.image_head.first.weight.grad[1].abs().max()) == 0


def test_a_seeds_first_weights_do_not_depend_on_its_company(network):
    alone = AlignmentNetwork(20, 7, [2])
    torch.testing.assert_close(alone.image_classifier.first.weight[0], network.image_classifier.first.weight[1], atol=0, rtol=0)


def test_projections_are_unit_vectors_of_128(network):
    found = apply_all(network.clinical_head, torch.randn(9, 7), 2)
    assert found.shape == (2, 9, 128)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 9))


def test_apply_all_works_without_batch_statistics_or_dropout_and_restores_the_mode(network):
    network.train()
    x = apply_all(network.image_head, torch.randn(6, 20), 2)
    first = apply_all(network.image_classifier, x, 2)
    assert network.image_classifier.training
    torch.testing.assert_close(apply_all(network.image_classifier, x[:, :2], 2), first[:, :2])
