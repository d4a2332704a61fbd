"""Maps of what each patch adds to the image score, drawn over the lesion, and the deletion test that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cefm_core.alignment.saliency import FRACTIONS, Judged, Views
from cefm_core.evaluation import figure_style as fs

RESAMPLES = 1000


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return mean and 95 % bootstrap interval over images."""
    rng = np.random.default_rng(999)
    drawn = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def deletion_areas(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean fall of each image's score over the deleted shares, by map and by chance, log odds, (images,)."""
    width = FRACTIONS[-1] - FRACTIONS[0]
    falls = [[float(np.trapezoid(c[0] - c, FRACTIONS)) / width for c in (j.by_map, j.by_chance)] for j in judged]
    both = np.array(falls).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def maps_text(judged: Sequence[Judged]) -> str:
    """Write the figures of the deletion test and the share inside the lesion."""
    if not judged:
        return "No image has a lesion mask."
    by_map, by_chance = deletion_areas(judged)
    measures = (
        ("mean fall of the score, patches deleted by the map (log odds)", by_map),
        ("the same, deleted by chance", by_chance),
        ("difference, paired", by_map - by_chance),
        ("share of the map's weight on the lesion", np.array([j.inside for j in judged])),
        ("share of the crop that is lesion", np.array([j.lesion for j in judged])),
    )
    lines = [f"| {name} | {m:.3f} ({low:.3f} to {high:.3f}) |" for name, values in measures for m, low, high in [_interval(values)]]
    return "\n".join(
        [f"| {len(judged)} images, 0 to {100 * FRACTIONS[-1]:.0f} % of the patches deleted | mean, 95 % |", "| --- | --- |", *lines]
    )


def deletion_figure(judged: Sequence[Judged]) -> bytes:
    """Draw the mean score towards the predicted class as patches are deleted, by the map and by chance, with 95 % bands."""
    figure, (ax,) = fs.new_figure(7.0, 4.8)
    x = 100 * np.array(FRACTIONS)
    for name, curves, colour in (
        ("by chance", np.array([j.by_chance for j in judged]), fs.BASELINE),
        ("most important first, by the map", np.array([j.by_map for j in judged]), fs.MODEL),
    ):
        bands = np.array([_interval(column) for column in curves.T])
        ax.fill_between(x, bands[:, 1], bands[:, 2], color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, bands[:, 0], color=colour, linewidth=2, marker="o", markersize=4, label=name)
    ax.axhline(0, color=fs.MUTED, linewidth=1, linestyle=(0, (4, 4)))
    fs.label_axes(ax, "Patches of the lesion crop blurred, %", "Log odds towards the class predicted")
    fs.legend(ax, loc="upper right")
    fs.title(figure, "Do the maps tell the truth?", f"deletion test on {len(judged)} images; mean with 95 % band over images")
    return fs.png(figure)


def maps_figure(drawn: Sequence[tuple[str, str, Views, Judged]]) -> bytes:
    """Draw lesion crops and, below each, what every patch adds; red towards melanoma, blue away from it."""
    columns = max(1, len(drawn))
    figure, axes = fs.new_figure(2.4 * columns + 0.6, 6.0, rows=2, columns=columns)
    for ax in axes:
        ax.axis("off")
    for index, (image_id, diagnosis, views, found) in enumerate(drawn):
        above, below = axes[index], axes[columns + index]
        above.imshow(views.crop)
        above.set_title(f"{image_id}\n{diagnosis}", fontsize=9, color=fs.INK, loc="left")
        _overlay(below, views, found)
    fs.title(figure, "What each patch adds to the image score", "red: towards melanoma, blue: away from it; line: lesion mask")
    return fs.png(figure)


def _overlay(ax: Any, views: Views, found: Judged) -> None:
    side = views.crop.shape[0]
    limit = max(float(np.percentile(np.abs(found.shares), 99)), 1e-9)
    grey = views.crop.mean(axis=2)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    ax.imshow(found.shares, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.55, extent=extent, interpolation="bilinear")
    if views.mask.any() and not views.mask.all():
        ax.contour(views.mask, levels=[0.5], colors=[fs.INK], linewidths=1.0)
    ax.set_title(f"on the lesion {100 * found.inside:.0f} %\n(lesion {100 * found.lesion:.0f} % of the crop)", fontsize=8.5, loc="left")
