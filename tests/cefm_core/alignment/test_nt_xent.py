import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cefm_core.alignment.nt_xent import has_negatives, nt_xent


def unit(n, seed, width=8):
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def by_hand(images, clinical, temperature, groups, form):
    """The formula once more, as two loops."""
    s, n, total = (images @ clinical.T / temperature).numpy(), len(images), 0.0
    for i in range(n):
        for direction in (s[i], s[:, i]):
            terms = [math.exp(direction[j]) for j in range(n) if form == "paper" or j == i or groups[j] != groups[i]]
            if form == "paper":
                terms.append(math.exp(direction[i]))
            total += math.log(sum(terms)) - direction[i]
    return total / (2 * n)


@pytest.mark.parametrize("form", ["cross_modal", "paper"])
@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 2]])
def test_equals_the_formula_written_as_loops(form, groups):
    images, clinical = unit(5, 1), unit(5, 2)
    g = torch.tensor(groups)
    found = nt_xent(images, clinical, 0.3, g[:, None] == g[None, :], form)
    assert float(found) == pytest.approx(by_hand(images, clinical, 0.3, groups, form), rel=1e-12)


def test_equals_torchs_cross_entropy_when_all_groups_differ():
    images, clinical = unit(6, 3), unit(6, 4)
    logits, own = images @ clinical.T / 0.05, torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    assert float(nt_xent(images, clinical, 0.05)) == pytest.approx(float(expected), rel=1e-12)


def test_perfect_pairs_go_to_zero_in_the_right_form_but_to_log_2_in_the_papers():
    eye = torch.eye(8, dtype=torch.float64)
    assert float(nt_xent(eye, eye, 0.05)) < 1e-6
    assert float(nt_xent(eye, eye, 0.05, form="paper")) == pytest.approx(math.log(2), abs=1e-6)


def test_images_of_one_lesion_are_no_negatives_of_each_other():
    vectors = unit(4, 5)
    twins = torch.stack([vectors[0], vectors[0], vectors[1], vectors[2]])
    g = torch.tensor([0, 0, 1, 2])
    assert float(nt_xent(twins, twins, 0.05, g[:, None] == g[None, :])) < float(nt_xent(twins, twins, 0.05)) - 0.2


def test_seeds_in_a_stack_do_not_touch_each_other():
    images, clinical = torch.stack([unit(5, 1), unit(5, 2)]), torch.stack([unit(5, 3), unit(5, 4)])
    both = nt_xent(images, clinical, 0.1)
    assert both.tolist() == pytest.approx([float(nt_xent(i, c, 0.1)) for i, c in zip(images, clinical, strict=True)])


@pytest.mark.parametrize(
    ("groups", "expected"), [([0, 1, 1, 3], True), ([0, 1, 2, 3], True), ([5, 5, 5, 5], False), ([7], False), ([], False)]
)
def test_a_batch_with_one_group_or_one_row_has_nothing_to_learn_from(groups, expected):
    assert bool(has_negatives(torch.tensor(groups, dtype=torch.int64))) is expected


def test_gradient_is_finite_with_masked_pairs():
    images = unit(4, 6).requires_grad_()
    g = torch.tensor([0, 0, 0, 1])
    nt_xent(images, unit(4, 7), 0.05, g[:, None] == g[None, :]).backward()
    assert np.isfinite(images.grad.numpy()).all()
