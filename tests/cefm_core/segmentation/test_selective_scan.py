"""The blocked scan against mambapy and against a loop that follows the definition."""

import pytest
import torch
from mambapy.mamba import MambaBlock, MambaConfig

from cefm_core.segmentation.selective_scan import chunk_count, from_time_major, scan_time_major, selective_scan, softplus, to_time_major
from cefm_core.segmentation.ultralight_vmunet import Mamba


def by_definition(u, delta, A, B, C, D):
    h, steps = torch.zeros(u.shape[0], *A.shape, dtype=u.dtype), []
    for t in range(u.shape[1]):
        h = torch.exp(delta[:, t, :, None] * A) * h + delta[:, t, :, None] * B[:, t, None, :] * u[:, t, :, None]
        steps.append((h * C[:, t, None, :]).sum(-1))
    return torch.stack(steps, 1) + D * u


def draw(batch, length, channels, states=16, dtype=torch.float32):
    torch.manual_seed(length + channels)
    shapes = [(batch, length, channels)] * 2 + [(channels, states)] + [(batch, length, states)] * 2 + [(channels,)]
    u, delta, A, B, C, D = (torch.randn(s, dtype=dtype) for s in shapes)
    return [u, torch.nn.functional.softplus(delta - 2), -torch.exp(A), B, C, D]


# Lengths and inner widths of the network, and lengths that are odd, prime or shorter than a chunk; batches that chunk and do not.
CASES = [(4, 1024, 12), (4, 256, 16), (4, 64, 24), (4, 64, 32), (64, 64, 32), (1, 1024, 1), (2, 100, 12), (1, 7, 3), (3, 1, 2)]


@pytest.mark.parametrize(("batch", "length", "channels"), CASES)
def test_scan_and_gradients_follow_the_definition(batch, length, channels):
    ours = [x.requires_grad_() for x in draw(batch, length, channels)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    weight = torch.randn(batch, length, channels)
    y, expected = selective_scan(*ours), by_definition(*theirs)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    assert (y - expected).abs().max() < 1e-5
    for name, a, b in zip(["u", "delta", "A", "B", "C", "D"], ours, theirs, strict=True):
        assert (a.grad - b.grad).abs().max() < 1e-5 * max(1.0, float(b.grad.abs().max())), name


def test_gradients_are_those_of_finite_differences():
    inputs = [x.requires_grad_() for x in draw(2, 32, 3, states=2, dtype=torch.float64)]
    time_major = [to_time_major(x, 4).detach().requires_grad_() if x.ndim == 3 else x for x in inputs[:5]]
    assert torch.autograd.gradcheck(lambda *a: scan_time_major(*a, 4), time_major)


@pytest.mark.parametrize("pscan", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "width"), [(4, 1024, 6), (4, 256, 8), (4, 64, 16), (40, 64, 12), (4, 4, 12), (4, 8, 6), (2, 1, 6), (1, 2, 8)]
)
def test_block_equals_mambapy_with_the_same_weights(batch, length, width, pscan):
    torch.manual_seed(width)
    theirs, ours = MambaBlock(MambaConfig(d_model=width, n_layers=1, pscan=pscan)), Mamba(width)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, length, width)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    y1, y2 = theirs(x1), ours(x2)
    weight = torch.randn_like(x)
    (y1 * weight).sum().backward()
    (y2 * weight).sum().backward()
    assert (y1 - y2).abs().max() < 1e-5
    assert (x1.grad - x2.grad).abs().max() < 1e-5
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        assert (p.grad - gradients[name]).abs().max() < 1e-5 * max(1.0, float(gradients[name].abs().max())), name


def test_inference_gives_what_training_gives():
    block = Mamba(6)
    x = torch.randn(4, 256, 6)
    with torch.inference_mode():
        quiet = block(x)
    assert (quiet - block(x)).abs().max() < 1e-6


@pytest.mark.parametrize("chunks", [1, 2, 8])
def test_number_of_chunks_does_not_change_the_result(chunks):
    u, delta, A, B, C, D = draw(2, 64, 5)
    parts = [to_time_major(x, chunks) for x in (u, delta, B, C)]
    y = from_time_major(scan_time_major(parts[0], parts[1], A, parts[2], parts[3], chunks), chunks) + D * u
    assert (y - by_definition(u, delta, A, B, C, D)).abs().max() < 1e-5


def test_long_decay_neither_overflows_nor_loses_the_last_input():
    u, delta, A, B, C, D = draw(1, 256, 4)
    y = selective_scan(u, delta * 0 + 50.0, A, B, C, D)
    assert torch.isfinite(y).all()
    assert torch.allclose(y, by_definition(u, delta * 0 + 50.0, A, B, C, D), atol=1e-3)


def test_chunks_divide_the_length():
    for length in (1, 2, 4, 7, 8, 64, 100, 256, 1000, 1024):
        for width in (16, 768, 100_000):
            chunks = chunk_count(length, width)
            assert length % chunks == 0
            assert chunks == 1 or length // chunks >= 4


def test_softplus_without_gradients_is_exact_to_rounding():
    x = torch.cat([torch.linspace(-60, 60, 20001), torch.tensor([-200.0, 0.0, 200.0])])
    exact = torch.nn.functional.softplus(x.double())
    assert ((softplus(x).double() - exact).abs() <= 3e-7 * exact + 1e-37).all()
    x.requires_grad_()
    assert torch.equal(softplus(x), torch.nn.functional.softplus(x))


def test_working_memory_is_not_handed_out():
    first = draw(4, 64, 12)
    y = selective_scan(*first)
    kept = y.clone()
    selective_scan(*[x + 0.5 if x.ndim == 3 else x for x in first])
    assert torch.equal(y, kept)


def test_scan_works_in_and_out_of_inference_mode_in_turn():
    inputs = draw(4, 64, 12)
    with torch.inference_mode():
        quiet = selective_scan(*inputs)
    learning = [x.clone().requires_grad_() for x in inputs]
    y = selective_scan(*learning)
    y.sum().backward()
    with torch.inference_mode():
        again = selective_scan(*inputs)
    assert torch.equal(quiet, again)
    assert (y - quiet).abs().max() < 1e-6
