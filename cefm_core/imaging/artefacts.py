"""What lies between the camera and the skin: hair, dark corners, ink and rulers, glare.

The masks serve to stratify results and to keep such pixels out of colour statistics. They are screening estimates from plain
image operations on one image; removing artefacts (inpainting) does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.imaging.rulers import ruler_mask

WORKING_SIDE_PX = 448


@dataclass(frozen=True)
class Artefacts:
    """Artefact masks of one image, each bool (H, W) at the image's own size.

    Attributes:
        hair: Dark hairs and stubble, as thin elongated dark structures.
        vignette: Dark frame or dark corners of the dermoscope's field.
        ink_or_ruler: Skin-marker strokes, coloured stickers, printed scales.
        glare: Specular reflections and blown-out light.
    """

    hair: np.ndarray
    vignette: np.ndarray
    ink_or_ruler: np.ndarray
    glare: np.ndarray

    @property
    def any(self) -> np.ndarray:
        """Union of all artefacts, bool (H, W)."""
        return self.hair | self.vignette | self.ink_or_ruler | self.glare


def find_artefacts(rgb: np.ndarray) -> Artefacts:
    """Find artefacts at a working size (long side at most 448 px) and return their masks at the image's size.

    Args:
        rgb: uint8 (H, W, 3).
    """
    height, width = rgb.shape[:2]
    small = reduce_to(rgb, WORKING_SIDE_PX)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    vignette = vignette_mask(small)
    glare = glare_mask(small) & ~vignette
    ruler = ruler_mask(lab[..., 0], vignette)
    ink = (ink_mask(lab, vignette) | sticker_mask(lab, vignette)) & ~vignette
    hair = hair_mask(lab[..., 0], vignette) & ~ruler & ~ink
    return Artefacts(*(_enlarge(mask, height, width) for mask in (hair, vignette, ink | ruler, glare)))


def reduce_to(rgb: np.ndarray, long_side_px: int) -> np.ndarray:
    """Shrink an image (H, W, ...) so that its long side is at most ``long_side_px``; never enlarge it."""
    height, width = rgb.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, (max(round(width * scale), 1), max(round(height * scale), 1)), interpolation=cv2.INTER_AREA)


def _enlarge(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a bool mask to (height, width) by nearest neighbour (pixel centres)."""
    if not mask.any():
        return np.zeros((height, width), bool)
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return mask[:, columns][rows]


def _darkest_and_brightest(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest channel of each pixel, uint8 (H, W) each."""
    red, green, blue = cv2.split(rgb)
    return cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)


def vignette_mask(rgb: np.ndarray) -> np.ndarray:
    """Mark dark regions that grow from the picture's corners or sides and stay outside its middle.

    A dark lesion that runs out of the frame also touches the border; it reaches into the middle, a vignette does not.
    """
    height, width = rgb.shape[:2]
    value = cv2.blur(_darkest_and_brightest(rgb)[1], (5, 5))
    dark = value < max(45.0, 0.36 * float(np.percentile(value[::3, ::3], 90)))
    if not (dark[0].any() or dark[-1].any() or dark[:, 0].any() or dark[:, -1].any()):
        return np.zeros_like(dark)
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    # 1 on the circle through the middle of the long sides' ends, as wide as the picture.
    radius = np.hypot(x, y * height / width) if width >= height else np.hypot(x * width / height, y)
    _, labels, _, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=4)
    found = np.zeros_like(dark)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    for label in edge[edge > 0]:
        region = labels == label
        outside = float((radius[region] > 0.72).mean())
        at_corner = region[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        if outside > 0.9 and (at_corner or float(np.median(radius[region])) > 0.93):
            found |= region
    return found


def glare_mask(rgb: np.ndarray) -> np.ndarray:
    """Mark blown-out pixels and small bright colourless spots that stand out from their neighbourhood."""
    darkest, brightest = _darkest_and_brightest(rgb)
    side = _odd(max(rgb.shape[:2]) * 0.035)
    tophat = cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8))
    # Skin seen between hairs also stands out; a reflection is brighter than the skin itself.
    brighter_than_skin = darkest > max(150.0, float(np.percentile(darkest[::3, ::3], 80)) + 25)
    return (darkest > 246) | ((tophat > 40) & (brightest - darkest < 60) & brighter_than_skin)


def hair_mask(lightness: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Mark dark lines: black-hat with lines of four orientations, hysteresis, then only long components that are thin or
    a sparse tangle.

    Args:
        lightness: L of CIELAB, uint8 (H, W), 0..255.
        excluded: Pixels not to be judged, bool (H, W).
    """
    side = max(lightness.shape)
    smooth = cv2.GaussianBlur(lightness, (3, 3), 0)
    response = _line_blackhat(smooth, _odd(side * 0.035))
    response[cv2.dilate(excluded.view(np.uint8), np.ones((13, 13), np.uint8)) > 0] = 0
    response[:4], response[-4:], response[:, :4], response[:, -4:] = 0, 0, 0, 0
    strong, weak = response > 22, response > 11
    count, labels, stats, _ = cv2.connectedComponentsWithStats(weak.view(np.uint8), connectivity=8)
    seeds = np.bincount(labels[strong], minlength=count)
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    area = stats[:, cv2.CC_STAT_AREA]
    filled = area / (stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT])
    thin = (area / np.maximum(length, 1) < 0.008 * side) | (filled < 0.16)
    keep = (length > 0.06 * side) & thin & (seeds > 0.2 * area)
    keep[0] = False
    return keep[labels]


