"""Where in an image the image model finds its score: integrated gradients, and a test whether the map tells the truth.

The map shares the difference between the score of an image and that of the same image out of focus among the patches of the lesion crop
(Sundararajan, Taly and Yan 2017; the shares add up). The deletion test (Petsiuk, Das and Saenko 2018) blurs the patches the map calls
important first and watches the score fall; a map that is worth nothing makes it fall no faster than chance does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cefm_core.alignment.encoder import Encoder
from cefm_core.alignment.models import LoadedModels
from cefm_core.alignment.preprocess import lesion_box, normalise, resize_view
from cefm_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 8
BLUR_SHARE = 0.12
FRACTIONS = tuple(float(f) for f in np.linspace(0, 0.5, 6))


class Score(Protocol):
    """A differentiable score of one image from its views."""

    def __call__(self, views: Tensor) -> Tensor:
        """Return the score, a scalar, of views (v, 3, side, side)."""


@dataclass(frozen=True)
class ImageScore:
    """Log odds of melanoma by the image classifier, mean over seeds.

    Attributes:
        encoder: The encoder the checkpoint was trained with.
        models: The loaded checkpoint, with an image classifier.
    """

    encoder: Encoder
    models: LoadedModels

    def __call__(self, views: Tensor) -> Tensor:
        """Return the log odds from normalised views (v, 3, side, side), in the encoder's order."""
        import torch

        embedding = self.encoder._pooled(views).reshape(-1)
        scale = self.models.scales.embedding
        x = (embedding.double() - torch.from_numpy(scale.mean)) / torch.from_numpy(scale.std)
        if scale.kept:
            x = torch.from_numpy(scale.components[: scale.kept]) @ x / scale.unit
        network, seeds = self.models.network, len(self.models.facts["seeds"])
        both = network.image_classifier(network.image_head(x.float().expand(seeds, 1, -1)))[:, 0]
        return (both[:, 1] - both[:, 0]).mean()


@dataclass(frozen=True)
class Views:
    """An image as the encoder sees it, and the same out of focus.

    Attributes:
        sharp: Normalised views (v, 3, side, side).
        blurred: The same, out of focus in the last view, which is the lesion crop.
        crop: The lesion crop, uint8 (side, side, 3).
        mask: The lesion in the crop, bool (side, side).
    """

    sharp: Tensor
    blurred: Tensor
    crop: np.ndarray
    mask: np.ndarray


def views_of(encoder: Encoder, rgb: np.ndarray, mask: np.ndarray) -> Views:
    """Prepare an image for :func:`patch_shares`.

    Args:
        encoder: Encoder whose views include the lesion crop.
        rgb: uint8 (H, W, 3).
        mask: bool (H, W), not empty.

    Raises:
        ConfigurationError: The encoder looks at the whole frame alone.
    """
    import cv2
    import torch

    if encoder.config.view == "frame":
        raise ConfigurationError("embed.view = frame: there is no lesion crop to make a map of; use lesion or both")
    box = lesion_box(mask)
    crop = resize_view(rgb, box, encoder.spec)
    pixels = np.ascontiguousarray(crop.permute(1, 2, 0).numpy())
    soft = cv2.GaussianBlur(pixels, (0, 0), BLUR_SHARE * encoder.spec.side_px, borderType=cv2.BORDER_REFLECT)
    frame = [resize_view(rgb, None, encoder.spec)] if encoder.config.view == "both" else []
    sharp = torch.stack([normalise(view, encoder.spec) for view in (*frame, crop)])
    blurred = sharp.clone()
    blurred[-1] = normalise(torch.from_numpy(soft).permute(2, 0, 1), encoder.spec)
    inside = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    return Views(sharp, blurred, pixels, resize_view(inside, box, encoder.spec)[0].numpy() > 127)


def patch_shares(score: Score, views: Views, patch: int, steps: int = STEPS) -> np.ndarray:
    """Return what each patch of the lesion crop adds to the score, against the blurred crop.

    Args:
        score: Differentiable score.
        views: The image.
        patch: Side of a patch in pixels.
        steps: Points on the way from blurred to sharp at which gradients are taken (midpoints).

    Returns:
        float64 (side / patch, side / patch); the sum is about ``score(sharp) - score(blurred)``.
    """
    import torch

    difference = views.sharp - views.blurred
    total = torch.zeros_like(difference[-1])
    for step in range(steps):
        point = (views.blurred + (step + 0.5) / steps * difference).requires_grad_(True)
        total += torch.autograd.grad(score(point), point)[0][-1] / steps
    shares = (total * difference[-1]).sum(0).double().numpy()
    count = shares.shape[0] // patch
    return shares[: count * patch, : count * patch].reshape(count, patch, count, patch).sum(axis=(1, 3))


def deletion_curve(score: Score, views: Views, order: np.ndarray, patch: int, fractions: tuple[float, ...] = FRACTIONS) -> np.ndarray:
    """Return the score as patches of the lesion crop are blurred in order, float64 (fractions,).

    Args:
        score: Score.
        views: The image.
        order: Flat patch numbers, first deleted first.
        patch: Side of a patch in pixels.
        fractions: Shares of the patches deleted, rising.
    """
    import torch

    side = views.sharp.shape[-1] // patch
    values = []
    with torch.no_grad():
        for fraction in fractions:
            gone = np.zeros(side * side, np.bool_)
            gone[order[: round(fraction * len(order))]] = True
            plane = torch.from_numpy(np.kron(gone.reshape(side, side), np.ones((patch, patch), np.bool_)))
            point = views.sharp.clone()
            point[-1] = torch.where(plane, views.blurred[-1], views.sharp[-1])
            values.append(float(score(point)))
    return np.array(values)


@dataclass(frozen=True)
class Judged:
    """A map and what the deletion test says of it.

    Attributes:
        shares: float64 (g, g), towards melanoma where positive.
        by_map: Score towards the predicted class as patches that speak for it are deleted first; (fractions,).
        by_chance: The same in an order by chance.
        inside: Share of the map's absolute weight that lies on patches of the lesion, 0..1.
        lesion: Share of the patches that are lesion, 0..1.
    """

    shares: np.ndarray
    by_map: np.ndarray
    by_chance: np.ndarray
    inside: float
    lesion: float


def judge_map(score: Score, views: Views, patch: int, seed: int) -> Judged:
    """Make the map of an image and put it to the test; ``seed`` decides the order by chance."""
    shares = patch_shares(score, views, patch)
    order = np.random.default_rng(seed).permutation(shares.size)
    by_chance = deletion_curve(score, views, order, patch)
    sign = 1.0 if by_chance[0] >= 0 else -1.0
    by_map = deletion_curve(score, views, np.argsort(-sign * shares.ravel(), kind="stable"), patch)
    side = shares.shape[0]
    cells = views.mask[: side * patch, : side * patch].reshape(side, patch, side, patch).mean(axis=(1, 3))
    weight = np.abs(shares)
    inside = float((weight * cells).sum() / max(weight.sum(), 1e-12))
    return Judged(shares, sign * by_map, sign * by_chance, inside, float(cells.mean()))


def patch_side(encoder: Encoder) -> int:
    """Return the side of the encoder's patches in pixels."""
    size: Any = encoder.network.patch_embed.patch_size
    return int(size[0])
