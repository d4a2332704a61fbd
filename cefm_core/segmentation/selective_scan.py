"""The selective scan of Mamba in plain PyTorch, fast at small widths on a CPU.

For every channel e and state n the scan is the linear recurrence (Gu and Dao, "Mamba", 2023, eq. 2 with the zero-order hold on A)

    h[t] = exp(delta[t, e] * A[e, n]) * h[t-1] + delta[t, e] * u[t, e] * B[t, n],      y[t, e] = sum_n C[t, n] * h[t]

A loop over t is slow because each step is too small for an operator call. Here a sequence is cut into chunks whose steps run side
by side (the state entering each chunk follows from the chunks' end states), and time is walked in tiles small enough for the
processor's second-level cache. The innermost axis always runs over independent sequences, so that no operator broadcasts along it.
The backward pass is the same recurrence with time reversed; states are recomputed tile by tile and not kept.

The layers around the scan do not belong here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WIDE = 3072  # numbers per time step from which sequences are not cut into chunks
SHORTEST = 4  # steps per chunk at least; the causal convolution beside the scan looks back over three
TILE = 98304  # numbers per tile of time steps, 384 kB in float32


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), exact to rounding; without gradients several times faster than torch's own.

    Uses log1p(z) = z log(1 + z) / ((1 + z) - 1), in which the rounding of 1 + z cancels (Goldberg, 1991, theorem 4).
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return F.softplus(x)
    z = torch.exp(-x.abs())
    one_plus = z + 1
    logarithm = torch.log(one_plus)
    excess = one_plus.sub_(1)
    small = torch.where(excess > 0, logarithm.mul_(z).div_(excess), z)
    return small.add_(x.clamp_min(0))


def chunk_count(length: int, width: int) -> int:
    """Return into how many chunks to cut sequences.

    Cutting doubles part of the work, so it pays only where a single step is too small for an operator call; then steps and chunks
    are about equally many, which makes the number of calls least.

    Args:
        length: Steps per sequence.
        width: Numbers per step over all sequences: sequences x channels x states.

    Returns:
        A power of two that divides ``length`` and leaves at least ``SHORTEST`` steps a chunk; 1 for wide steps.
    """
    chunks = 1
    while width < WIDE and chunks * chunks < length and length % (2 * chunks) == 0 and length // (2 * chunks) >= SHORTEST:
        chunks *= 2
    return chunks


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the selective scan on sequences in the usual layout.

    Args:
        u: Inputs, (batch, length, channels).
        delta: Step sizes after the softplus, same shape, > 0.
        A: State matrix, (channels, states), < 0.
        B: Input matrix, (batch, length, states).
        C: Output matrix, (batch, length, states).
        D: Weight of the direct path, (channels,).

    Returns:
        y of shape (batch, length, channels), ``scan + D * u``.
    """
    batch, length, channels = u.shape
    chunks = chunk_count(length, batch * A.numel())
    u, delta, B, C = (to_time_major(x, chunks) for x in (u, delta, B, C))
    y = scan_time_major(u, delta, A, B, C, chunks) + D[:, None] * u
    return from_time_major(y, chunks)


def to_time_major(x: Tensor, chunks: int) -> Tensor:
    """Turn (batch, length, channels) into (length / chunks, channels, chunks * batch), the chunk being the slower part of the last axis."""
    batch, length, channels = x.shape
    steps = length // chunks
    return x.reshape(batch, chunks, steps, channels).permute(2, 3, 1, 0).reshape(steps, channels, chunks * batch)


def from_time_major(x: Tensor, chunks: int) -> Tensor:
    """Undo :func:`to_time_major`."""
    steps, channels, sequences = x.shape
    batch = sequences // chunks
    return x.reshape(steps, channels, chunks, batch).permute(3, 2, 0, 1).reshape(batch, chunks * steps, channels)


