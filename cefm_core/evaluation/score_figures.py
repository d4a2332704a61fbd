"""Pictures of scores: ROC curve with its band, reliability plot, cosine histograms of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation import figure_style as fs
from cefm_core.evaluation.calibration import reliability_bins
from cefm_core.evaluation.frame import COMBINED, Cohort
from cefm_core.evaluation.rows import Measured, find_row, format_value
from cefm_core.evaluation.selective import confidence_of, selective_risk
from cefm_core.evaluation.weighted import RankedScores, chunks

FPR_GRID = np.linspace(0, 1, 201)
SHARE_GRID = np.linspace(0.02, 1, 99)


def counts_text(cohort: Cohort) -> str:
    """Write the split and its numbers of images, e.g. ``val: 602 images, 190 melanomas``."""
    return f"{cohort.split}: {cohort.n} images, {cohort.n_positive} melanomas"


def roc_band(cohort: Cohort, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the ROC curve of the rows and the 2.5th and 97.5th percentile of the resampled curves, on ``FPR_GRID``."""
    ranked = RankedScores(cohort.target, cohort.scores(column))
    tp, fp = ranked.curve(np.ones((1, cohort.n)))
    line = np.interp(FPR_GRID, fp[0] / fp[0, -1], tp[0] / tp[0, -1])
    curves = []
    for block in chunks(cohort.weights):
        for t, f in zip(*ranked.curve(block), strict=True):
            if t[-1] and f[-1]:
                curves.append(np.interp(FPR_GRID, f / f[-1], t / t[-1]))
    low, high = np.percentile(np.array(curves), [2.5, 97.5], axis=0)
    return line, low, high


def _operating_point(cohort: Cohort, column: str, threshold: float) -> tuple[float, float]:
    called = cohort.scores(column) >= threshold
    return float(called[cohort.target == 0].mean()), float(called[cohort.target == 1].mean())