def _line_blackhat(grey: np.ndarray, length: int) -> np.ndarray:
    """Return how much darker each pixel is than lines through its flanks: the best of four orientations, uint8 (H, W)."""
    best = np.zeros_like(grey)
    reach = length // 2
    for angle in np.arange(0, 180, 45):
        kernel = np.zeros((length, length), np.uint8)
        dx, dy = reach * np.cos(np.radians(angle)), reach * np.sin(np.radians(angle))
        cv2.line(kernel, (round(reach - dx), round(reach - dy)), (round(reach + dx), round(reach + dy)), 1)
        np.maximum(best, cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel), out=best)
    return best


def ink_mask(lab: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Mark thin blue, violet or green strokes: far less yellow, or far less red, than their surroundings.

    Args:
        lab: CIELAB in OpenCV's 8-bit coding, uint8 (H, W, 3).
        excluded: Pixels not to be judged, bool (H, W).
    """
    side = _odd(max(lab.shape[:2]) * 0.05)
    kernel = np.ones((side, side), np.uint8)
    yellow = cv2.GaussianBlur(lab[..., 2], (5, 5), 0)
    red = cv2.GaussianBlur(lab[..., 1], (5, 5), 0)
    bluer = cv2.morphologyEx(yellow, cv2.MORPH_BLACKHAT, kernel)
    greener = cv2.morphologyEx(red, cv2.MORPH_BLACKHAT, kernel)
    typical_yellow = float(np.median(yellow[::3, ::3][~excluded[::3, ::3]])) if not excluded[::3, ::3].all() else 128.0
    blue_ink = (bluer > 8) & (yellow < min(132.0, typical_yellow - 8))
    green_ink = (greener > 14) & (red < 122)
    typical_lightness = float(np.median(lab[::3, ::3, 0]))
    not_in_dark_lesion = lab[..., 0] > 0.5 * typical_lightness
    return _drop_small((blue_ink | green_ink) & not_in_dark_lesion, 0.0002)


def sticker_mask(lab: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Mark large, strongly coloured or evenly coloured patches that reach in from the border and are no colour of skin."""
    lightness, a, b = cv2.split(lab)  # a and b are offset by 128
    unlike_skin = (a < 122) | (b < 106) | ((b > 180) & (b > 1.6 * a.astype(np.float32) - 77))
    unlike_skin &= ~excluded & (lightness > 75)
    patches = cv2.morphologyEx(unlike_skin.view(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(patches, connectivity=8)
    height, width = labels.shape
    left, top, w, h, area = (stats[:, column] for column in range(5))
    touches = (left == 0) | (top == 0) | (left + w == width) | (top + h == height)
    keep = touches & (area > 0.004 * height * width)
    keep[0] = False
    return keep[labels]


def _drop_small(mask: np.ndarray, share: float) -> np.ndarray:
    """Remove components below ``share`` of the picture's area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= max(share * mask.size, 4)
    keep[0] = False
    return keep[labels]


def _odd(length: float) -> int:
    """Return the nearest odd integer of at least 3."""
    return max(2 * int(length / 2) + 1, 3)