def scan_time_major(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunks: int = 1) -> Tensor:
    """Run the scan in the layout of :func:`to_time_major`, without the direct path.

    Args:
        u: Inputs, (steps, channels, chunks * batch).
        delta: Step sizes, same shape, > 0.
        A: State matrix, (channels, states).
        B: Input matrix, (steps, states, chunks * batch).
        C: Output matrix, same shape as ``B``.
        chunks: Chunks per sequence; chunk k + 1 goes on where chunk k ends.

    Returns:
        y of the shape of ``u``.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in (u, delta, A, B, C)):
        result: Tensor = _Scan.apply(u, delta, A, B, C, chunks)  # type: ignore[no-untyped-call]
        return result
    return _forward(u, delta, A, B, C, chunks)[0]


class _Scan(torch.autograd.Function):
    """Forward and backward of the blocked scan; keeps one state per tile."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunks: int) -> Tensor:
        y, starts, ctx.tiles = _forward(u, delta, A, B, C, chunks)
        ctx.save_for_backward(u, delta, A, B, C, torch.stack(starts))
        ctx.chunks = chunks
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, starts = ctx.saved_tensors
        gy = grads[0].contiguous()
        drive = delta * u
        incoming = _exit_gradients(gy, delta, A, C, ctx.chunks, ctx.tiles)
        g_drive, g_delta, gA, gB, gC = (
            torch.empty_like(u),
            torch.empty_like(u),
            torch.zeros_like(A),
            torch.empty_like(B),
            torch.empty_like(C),
        )
        buffers = _buffers(delta, A, *[ctx.tiles[0].stop] * 4)
        for index in range(len(ctx.tiles) - 1, -1, -1):
            tile = ctx.tiles[index]
            decay, states = _decay(delta[tile], A, buffers[0]), _inject(drive[tile], B[tile], buffers[1])
            work = buffers[3][: len(states)]
            _run(decay.unbind(0), states.unbind(0), starts[index])
            g = _inject(gy[tile], C[tile], buffers[2])
            incoming = _run_back(decay, g, incoming)
            torch.sum(torch.mul(states, gy[tile].unsqueeze(2), out=work), 1, out=gC[tile])
            torch.sum(torch.mul(g, B[tile].unsqueeze(1), out=work), 2, out=g_drive[tile])
            torch.sum(torch.mul(g, drive[tile].unsqueeze(2), out=work), 1, out=gB[tile])
            g.mul_(decay)  # gradient with respect to delta * A, still lacking the previous state
            g[1:].mul_(states[:-1])
            g[0].mul_(starts[index])
            torch.sum(torch.mul(g, A.unsqueeze(-1), out=work), 2, out=g_delta[tile])
            gA += torch.mul(g, delta[tile].unsqueeze(2), out=work).sum((0, 3))
        return g_drive * delta, g_delta + g_drive * u, gA, gB, gC, None


def _forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunks: int) -> tuple[Tensor, list[Tensor], list[slice]]:
    """Return y, the state at the start of each tile, and the tiles."""
    drive = delta * u
    tiles = _tiles(delta, A)
    # One chunk needs the decay of a tile only once; several need it twice, and reading it again is cheaper than the exponential.
    kept = len(u) if chunks > 1 else tiles[0].stop
    states_of, work, decay_of = _buffers(delta, A, tiles[0].stop, tiles[0].stop, kept)
    decay_steps, state_steps = decay_of.unbind(0), states_of.unbind(0)
    state = drive.new_zeros(*A.shape, drive.shape[-1])
    if chunks > 1:
        _decay(delta, A, decay_of)
        for tile in tiles:
            _inject(drive[tile], B[tile], states_of)
            state = _run(decay_steps[tile], state_steps, state)
        state = _carry(state, _decay(delta.sum(0, keepdim=True), A)[0], chunks, backwards=False)
    y, starts = torch.empty_like(u), []
    for tile in tiles:
        starts.append(state)
        states = _inject(drive[tile], B[tile], states_of)
        if chunks == 1:
            _decay(delta[tile], A, decay_of)
        state = _run(decay_steps[tile] if chunks > 1 else decay_steps[: len(states)], state_steps, state)
        torch.sum(torch.mul(states, C[tile].unsqueeze(1), out=work[: len(states)]), 2, out=y[tile])
    return y, starts, tiles


