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

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WIDE = 3072  # numbers per time step from which sequences are not cut into chunks
LOG2_E = math.log2(math.e)
SHORTEST = 4  # steps per chunk at least; the causal convolution beside the scan looks back over three
MEMORY_SETS = 32  # sizes of working memory kept per thread
TILE = 98304  # numbers per tile of time steps, 384 kB in float32


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), exact to rounding; without gradients three times faster than torch's own.

    With w = 1 + exp(x) as rounded, log(1 + exp(x)) = log(w) - (w - 1 - exp(x)) / w up to the square of the rounding.
    """
    if torch.compiler.is_exporting() or (torch.is_grad_enabled() and x.requires_grad):
        return F.softplus(x)
    z = torch.exp(x.clamp_max(30.0))
    w = z + 1
    result = torch.log(w)
    result.sub_(w.sub(1).sub_(z).div_(w))
    return torch.maximum(result, x)


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
    if torch.compiler.is_exporting():
        return _scan_unrolled(u, delta, A, B, C, chunks)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (u, delta, A, B, C)):
        result: Tensor = _Scan.apply(u, delta, A, B, C, chunks)  # type: ignore[no-untyped-call]
        return result
    return _forward(u, delta, A, B, C, chunks)[0]


def _scan_unrolled(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunks: int) -> Tensor:
    """Run the scan without working memory or loops over tiles, as an exporter can follow it: one operator after the other."""
    injected = (delta * u).unsqueeze(2) * B.unsqueeze(1)
    steps = list(zip(_decay(delta, A).unbind(0), injected.unbind(0), strict=True))
    start = torch.zeros_like(injected[0])
    if chunks > 1:
        end = start
        for decay, step in steps:
            end = step + decay * end
        total = _decay(delta.sum(0, keepdim=True), A)[0]
        ends, totals = (x.reshape(*x.shape[:2], chunks, -1).unbind(2) for x in (end, total))
        carried = [torch.zeros_like(ends[0])]
        for k in range(1, chunks):
            carried.append(ends[k - 1] + totals[k - 1] * carried[k - 1])
        start = torch.stack(carried, 2).reshape(start.shape)
    states = []
    for decay, step in steps:
        start = step + decay * start
        states.append(start)
    return (torch.stack(states) * C.unsqueeze(1)).sum(2)


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
        g_drive, g_delta, gB, gC = (torch.empty_like(x) for x in (u, u, B, C))
        gA = torch.zeros_like(A)
        decay_of, states_of, g_of, work_of = _buffers(delta, A, *[ctx.tiles[0].stop] * 4)
        for index in range(len(ctx.tiles) - 1, -1, -1):
            tile = ctx.tiles[index]
            decay, states = _decay(delta[tile], A, decay_of.whole), _inject(drive[tile], B[tile], states_of.whole)
            g, work = _inject(gy[tile], C[tile], g_of.whole), work_of.whole[: len(states)]
            _run(decay_of.steps[: len(states)], states_of.steps, starts[index])
            incoming = _run_back(decay_of.steps[: len(states)], g_of.steps[: len(states)], incoming)
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
    tile_steps = tiles[0].stop
    states_of, work, decay_of = _buffers(delta, A, tile_steps, tile_steps, len(u) if chunks > 1 else tile_steps)
    state = drive.new_zeros(*A.shape, drive.shape[-1])
    if chunks > 1:
        for tile in tiles:
            _decay(delta[tile], A, decay_of.whole[tile])
            _inject(drive[tile], B[tile], states_of.whole)
            state = _run(decay_of.steps[tile], states_of.steps, state)
        state = _carry(state, _decay(delta.sum(0, keepdim=True), A)[0], chunks, backwards=False)
    y, starts = torch.empty_like(u), []
    for tile in tiles:
        starts.append(state)
        states = _inject(drive[tile], B[tile], states_of.whole)
        if chunks == 1:
            _decay(delta[tile], A, decay_of.whole)
        state = _run(decay_of.steps[tile] if chunks > 1 else decay_of.steps[: len(states)], states_of.steps, state)
        torch.sum(torch.mul(states, C[tile].unsqueeze(1), out=work.whole[: len(states)]), 2, out=y[tile])
    return y, starts, tiles


def _tiles(delta: Tensor, A: Tensor) -> list[slice]:
    """Cut the time axis into tiles of about ``TILE`` numbers."""
    steps, _, sequences = delta.shape
    size = min(steps, max(1, TILE // (A.numel() * sequences)))
    return [slice(start, min(start + size, steps)) for start in range(0, steps, size)]


@dataclass(frozen=True)
class _Buffer:
    """Working memory: an uninitialised array (steps, channels, states, sequences), and the same as a list of its steps."""

    whole: Tensor
    steps: tuple[Tensor, ...]


class _Memory(threading.local):
    """The working memory of one thread: fresh memory costs a page fault every 4 kB, more than the arithmetic done in it."""

    def __init__(self) -> None:
        self.sets: dict[object, list[_Buffer]] = {}


_memory = _Memory()


def _buffers(like: Tensor, A: Tensor, *steps: int) -> list[_Buffer]:
    """Return working memory with the given numbers of steps; it holds until the next call with the same sizes in this thread."""
    key = (steps, A.shape, like.shape[-1], like.dtype, like.device)
    found = _memory.sets.get(key)
    if found is None:
        if len(_memory.sets) >= MEMORY_SETS:
            _memory.sets.clear()
        with torch.inference_mode(False):  # usable in and out of inference mode
            arrays = [torch.empty(n, *A.shape, like.shape[-1], dtype=like.dtype, device=like.device) for n in steps]
        found = _memory.sets[key] = [_Buffer(array, array.unbind(0)) for array in arrays]
    return found


def _decay(delta: Tensor, A: Tensor, out: Tensor | None = None) -> Tensor:
    """Return exp(delta * A), (steps, channels, states, sequences), in the first steps of ``out`` where that is given.

    Taken as a power of two, which torch computes three times as fast on a CPU, and as exactly.
    """
    product = torch.mul(delta.unsqueeze(2), (A * LOG2_E).unsqueeze(-1), out=None if out is None else out[: len(delta)])
    return product.exp2_()


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


def _run_back(decay: Sequence[Tensor], g: Sequence[Tensor], incoming: Tensor) -> Tensor:
    """Turn gradients of the states into accumulated ones in place, last step first; return what leaves for the step before."""
    incoming = incoming.clone()
    for a, step in zip(reversed(decay), reversed(g), strict=True):
        step.add_(incoming)
        torch.mul(step, a, out=incoming)
    return incoming


def _exit_gradients(gy: Tensor, delta: Tensor, A: Tensor, C: Tensor, chunks: int, tiles: list[slice]) -> Tensor:
    """Return the gradient that comes back into each chunk from the chunk after it, (channels, states, sequences)."""
    incoming = gy.new_zeros(*A.shape, gy.shape[-1])
    if chunks == 1:
        return incoming
    decay_of, g_of = _buffers(gy, A, tiles[0].stop, tiles[0].stop)
    for tile in reversed(tiles):
        count = len(_decay(delta[tile], A, decay_of.whole))
        _inject(gy[tile], C[tile], g_of.whole)
        incoming = _run_back(decay_of.steps[:count], g_of.steps[:count], incoming)
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
