"""Border B (0..8): in how many of eight sectors the pigment breaks off abruptly; and how irregular the outline is.

Abruptness is read across the edge, not along it. Irregularity is read on an outline smoothed and resampled relative to the
lesion's size, so it does not change with the lesion's size in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.abc_features.calibration import calibration
from cefm_core.abc_features.view import LesionView

SECTORS = 8
#: Points of the resampled outline; a multiple of eight.
POINTS = 256
#: Reach of the profile across the edge, and width over which the drop is taken, as shares of the diameter.
REACH, WIDTH = 0.08, 0.03
OFFSETS = 25
#: Outline points nearer than this to the end of the visible image are a cut, in pixels of the view.
CUT_PX = 3.0
#: Less of the outline than this uncut leaves the border unmeasured.
MIN_MEASURED_SHARE = 0.5
#: Box sides of the fractal dimension, in pixels of the view.
BOXES = (3, 4, 6, 8, 12, 16, 24)


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the lesion's outline as ``POINTS`` points of equal spacing, smoothed, (n, 2) x then y.

    Args:
        mask: (h, w) float32, share of lesion.
    """
    contours, _ = cv2.findContours((mask >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(contours, key=lambda c: (len(c), c[0, 0, 0], c[0, 0, 1])).reshape(-1, 2).astype(np.float64)
    return smooth_closed(resample_closed(points, POINTS), 2.0)


def resample_closed(points: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` points at equal arc length along a closed polygon; (n, 2) to (count, 2)."""
    closed = np.vstack([points, points[:1]])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(count) * length[-1] / count
    return np.stack([np.interp(at, length, closed[:, 0]), np.interp(at, length, closed[:, 1])], axis=1)


def smooth_closed(points: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a closed curve with a Gaussian of ``sigma`` points, through its Fourier descriptors."""
    spectrum = np.fft.fft(points[:, 0] + 1j * points[:, 1])
    frequency = np.fft.fftfreq(len(points))
    curve = np.fft.ifft(spectrum * np.exp(-2 * (np.pi * frequency * sigma) ** 2))
    return np.stack([curve.real, curve.imag], axis=1)


def normals(points: np.ndarray) -> np.ndarray:
    """Return unit vectors that point out of a closed curve; (n, 2)."""
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return normal if signed_area(points) > 0 else -normal


def signed_area(points: np.ndarray) -> float:
    """Return the area of a closed polygon, negative when its points run the other way round."""
    x, y = points.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def pigment_map(view: LesionView) -> np.ndarray | None:
    """Return how far each pixel lies from skin towards the lesion's colour, in CIELAB units; (h, w) float32.

    None where nothing around the lesion is visible. The scale is the line from the skin's median colour to the lesion's, so
    pale and pink lesions have an edge as well.
    """
    inside, outside = view.lab[view.inside & view.valid], view.lab[~view.inside & view.valid]
    if not len(outside):
        return None
    lesion = np.median(inside if len(inside) else view.lab[view.inside], axis=0)
    around = view.skin if view.skin is not None else np.median(outside, axis=0)
    axis = lesion - around
    smooth = cv2.GaussianBlur(view.lab, (0, 0), 0.01 * view.diameter)
    return ((smooth - around) @ (axis / max(float(np.linalg.norm(axis)), 1e-6))).astype(np.float32)


def edge_drops(view: LesionView, pigment: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the steepest loss of pigment across the edge, per outline point.

    Returns:
        (n,) loss in CIELAB units over ``WIDTH`` of the diameter; (n,) bool, whether the point is a true, visible edge.
    """
    offsets = np.linspace(-REACH, REACH, OFFSETS) * view.diameter
    at = points[:, None, :] + normals(points)[:, None, :] * offsets[None, :, None]
    x, y = at[..., 0].astype(np.float32), at[..., 1].astype(np.float32)
    profile = cv2.remap(pigment, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.remap(view.valid.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    step = max(1, round(WIDTH / (2 * REACH / (OFFSETS - 1))))
    drops = (profile[:, :-step] - profile[:, step:]).max(axis=1)
    to_end = cv2.distanceTransform(cv2.copyMakeBorder(view.in_frame.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)[
        1:-1, 1:-1
    ]
    column = np.clip(points[:, 0].round().astype(int), 0, to_end.shape[1] - 1)
    row = np.clip(points[:, 1].round().astype(int), 0, to_end.shape[0] - 1)
    return drops, (to_end[row, column] > CUT_PX) & (known.mean(axis=1) > 0.6)


def sector_of(points: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Return the sector 0..7 of each point, counted from the image's x axis around the lesion's centre."""
    angle = np.arctan2(points[:, 1] - centre[1], points[:, 0] - centre[0]) % (2 * np.pi)
    return np.minimum((angle / (2 * np.pi / SECTORS)).astype(int), SECTORS - 1)


def measure_abruptness(view: LesionView, pigment: np.ndarray | None, points: np.ndarray) -> tuple[dict, str | None]:
    """Measure B: the sum over eight sectors of how certainly the pigment breaks off there.

    Returns:
        Score and its parts, and None; or an empty dict and ``cut_by_frame`` or ``skin_not_visible``.
    """
    if pigment is None:
        return {}, "skin_not_visible"
    drops, true_edge = edge_drops(view, pigment, points)
    measured = float(true_edge.mean())
    if measured < MIN_MEASURED_SHARE:
        return {}, "cut_by_frame" if view.cut else "skin_not_visible"
    model = calibration()["border"]
    sector = sector_of(points, view.centroid)
    # A sector counts from four visible points on; with half of the outline visible, some sector always has them.
    medians = [float(np.median(drops[(sector == s) & true_edge])) for s in range(SECTORS) if ((sector == s) & true_edge).sum() >= 4]
    abrupt = 1 / (1 + np.exp(-(np.array(medians) - model["drop_cut"]) / model["drop_softness"]))
    return {
        "border_score": float(abrupt.mean() * SECTORS),
        "border_sectors_abrupt": int((abrupt >= 0.5).sum()),
        "border_sectors_measured": len(medians),
        "border_drop_median": float(np.median(drops[true_edge])),
        "border_measured_share": measured,
    }, None


def measure_irregularity(view: LesionView, points: np.ndarray) -> dict:
    """Measure how far the outline is from a smooth convex curve, by four numbers without unit."""
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    length, area = _length(points), abs(signed_area(points))
    return {
        "border_compactness": length**2 / (4 * np.pi * area),
        "border_convexity": min(1.0, _length(hull) / length),
        "border_solidity": min(1.0, area / abs(signed_area(hull))),
        "border_curvature_energy": curvature_energy(smooth_closed(points, 4.0)),
        "border_fractal_dimension": fractal_dimension(view.mask >= 0.5),
    }


def _length(points: np.ndarray) -> float:
    return float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())


def curvature_energy(points: np.ndarray) -> float:
    """Return the length times the integral of squared curvature over 4 pi squared: 1 for a circle, more for any other curve."""
    forward = np.roll(points, -1, axis=0) - points
    step = np.hypot(*forward.T)
    heading = np.arctan2(forward[:, 1], forward[:, 0])
    turn = (heading - np.roll(heading, 1) + np.pi) % (2 * np.pi) - np.pi
    spacing = np.maximum((step + np.roll(step, 1)) / 2, 1e-9)
    return float(step.sum() * (turn**2 / spacing).sum() / (4 * np.pi**2))


def fractal_dimension(inside: np.ndarray) -> float:
    """Return the box-counting dimension of the edge, about 1 for a smooth curve; (h, w) bool, working scale."""
    region = inside.astype(np.uint8)
    rows, columns = np.nonzero(region - cv2.erode(region, np.ones((3, 3), np.uint8)))
    counts = [_boxes(rows - rows.min(), columns - columns.min(), side) for side in BOXES]
    slope = np.polyfit(np.log(BOXES), np.log(counts), 1)[0]
    return float(-slope)


def _boxes(rows: np.ndarray, columns: np.ndarray, side: int) -> float:
    """Mean number of boxes that hold edge over the four corners the grid may start from, so that mirroring cannot matter."""
    ys, xs = (rows // side, (rows.max() - rows) // side), (columns // side, (columns.max() - columns) // side)
    return float(np.mean([len(np.unique(y * (len(rows) + 1) + x)) for y in ys for x in xs]))