def _tiles(delta: Tensor, A: Tensor) -> list[slice]:
    """Cut the time axis into tiles of about ``TILE`` numbers."""
    steps, _, sequences = delta.shape
    size = min(steps, max(1, TILE // (A.numel() * sequences)))
    return [slice(start, min(start + size, steps)) for start in range(0, steps, size)]


class _Memory(threading.local):
    """One flat buffer a thread: fresh memory costs a page fault every 4 kB, more than the arithmetic done in it."""

    flat: Tensor | None = None


_memory = _Memory()


def _buffers(delta: Tensor, A: Tensor, *steps: int) -> list[Tensor]:
    """Return uninitialised arrays (steps, channels, states, sequences), valid until the next call in this thread."""
    numbers = A.numel() * delta.shape[-1]
    with torch.inference_mode(False):  # usable in and out of inference mode
        flat = _memory.flat
        if flat is None or flat.numel() < numbers * sum(steps) or flat.dtype != delta.dtype or flat.device != delta.device:
            flat = _memory.flat = torch.empty(numbers * sum(steps), dtype=delta.dtype, device=delta.device)
    parts = flat[: numbers * sum(steps)].split([numbers * n for n in steps])
    return [part.view(n, *A.shape, delta.shape[-1]) for part, n in zip(parts, steps, strict=True)]


def _decay(delta: Tensor, A: Tensor, out: Tensor | None = None) -> Tensor:
    """Return exp(delta * A), (steps, channels, states, sequences), in the first steps of ``out`` where that is given."""
    product = torch.mul(delta.unsqueeze(2), A.unsqueeze(-1), out=None if out is None else out[: len(delta)])
    return product.exp_()


def _inject(drive: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """Return the outer product over channels and states, (steps, channels, states, sequences), in the first steps of ``out``."""
    return torch.mul(drive.unsqueeze(2), weight.unsqueeze(1), out=out[: len(drive)])


def _run(decay: Sequence[Tensor], states: Sequence[Tensor], start: Tensor) -> Tensor:
    """Turn injections into states in place, as many steps as ``decay`` has, from the state ``start``; return the last state."""
    previous = start
    for a, h in zip(decay, states, strict=False):
        h.addcmul_(a, previous)
        previous = h
    return previous.clone()


def _run_back(decay: Tensor, g: Tensor, incoming: Tensor) -> Tensor:
    """Turn gradients of the states into accumulated ones in place, last step first; return what leaves for the step before."""
    incoming = incoming.clone()
    for a, step in zip(reversed(decay.unbind(0)), reversed(g.unbind(0)), strict=True):
        step.add_(incoming)
        torch.mul(step, a, out=incoming)
    return incoming


def _exit_gradients(gy: Tensor, delta: Tensor, A: Tensor, C: Tensor, chunks: int, tiles: list[slice]) -> Tensor:
    """Return the gradient that comes back into each chunk from the chunk after it, (channels, states, sequences)."""
    incoming = gy.new_zeros(*A.shape, gy.shape[-1])
    if chunks == 1:
        return incoming
    work = _buffers(gy, A, tiles[0].stop, tiles[0].stop)
    for tile in reversed(tiles):
        incoming = _run_back(_decay(delta[tile], A, work[0]), _inject(gy[tile], C[tile], work[1]), incoming)
    return _carry(incoming, _decay(delta.sum(0, keepdim=True), A)[0], chunks, backwards=True)


def _carry(local: Tensor, product: Tensor, chunks: int, *, backwards: bool) -> Tensor:
    """Chain the chunks: what enters a chunk is what the one before it made by itself, plus what entered that one times its total decay."""
    shape = (*local.shape[:2], chunks, -1)
    carried = torch.zeros_like(local)
    parts = [x.reshape(shape).unbind(2) for x in (local, product, carried)]
    if backwards:
        parts = [x[::-1] for x in parts]
    for k in range(1, chunks):
        torch.addcmul(parts[0][k - 1], parts[1][k - 1], parts[2][k - 1], out=parts[2][k])
    return carried
