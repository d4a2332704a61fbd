"""How a view of an image becomes the input of a vision transformer.

Nothing here knows a network; the numbers come from the model's own data configuration (see :class:`InputSpec`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Box = tuple[int, int, int, int]
LESION_MARGIN = 0.2


@dataclass(frozen=True)
class InputSpec:
    """Preprocessing of one model, as its own data configuration states it.

    Attributes:
        side_px: Side of the square input, in pixels.
        mean: Channel means subtracted, on the 0..1 scale, RGB.
        std: Channel standard deviations divided by, on the 0..1 scale, RGB.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``; resizing is anti-aliased.
        crop_pct: Share of the resized image that the centre crop keeps, 0..1.
        crop_mode: ``center`` (short side fitted, centre cut out) or ``squash`` (both sides fitted).
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def as_facts(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def lesion_box(mask: np.ndarray, margin: float = LESION_MARGIN) -> Box | None:
    """Return the square around a lesion, widened by a margin and moved into the frame.

    A square longer than a side of the frame is cut to that side, so that every pixel of the crop is a real one.

    Args:
        mask: Lesion mask, bool (H, W).
        margin: Skin kept on each side, as a share of the longer side of the lesion's box.

    Returns:
        (x0, y0, x1, y1) in pixels, end exclusive; None when the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    height, width = mask.shape
    longest = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    side = int(round(longest * (1 + 2 * margin)))
    x0, x1 = _interval(int(columns[0]) + int(columns[-1]) + 1, side, width)
    y0, y1 = _interval(int(rows[0]) + int(rows[-1]) + 1, side, height)
    return x0, y0, x1, y1


def _interval(twice_centre: int, length: int, limit: int) -> tuple[int, int]:
    """Place an interval of ``length`` around a centre, moved (then cut) to lie within 0..limit."""
    length = min(length, limit)
    start = min(max((twice_centre - length) // 2, 0), limit - length)
    return start, start + length


def resize_view(rgb: np.ndarray, box: Box | None, spec: InputSpec) -> torch.Tensor:
    """Cut a view out of an image and bring it to the model's input size.

    The whole frame goes through the model's own crop rule; a box is stretched onto the input, since it is square
    unless the frame cut it.

    Args:
        rgb: Image, uint8 (H, W, 3).
        box: The crop, or None for the whole frame.
        spec: The model's preprocessing.

    Returns:
        uint8 tensor (3, side, side).
    """
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transform

    mode = InterpolationMode(spec.interpolation)
    image = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).permute(2, 0, 1)
    if box is not None:
        x0, y0, x1, y1 = box
        image = image[:, y0:y1, x0:x1]
        return transform.resize(image, [spec.side_px, spec.side_px], mode, antialias=True)
    scaled = max(spec.side_px, round(spec.side_px / spec.crop_pct))
    target = [scaled, scaled] if spec.crop_mode == "squash" else _fitted(image.shape[-2:], scaled)
    image = transform.resize(image, target, mode, antialias=True)
    return transform.center_crop(image, [spec.side_px, spec.side_px])


def _fitted(shape: tuple[int, ...], short_side: int) -> list[int]:
    """Return (height, width) scaled so that the shorter one is ``short_side``."""
    height, width = shape
    scale = short_side / min(height, width)
    return [max(short_side, round(height * scale)), max(short_side, round(width * scale))]


def normalise(pixels: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Scale uint8 (..., 3, side, side) to 0..1, subtract the model's mean and divide by its standard deviation."""
    import torch

    mean = torch.tensor(spec.mean).view(3, 1, 1)
    std = torch.tensor(spec.std).view(3, 1, 1)
    return (pixels.to(torch.float32) / 255.0 - mean) / std
