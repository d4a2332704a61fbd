"""UltraLight VM-UNet: the coarse segmentation network, 49,457 parameters, in plain PyTorch.

Architecture after Wu et al., "UltraLight VM-UNet" (2024): three convolution stages and three parallel vision Mamba (PVM) layers
a side, spatial and channel attention over the five skip connections, additive skips, bilinear up-sampling. Parameter names are
those of the published network, so that its checkpoints fit. ``forward`` ends in a sigmoid: its output is a probability, and a
second sigmoid would mark the whole image.

Loading weights, resizing and thresholds do not belong here.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cefm_core.segmentation.selective_scan import chunk_count, from_time_major, scan_time_major, softplus, to_time_major

CHANNELS = (8, 16, 24, 32, 48, 64)
INPUT_SIDE_PX = 256
PARAMETER_COUNT = 49_457
QUARTERS = 4
STRIP = 131_072  # numbers per strip of a convolution's output, 512 kB in float32
TWO_STEP_FROM = 2048  # pixels from which the spatial attention's convolution is done in two steps


def to_network_input(images: Tensor) -> Tensor:
    """Apply the input transform the weights are trained with: each image stretched to 0..255 by its own extremes.

    Args:
        images: (batch, 3, height, width), any range; uint8 or float.

    Returns:
        float32 of the same shape; an image of one value becomes all 0.
    """
    images = images.float()
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    span = images.amax(dim=(1, 2, 3), keepdim=True) - low
    return (images - low) * torch.where(span > 0, 255.0 / span.clamp_min(1e-12), torch.zeros_like(span))


class Mamba(nn.Module):
    """One Mamba block (Gu and Dao, 2023) with the parameter names and initialisation of the reference implementation.

    Args:
        width: Channels of a token.
        d_state: States per channel.
        d_conv: Taps of the causal depthwise convolution.
        expand: Inner width over ``width``.
    """

    def __init__(self, width: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner = expand * width
        self.rank, self.d_state, self.d_conv = math.ceil(width / 16), d_state, d_conv
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.reset_step_size()

    def reset_step_size(self, low: float = 1e-3, high: float = 1e-1) -> None:
        """Draw the bias of the step size so that softplus(bias) is log-uniform between ``low`` and ``high``."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        step = torch.exp(torch.rand_like(self.dt_proj.bias) * math.log(high / low) + math.log(low)).clamp_min(1e-4)
        with torch.no_grad():
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens along their sequence: (batch, length, width) -> the same shape."""
        chunks = chunk_count(x.shape[1], x.shape[0] * self.A_log.numel())
        return from_time_major(self.mix(to_time_major(x, chunks), chunks), chunks)

    def mix(self, x: Tensor, chunks: int) -> Tensor:
        """Do the work of :meth:`forward` in the scan's layout, (steps, width, chunks * batch)."""
        u, gate = torch.matmul(self.in_proj.weight, x).chunk(2, dim=1)
        u = F.silu(self._causal_convolution(u, chunks))
        step, B, C = torch.matmul(self.x_proj.weight, u).split([self.rank, self.d_state, self.d_state], dim=1)
        wide = self.dt_proj.weight * step if self.rank == 1 else torch.matmul(self.dt_proj.weight, step)
        delta = softplus(wide + self.dt_proj.bias[:, None])
        y = scan_time_major(u, delta, -torch.exp(self.A_log), B, C, chunks)
        y = torch.addcmul(y, u, self.D[:, None]) * F.silu(gate)
        return torch.matmul(self.out_proj.weight, y)

    def _causal_convolution(self, u: Tensor, chunks: int) -> Tensor:
        """Convolve along time; the first steps of a chunk see the last ones of the chunk before."""
        steps, past = u.shape[0], self.d_conv - 1
        batch = u.shape[2] // chunks
        tail = F.pad(u[-past:], (batch, 0))[..., : u.shape[2]] if chunks > 1 else u.new_zeros(past, *u.shape[1:])
        padded = torch.cat([tail, u])
        result = self.conv1d.bias[:, None].expand_as(u) if self.conv1d.bias is not None else torch.zeros_like(u)
        for tap in range(self.d_conv):
            result = torch.addcmul(result, padded[tap : tap + steps], self.conv1d.weight[:, :, tap])
        return result