def roc_figure(cohort: Cohort, models: Mapping[str, str], rows: list[dict[str, Any]], threshold: Measured) -> bytes:
    """Draw the ROC curves of all models on one cohort, the first with its 95 % band and its operating points."""
    figure, (ax,) = fs.new_figure(6.6, 6.4)
    first = find_row(rows, next(iter(models)), cohort.split, "roc_auc")
    banded = first is not None and first["reason"] != "too_few"
    ax.plot([0, 1], [0, 1], color=fs.MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for index, (model, column) in enumerate(models.items()):
        part = cohort.scored_by(column)
        if not 0 < part.n_positive < part.n:
            continue
        tp, fp = RankedScores(part.target, part.scores(column)).curve(np.ones((1, part.n)))
        name = f"{model}: AUC {format_value(find_row(rows, model, cohort.split, 'roc_auc'))}"
        width, colour = (2.2, fs.SERIES[0]) if index == 0 else (1.3, fs.SERIES[index % len(fs.SERIES)])
        ax.plot(fp[0] / fp[0, -1], tp[0] / tp[0, -1], color=colour, linewidth=width, label=name, zorder=5 - index)
        if index == 0 and banded:
            _, low, high = roc_band(cohort, column)
            ax.fill_between(FPR_GRID, low, high, color=colour, alpha=0.14, linewidth=0, label="95 % band of the first")
    points = [(0.5, "o", "threshold 0.5")]
    if threshold.value is not None:
        points.append((threshold.value, "D", f"threshold {threshold.value:.3f}, chosen on tune for sensitivity 0.95"))
    for value, marker, name in points:
        x, y = _operating_point(cohort, next(iter(models.values())), value)
        ax.plot([x], [y], marker=marker, color=fs.MELANOMA, markeredgecolor="white", markersize=8, linestyle="none", label=name, zorder=8)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    fs.label_axes(ax, "False alarms: nevi called melanoma (1 - specificity)", "Melanomas found (sensitivity)")
    fs.legend(ax, loc="lower right")
    note = "intervals are 95 %, bootstrapped by group" if banded else "too few images for intervals"
    fs.title(figure, "Melanoma against nevus", f"ROC curve on {counts_text(cohort)}; {note}")
    return fs.png(figure)


def reliability_figure(cohort: Cohort, model: str, column: str, rows: list[dict[str, Any]]) -> bytes:
    """Draw observed share of melanomas against predicted probability, and below it where the predictions lie."""
    probability = cohort.scores(column)
    figure, (ax, below) = fs.new_figure(6.6, 7.4, rows=2, sharex=True, height_ratios=(3, 1))
    ax.plot([0, 1], [0, 1], color=fs.MUTED, linewidth=1, linestyle=(0, (4, 4)), label="perfectly calibrated")
    bins = reliability_bins(cohort.target, probability)
    x, y = np.array([b.mean_probability for b in bins]), np.array([b.observed for b in bins])
    spread = np.array([[b.observed - b.observed_low for b in bins], [b.observed_high - b.observed for b in bins]]).clip(min=0)
    ax.errorbar(x, y, yerr=spread, fmt="none", ecolor=fs.MODEL, elinewidth=1.2, alpha=0.6)
    area = 16 + 180 * np.array([b.n for b in bins]) / max(b.n for b in bins)
    ax.scatter(x, y, s=area, color=fs.MODEL, edgecolor="white", linewidth=0.8, zorder=5, label="bin of images, larger = more images")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    ax.set_ylabel("Share that were melanomas", fontsize=10, color=fs.INK)
    fs.legend(ax, loc="upper left")
    edges = np.linspace(0, 1, 31)
    groups = [probability[cohort.target == 0], probability[cohort.target == 1]]
    below.hist(
        groups,
        bins=list(edges),
        stacked=True,
        histtype="stepfilled",
        color=[fs.NEVUS, fs.MELANOMA],
        label=["nevus", "melanoma"],
        linewidth=0,
    )
    fs.label_axes(below, "Predicted probability of melanoma", "Images")
    fs.legend(below, loc="upper right", ncols=2)
    names = ("ece", "ece_by_chance", "calibration_slope")
    ece, chance, slope = (format_value(find_row(rows, model, cohort.split, name)) for name in names)
    said = f"{counts_text(cohort)}; bars: 95 % (Wilson)\nECE {ece}, by chance alone {chance}\nSlope {slope}"
    fs.title(figure, "Does the probability keep its word?", said)
    return fs.png(figure)


def risk_figure(cohort: Cohort, column: str, rows: list[dict[str, Any]]) -> bytes:
    """Draw the share of wrong answers against the share of images answered, surest first, and where the model's own rules stand."""
    probability = cohort.scores(column)
    wrong = ((probability >= 0.5) != (cohort.target == 1)).astype(np.float64)
    confidence = confidence_of(probability)
    share, risk = selective_risk(np.ones((1, cohort.n)), confidence, wrong)
    drawn = [
        np.interp(SHARE_GRID, s, r)
        for block in chunks(cohort.weights)
        for s, r in zip(*selective_risk(block, confidence, wrong), strict=True)
    ]
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    figure, (ax,) = fs.new_figure(7.2, 5.2)
    ax.fill_between(100 * SHARE_GRID, 100 * low, 100 * high, color=fs.MODEL, alpha=0.14, linewidth=0, label="95 % band")
    ax.plot(100 * share[0], 100 * risk[0], color=fs.MODEL, linewidth=2, label="least sure images declined first")
    ax.axhline(100 * wrong.mean(), color=fs.MUTED, linewidth=1.2, linestyle=(0, (4, 4)), label="declining by chance")
    for metric, accuracy, marker, name in (
        ("abstain_share", "accuracy_where_answered", "D", "where the model does not abstain"),
        ("conformal_single_share", "conformal_single_accuracy", "o", "where the prediction set holds one class"),
    ):
        found = [find_row(rows, COMBINED, cohort.split, m) for m in (metric, accuracy)]
        if all(row is not None and row["value"] is not None for row in found):
            first, second = (row["value"] for row in found if row is not None)
            x = 1 - first if metric == "abstain_share" else first
            style: Any = {"markeredgecolor": "white", "markersize": 9, "linestyle": "none", "zorder": 8}
            ax.plot([100 * x], [100 * (1 - second)], marker=marker, color=fs.MELANOMA, label=name, **style)
    ax.set(xlim=(0, 101), ylim=(0, max(5.0, 1.15 * 100 * float(high.max()))))
    fs.label_axes(ax, "Images answered, %", "Answers that are wrong, %")
    fs.legend(ax, loc="upper left")
    area = format_value(find_row(rows, COMBINED, cohort.split, "risk_coverage_area"))
    fs.title(figure, "What does declining buy?", f"{counts_text(cohort)}; answer at 0.5; area under the curve {area}")
    return fs.png(figure)


def cosine_figure(diagnostics: Mapping[str, Any]) -> bytes | None:
    """Draw the cosines of positive and negative pairs, before training (where given) and after; None without pairs.

    Args:
        diagnostics: ``positive_cosines`` and ``negative_cosines``, and optionally ``positive_cosines_before`` and
            ``negative_cosines_before``, each of shape (pairs,) in -1..1; ``split`` names where they were taken.
    """
    panels = []
    for suffix, name in (("_before", "Before training"), ("", "After training")):
        pair = [np.asarray(diagnostics.get(f"{kind}_cosines{suffix}", ()), dtype=np.float64) for kind in ("positive", "negative")]
        if all(values.size for values in pair):
            panels.append((name, pair))
    if not panels:
        return None
    figure, axes = fs.new_figure(5.0 * len(panels) + 1.2, 4.4, columns=len(panels), sharey=True)
    edges = np.linspace(-1, 1, 61)
    tallest = max(np.histogram(values, edges)[0].max() / values.size for _, pair in panels for values in pair)
    for ax, (name, pair) in zip(axes, panels, strict=True):
        for values, colour, kind in zip(pair, (fs.MODEL, fs.SHORTCUT), ("image with its own A, B, C", "with another image's"), strict=True):
            share = np.full(values.size, 1 / values.size)
            ax.hist(
                values,
                bins=list(edges),
                weights=share,
                histtype="stepfilled",
                color=colour,
                alpha=0.55,
                linewidth=0,
                label=f"{kind}: mean {values.mean():.2f}",
            )
            ax.axvline(values.mean(), ymax=0.74, color=colour, linewidth=1.6)
        ax.set_title(name, fontsize=11, color=fs.INK, loc="left")
        fs.label_axes(ax, "Cosine of image and clinical embedding", "Share of pairs" if ax is axes[0] else "")
        ax.set_xlim(-1, 1)
        fs.legend(ax, loc="upper left")
    axes[0].set_ylim(0, 1.35 * tallest)
    where = f"pairs of {diagnostics['split']}" if diagnostics.get("split") else "held-out pairs"
    fs.title(figure, "Do an image and its own measurements lie close together?", where)
    return fs.png(figure)
