"""What may befall a photograph on its way: named, seeded corruptions, strong ones, at the edge of what a reader would still use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Image = np.ndarray
Corruption = Callable[[Image, np.random.Generator], Image]
BLUR_SIGMA_SHARE = 0.008
EXPOSURE_STOPS = 0.7
CAST = (1.12, 1.0, 0.85)
JPEG_QUALITY = 12
HAIRS = 14
ROTATION_DEG = 37.0
NOISE_SIGMA = 14.0


def blur(rgb: Image, rng: np.random.Generator) -> Image:
    """Out of focus: a Gaussian of 0.8 % of the shorter side."""
    import cv2

    return cv2.GaussianBlur(rgb, (0, 0), BLUR_SIGMA_SHARE * min(rgb.shape[:2]), borderType=cv2.BORDER_REFLECT)


def _exposed(rgb: Image, gains: np.ndarray) -> Image:
    """Multiply in linear light (gamma 2.2) and clip, as a sensor does."""
    linear = (rgb / 255.0) ** 2.2 * gains
    return np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def brighter(rgb: Image, rng: np.random.Generator) -> Image:
    """Exposed by 0.7 stops too much."""
    return _exposed(rgb, np.full(3, 2.0**EXPOSURE_STOPS))


def darker(rgb: Image, rng: np.random.Generator) -> Image:
    """Exposed by 0.7 stops too little."""
    return _exposed(rgb, np.full(3, 2.0**-EXPOSURE_STOPS))


def colour_cast(rgb: Image, rng: np.random.Generator) -> Image:
    """A warm white balance: red up by 12 %, blue down by 15 % in linear light."""
    return _exposed(rgb, np.array(CAST))


def noise(rgb: Image, rng: np.random.Generator) -> Image:
    """Sensor noise with a standard deviation of 14 grey levels."""
    return np.rint(np.clip(rgb + rng.normal(0, NOISE_SIGMA, rgb.shape), 0, 255)).astype(np.uint8)


def jpeg(rgb: Image, rng: np.random.Generator) -> Image:
    """Compressed as JPEG of quality 12."""
    import io

    from PIL import Image as Pillow

    data = io.BytesIO()
    Pillow.fromarray(rgb).save(data, "JPEG", quality=JPEG_QUALITY)
    return np.array(Pillow.open(data).convert("RGB"))


def hair(rgb: Image, rng: np.random.Generator) -> Image:
    """Fourteen dark, gently bent hairs across the whole frame."""
    import cv2

    out = rgb.copy()
    height, width = rgb.shape[:2]
    for _ in range(HAIRS):
        start, angle, bend = rng.uniform((0, 0), (width, height)), rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6)
        along = np.linspace(-1, 1, 40) * max(height, width)
        direction, normal = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        points = start + along[:, None] * direction + (bend * along**2 / max(height, width))[:, None] * normal
        colour = tuple(int(v) for v in rng.uniform((15, 10, 8), (60, 40, 30)))
        thickness = max(1, round(float(rng.uniform(0.004, 0.009)) * min(height, width)))
        cv2.polylines(out, [np.rint(points).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
    return out


def rotation(rgb: Image, rng: np.random.Generator) -> Image:
    """Turned by 37 degrees; what comes into view is a mirror image of the rim."""
    import cv2

    height, width = rgb.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), ROTATION_DEG, 1.0)
    return cv2.warpAffine(rgb, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


CORRUPTIONS: dict[str, Corruption] = {
    "blur": blur,
    "brighter": brighter,
    "darker": darker,
    "colour cast": colour_cast,
    "noise": noise,
    "jpeg": jpeg,
    "hair": hair,
    "rotation": rotation,
}


def corrupt(rgb: Image, name: str, image_id: str) -> Image:
    """Return the corrupted image, uint8 (H, W, 3); chance depends on the image's name alone.

    Args:
        rgb: uint8 (H, W, 3).
        name: A key of ``CORRUPTIONS``.
        image_id: Decides where hairs lie and what the noise is.
    """
    seed = [list(CORRUPTIONS).index(name), *image_id.encode()]
    return CORRUPTIONS[name](rgb, np.random.default_rng(seed))