class PVMLayer(nn.Module):
    """Parallel vision Mamba layer: the channels in four quarters, one shared Mamba block over each, a learned scalar skip.

    The four quarters go through the block together, as four times the batch.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.norm = nn.LayerNorm(input_dim)
        self.mamba = Mamba(input_dim // QUARTERS)
        self.proj = nn.Linear(input_dim, output_dim)
        self.skip_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, input_dim, height, width) to (batch, output_dim, height, width); tokens run row by row."""
        batch, channels, height, width = x.shape
        length, quarter = height * width, channels // QUARTERS
        chunks = chunk_count(length, batch * QUARTERS * self.mamba.A_log.numel())
        tokens = self.norm(x.permute(0, 2, 3, 1))
        tokens = tokens.reshape(batch, chunks, length // chunks, QUARTERS, quarter)
        tokens = tokens.permute(2, 4, 1, 0, 3).reshape(length // chunks, quarter, chunks * batch * QUARTERS)
        mixed = torch.addcmul(self.mamba.mix(tokens, chunks), tokens, self.skip_scale)
        mixed = mixed.reshape(length // chunks, quarter, chunks, batch, QUARTERS).permute(3, 2, 0, 4, 1)
        result = self.proj(self.norm(mixed.reshape(batch, height, width, channels)))
        return cast(Tensor, result).permute(0, 3, 1, 2)


class SpatialAttention(nn.Module):
    """One 7x7 convolution of dilation 3, shared by all scales, on the channel mean and maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.shared_conv2d = nn.Sequential(nn.Conv2d(2, 1, 7, padding=9, dilation=3), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the weight of each place, (batch, 1, height, width), 0..1."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        convolution = cast(nn.Conv2d, self.shared_conv2d[0])
        if x.shape[2] * x.shape[3] < TWO_STEP_FROM:
            return torch.sigmoid(convolution(pooled))
        return torch.sigmoid(_two_step_convolution(pooled.contiguous(), convolution.weight, convolution.bias, dilation=3))


def _two_step_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve to one channel, size kept: one matrix product over the kernel's rows, then a sum over its shifted columns.

    A convolution from two channels to one leaves the library's kernels nearly idle; this is three times as fast.
    """
    batch, channels, height, width = x.shape
    taps = weight.shape[-1]
    margin = dilation * (taps // 2)
    padded = F.pad(x, (margin, margin, margin, margin))
    rows = torch.stack([padded[:, :, dilation * i : dilation * i + height] for i in range(taps)], dim=2)
    columns = torch.matmul(weight[0].permute(2, 0, 1).reshape(taps, channels * taps), rows.reshape(batch, channels * taps, -1))
    columns = columns.reshape(batch, taps, height, width + 2 * margin)
    result = columns[:, 0, :, :width]
    for i in range(1, taps):
        result = result + columns[:, i, :, dilation * i : dilation * i + width]
    return (result if bias is None else result + bias).unsqueeze(1)


def _convolve_norm_pool(x: Tensor, convolution: nn.Module, norm: nn.GroupNorm) -> Tensor:
    """Convolution, group norm and 2x2 maximum pooling, as an encoder stage has them.

    Without gradients the image passes in strips that stay in the processor's cache. Where all scales of the norm are positive,
    pooling may come first, because the maximum passes through a rising line; the norm's mean and variance are summed on the way.
    """
    batch, _, height, width = x.shape
    strips = isinstance(convolution, nn.Conv2d) and not height % 2 and not width % 2
    plain = not strips or torch.is_grad_enabled() or torch.compiler.is_exporting()
    if plain or not bool((norm.weight > 0).all()):
        return F.max_pool2d(norm(convolution(x)), 2)
    channels = norm.num_channels
    rows = max(2, STRIP // (batch * width * channels) // 2 * 2)
    sums, pooled = x.new_zeros(2, batch, width * channels, dtype=torch.float64), []
    for top in range(0, height, rows):
        bottom, margin = min(top + rows, height), min(top, 1)
        strip = convolution(x[:, :, top - margin : bottom + 1])[:, :, margin : margin + bottom - top]
        flat = strip.permute(0, 2, 3, 1).reshape(batch, bottom - top, width * channels)
        sums += torch.stack([flat.sum(1), (flat * flat).sum(1)])
        pairs = torch.maximum(flat[:, 0::2], flat[:, 1::2]).view(batch, -1, width // 2, 2, channels)
        pooled.append(torch.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1]))
    mean, square = sums.view(2, batch, width, norm.num_groups, -1).mean((2, 4)) / height
    scale = torch.rsqrt(square - mean * mean + norm.eps)[..., None] * norm.weight.view(norm.num_groups, -1)
    offset = norm.bias.view(norm.num_groups, -1) - mean[..., None] * scale
    scale, offset = (v.float().view(batch, channels, 1, 1) for v in (scale, offset))
    return torch.addcmul(offset, torch.cat(pooled, dim=1).permute(0, 3, 1, 2), scale)


class ChannelAttention(nn.Module):
    """Channel means of all five scales, a 1-D convolution of three taps across them, one linear layer a scale."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        total = sum(channels)
        self.get_all_att = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        for index, width in enumerate(channels, start=1):
            self.add_module(f"att{index}", nn.Linear(total, width))

    def forward(self, scales: list[Tensor]) -> list[Tensor]:
        """Return the weight of each channel, one (batch, channels, 1, 1) a scale, 0..1."""
        pooled = torch.cat([x.mean(dim=(2, 3)) for x in scales], dim=1)
        mixed = self.get_all_att(pooled.unsqueeze(1)).squeeze(1)
        heads = [self.get_submodule(f"att{index}") for index in range(1, len(scales) + 1)]
        return [torch.sigmoid(head(mixed))[:, :, None, None] for head in heads]


class Bridge(nn.Module):
    """Spatial, then channel attention over the skip connections, each with its residual."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.catt = ChannelAttention(channels)
        self.satt = SpatialAttention()

    def forward(self, scales: list[Tensor]) -> list[Tensor]:
        """Reweight the five scales; shapes stay."""
        placed = [self.satt(x) * x for x in scales]
        summed = [x + p for x, p in zip(scales, placed, strict=True)]
        weights = self.catt(summed)
        return [torch.addcmul(p, w, s) for p, w, s in zip(placed, weights, summed, strict=True)]


class UltraLightVMUNet(nn.Module):
    """The network; see the module's text. Build it with no arguments for the published widths."""

    INPUT_TRANSFORM = "per-image min-max to 0..255"
    OUTPUT = "probability (the sigmoid is part of the network)"

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        widths = (3, *channels)
        for stage in range(1, 7):
            entrance, exit_ = widths[stage - 1], widths[stage]
            layer = nn.Conv2d(entrance, exit_, 3, padding=1) if stage <= 3 else PVMLayer(entrance, exit_)
            self.add_module(f"encoder{stage}", nn.Sequential(layer))
        self.scab = Bridge(channels[:-1])
        for stage, width in enumerate(reversed(channels[:-1]), start=1):
            entrance = channels[6 - stage]
            layer = PVMLayer(entrance, width) if stage <= 3 else nn.Conv2d(entrance, width, 3, padding=1)
            self.add_module(f"decoder{stage}", nn.Sequential(layer))
            self.add_module(f"ebn{6 - stage}", nn.GroupNorm(4, width))
            self.add_module(f"dbn{stage}", nn.GroupNorm(4, width))
        self.final = nn.Conv2d(channels[0], 1, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Return the lesion probability of each pixel.

        Args:
            x: (batch, 3, height, width) from :func:`to_network_input`; sides are multiples of 32.

        Returns:
            (batch, 1, height, width), 0..1, already a probability.
        """
        return torch.sigmoid(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """Return the numbers before the sigmoid, for losses that want them; same shape as :meth:`forward`'s."""
        skips: list[Tensor] = []
        for stage in range(1, 6):
            norm = cast(nn.GroupNorm, self.get_submodule(f"ebn{stage}"))
            x = F.gelu(_convolve_norm_pool(x, cast(nn.Sequential, self.get_submodule(f"encoder{stage}"))[0], norm))
            skips.append(x)
        skips = self.scab(skips)
        x = F.gelu(self._at("encoder6", x))
        for stage in range(1, 6):
            x = self._at(f"dbn{stage}", self._at(f"decoder{stage}", x))
            x = F.gelu(_double(x) if stage > 1 else x) + skips[5 - stage]
        return _double(self.final(x))

    def _at(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, self.get_submodule(name)(x))


def _double(x: Tensor) -> Tensor:
    """Double the sides, bilinear with aligned corners."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _initialise(module: nn.Module) -> None:
    """Draw weights as the published network does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] * module.out_channels)))
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
