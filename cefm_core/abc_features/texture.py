"""Filter responses from which structures are told: dots and globules are blobs, networks and streaks are lines."""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.abc_features.view import LesionView

#: Scales of the filters, as shares of the lesion's diameter.
SCALES = (0.006, 0.01, 0.016, 0.026)
#: The rim is the part of the lesion nearer to its edge than this share of the diameter.
RIM = 0.12


def hessian(lightness: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the second derivatives (xx, xy, yy) of lightness at a scale in pixels, times its square; (h, w) float32 each."""
    smooth = cv2.GaussianBlur(lightness, (0, 0), sigma)
    factor = sigma**2
    return tuple(cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=3) * (factor / 4) for dx, dy in ((2, 0), (1, 1), (0, 2)))  # type: ignore[return-value]


def curvatures(lightness: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the greater and smaller eigenvalue of the Hessian and the direction of the greater, in radians.

    A dark line has a great first and a small second value; a dark blob has two great ones.
    """
    xx, xy, yy = hessian(lightness, sigma)
    mean, spread = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return mean + spread, mean - spread, 0.5 * np.arctan2(2 * xy, xx - yy)


def radial_share(direction: np.ndarray, strength: np.ndarray, view: LesionView, where: np.ndarray) -> float:
    """Return how far dark lines run towards the lesion's edge, -1 (along it) to 1 (across it), weighted by their strength."""
    y, x = np.nonzero(where)
    outward = np.arctan2(y - view.centroid[1], x - view.centroid[0])
    weight = strength[where]
    # The greatest curvature is across a line, so a radial line has it at right angles to the outward direction.
    return float(-(weight * np.cos(2 * (direction[where] - outward))).sum() / max(float(weight.sum()), 1e-6))


def texture_features(view: LesionView) -> dict[str, float]:
    """Return the filter statistics of the lesion and of its rim, named by filter, scale and statistic."""
    lightness = np.ascontiguousarray(view.lab[..., 0])
    usable = view.inside & view.valid & (view.depth > 0.02 * view.diameter)
    if not usable.any():
        usable = view.inside
    pixels = np.flatnonzero(usable)
    rim = usable & (view.depth < RIM * view.diameter)
    contrast = float(np.std(cv2.GaussianBlur(lightness, (0, 0), 0.02 * view.diameter)[usable])) + 1.0
    features = {"contrast": contrast, "lightness": float(lightness[usable].mean())}
    for number, scale in enumerate(SCALES):
        high, low, direction = curvatures(lightness, scale * view.diameter)
        line, blob, bright = np.maximum(high, 0) - np.abs(low), np.maximum(low, 0), np.maximum(-high, 0)
        for name, response in (("line", np.maximum(line, 0)), ("blob", blob), ("bright", bright)):
            inside = response.ravel()[pixels]
            high_share, top_share = np.percentile(inside, [95, 99])
            features[f"{name}_{number}_mean"] = float(np.log(inside.mean() + 1e-3))
            features[f"{name}_{number}_p95"] = float(np.log(high_share + 1e-2))
            features[f"{name}_{number}_p99"] = float(np.log(top_share + 1e-2))
        outer = rim if rim.any() else usable
        features[f"rim_line_{number}"] = float(np.log(np.maximum(line, 0)[outer].mean() + 1e-3)) - features[f"line_{number}_mean"]
        features[f"radial_{number}"] = radial_share(direction, np.maximum(line, 0), view, outer)
    return features
