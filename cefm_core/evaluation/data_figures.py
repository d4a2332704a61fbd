"""Pictures of the data: masks by source, features by class, shortcuts beside the model, strata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation import figure_style as fs
from cefm_core.evaluation.frame import COMBINED, HELD_OUT, Cohort
from cefm_core.evaluation.left_out import SPLIT as LEFT_OUT
from cefm_core.evaluation.rows import find_row
from cefm_core.evaluation.score_figures import counts_text
from cefm_core.evaluation.sentinel import SentinelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURE_NAMES: dict[str, str] = {
    "asymmetry_score": "Asymmetry (0 to 2)",
    "border_score": "Border (0 to 8)",
    "colour_count": "Colours (1 to 6)",
    "structure_count": "Structures (1 to 5)",
    "tds": "Total dermoscopy score",
    "a_grey": "A, paper's profile (grey levels)",
    "b2_mean_curvature": "B2, paper's profile (1/px)",
    "hue_std": "C, hue spread",
    "saturation_std": "C, saturation spread",
    "value_std": "C, value spread",
}
MAX_STRATA = 40


def _dice_groups(frame: pd.DataFrame) -> list[tuple[str, str, NDArray[np.float64]]]:
    """Return (source, mask, Dice of its images) for every source and mask table with reference masks."""
    groups = []
    for source in sorted(frame["source"].dropna().astype(str).unique()):
        inside = (frame["source"].astype("string") == source).fillna(False)
        for mask in ("coarse", "refined"):
            column = f"{mask}.reference_dice"
            if column in frame.columns:
                values = pd.to_numeric(frame.loc[inside, column], errors="coerce").dropna().to_numpy(dtype=np.float64)
                if values.size:
                    groups.append((source, mask, values))
    return groups


def dice_figure(frame: pd.DataFrame) -> bytes | None:
    """Draw the Dice of coarse and refined masks for each source of the held-out rows; None without reference masks."""
    groups = _dice_groups(frame)
    if not groups:
        return None
    sources = list(dict.fromkeys(source for source, _, _ in groups))
    figure, (ax,) = fs.new_figure(8.2, 1.9 + 0.85 * len(sources))
    colours = {"coarse": fs.BASELINE, "refined": fs.MODEL}
    for source, mask, values in groups:
        y = -sources.index(source) + (0.18 if mask == "coarse" else -0.18)
        _box(ax, values, y, colours[mask])
        ax.text(1.015, y, f"{mask} {values.mean():.3f}  (n {values.size})", fontsize=8.5, va="center", color=colours[mask], clip_on=False)
    ax.set_yticks([-i for i in range(len(sources))], sources)
    ax.set_xlim(max(0.0, min(0.8, *(float(values.min()) - 0.02 for _, _, values in groups))), 1.0)
    fs.label_axes(ax, "Dice with the reference mask, each image", "")
    fs.title(figure, "How well do the masks fit?", "box: middle half of the images, line: median; figures on the right: mean")
    return fs.png(figure)


def _feature_panel(ax: Axes, values: NDArray[np.float64], target: NDArray[np.int64], name: str) -> None:
    """Draw one feature's distribution by class, each class to its own total."""
    levels = np.unique(values)
    if levels.size <= 12 and np.array_equal(levels, np.round(levels)):
        edges = np.arange(levels.min() - 0.5, levels.max() + 1)
    else:
        low, high = np.percentile(values, [0.5, 99.5])
        bins = int(np.clip(np.sqrt(values.size) * 1.2, 6, 25))
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for label, colour, word in ((0, fs.NEVUS, "nevus"), (1, fs.MELANOMA, "melanoma")):
        chosen = np.clip(values[target == label], edges[0], edges[-1])
        if chosen.size:
            share = np.full(chosen.size, 1 / chosen.size)
            ax.hist(
                chosen,
                bins=list(edges),
                weights=share,
                histtype="stepfilled",
                color=colour,
                alpha=0.38,
                linewidth=0,
                label=f"{word} (n {chosen.size})",
            )
            ax.hist(chosen, bins=list(edges), weights=share, histtype="step", color=colour, linewidth=1.2)
            ax.axvline(float(np.median(chosen)), color=colour, linewidth=1.5, linestyle=(0, (3, 2)))
    ax.set_title(name, fontsize=10, color=fs.INK, loc="left")


def feature_figure(frame: pd.DataFrame) -> bytes | None:
    """Draw the distribution of each A, B, C number in melanomas and nevi; None where no labelled image has any."""
    labelled = frame[frame["target"].isin([0, 1])]
    names = [n for n in FEATURE_NAMES if f"abc.{n}" in labelled.columns and labelled[f"abc.{n}"].notna().any()]
    if not names:
        return None
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure, axes = fs.new_figure(3.1 * columns, 0.9 + 2.5 * rows, rows=rows, columns=columns)
    for ax, name in zip(axes, names, strict=False):
        numbers = pd.to_numeric(labelled[f"abc.{name}"], errors="coerce")
        known = numbers.notna()
        _feature_panel(
            ax, numbers[known].to_numpy(dtype=np.float64), labelled.loc[known, "target"].to_numpy(dtype=np.int64), FEATURE_NAMES[name]
        )
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for row in range(rows):
        axes[row * columns].set_ylabel("Share of its class", fontsize=9, color=fs.INK)
    handles, words = axes[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="upper right", ncols=2, fontsize=10, frameon=False, labelcolor=fs.INK)
    fs.title(
        figure, "The measured features in melanomas and nevi", "all labelled images; dashed: median; outermost bins hold what lies beyond"
    )
    return fs.png(figure)


def shift_figure(frame: pd.DataFrame) -> bytes | None:
    """Draw how much A, B, C and D move the clinical score of nevi and melanomas; None where nothing was explained."""
    names = [name for name in ("asymmetry", "border", "colour", "structure") if f"shift_{name}" in frame.columns]
    rows = frame[frame["target"].isin([0, 1]) & frame["split"].isin(HELD_OUT)]
    if not names or not rows[f"shift_{names[0]}"].notna().any():
        return None
    figure, (ax,) = fs.new_figure(8.2, 5.0)
    ax.axvline(0, color=fs.MUTED, linewidth=1.2)
    for index, name in enumerate(names):
        values = pd.to_numeric(rows[f"shift_{name}"], errors="coerce")
        for label, colour, offset in ((0, fs.NEVUS, 0.19), (1, fs.MELANOMA, -0.19)):
            chosen = values[(rows["target"] == label) & values.notna()].to_numpy(dtype=np.float64)
            if chosen.size:
                _box(ax, chosen, offset - index, colour)
                ax.text(
                    1.015,
                    offset - index,
                    f"median {np.median(chosen):+.2f}",
                    fontsize=9,
                    va="center",
                    color=colour,
                    transform=ax.get_yaxis_transform(),
                )
    ax.set_yticks([-i for i in range(len(names))], names)
    handles = [ax.plot([], [], marker="s", linestyle="none", color=c)[0] for c in (fs.NEVUS, fs.MELANOMA)]
    figure.legend(handles, ["nevus", "melanoma"], loc="upper right", ncols=2, fontsize=9, frameon=False, labelcolor=fs.INK)
    fs.label_axes(ax, "Shift of the log odds of melanoma (right: towards melanoma)", "")
    note = f"exact Shapley values of the clinical model on {len(rows)} held-out images; against a lesion with median measurements"
    fs.title(figure, "What moves the clinical score?", note)
    return fs.png(figure)


def _box(ax: Axes, values: NDArray[np.float64], y: float, colour: str) -> None:
    """Draw one horizontal box: middle half, median, and whiskers."""
    line = {"color": colour, "linewidth": 1.2}
    ax.boxplot(
        values,
        positions=[y],
        widths=0.28,
        orientation="horizontal",
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.45, "edgecolor": colour},
        medianprops={"color": fs.INK, "linewidth": 1.6},
        whiskerprops=line,
        capprops=line,
        flierprops={"marker": ".", "markersize": 4, "markerfacecolor": colour, "markeredgecolor": "none", "alpha": 0.6},
    )


def shortcut_figure(result: SentinelResult, cohort: Cohort, models: list[dict[str, Any]], margin: float) -> bytes | None:
    """Draw the AUC of the model beside that of every shortcut, with intervals; None where none could be computed.

    Args:
        result: What the sentinel saw.
        cohort: The cohort it watched.
        models: ``roc_auc`` rows of the models, the one under watch first.
        margin: AUC within which a shortcut raises the alarm.
    """
    bars = [(f"model: {r['model']}", r["value"], r["low"], r["high"], fs.MODEL) for r in models if r["value"] is not None]
    for s in result.scores:
        if s.auc.value is not None:
            colour = fs.SHORTCUT if s.shortcut.is_shortcut else fs.BASELINE
            bars.append((s.shortcut.label, s.auc.value, s.auc_interval.low, s.auc_interval.high, colour))
    if not models or models[0]["value"] is None or len(bars) == len(models):
        return None
    figure, (ax,) = fs.new_figure(8.2, 1.9 + 0.42 * len(bars))
    ax.axvspan(models[0]["value"] - margin, models[0]["value"], color=fs.MODEL, alpha=0.10, linewidth=0)
    ax.axvline(0.5, color=fs.MUTED, linewidth=1.2, linestyle=(0, (4, 4)))
    for index, (_, value, low, high, colour) in enumerate(bars):
        ax.barh(-index, value - 0.5, left=0.5, height=0.62, color=colour, linewidth=0)
        if low is not None:
            ax.plot([low, high], [-index, -index], color=fs.INK, linewidth=1.3, marker="|", markersize=7)
        interval = "" if low is None else f"  ({low:.2f} to {high:.2f})"
        ax.text(1.02, -index, f"{value:.3f}{interval}", va="center", fontsize=9, color=fs.INK)
    ax.set_yticks([-i for i in range(len(bars))], [name for name, *_ in bars])
    ax.set_xlim(min(0.4, *(b[1] - 0.02 if b[2] is None else b[2] - 0.02 for b in bars)), 1.0)
    ax.grid(False, axis="y")
    fs.label_axes(ax, "AUC (dashed: chance; shaded: within the margin of the model)", "")
    verdict = "ALARM: see the first line of the summary" if result.fires else "quiet: no shortcut comes near the model"
    verdict = verdict if result.judged else "too few images to judge"
    fs.title(figure, "What would the score be without looking at the lesion?", f"{counts_text(cohort)}; {verdict}")
    return fs.png(figure)


def strata_figure(rows: list[dict[str, Any]], cohort: Cohort, overall: dict[str, Any] | None) -> bytes | None:
    """Draw the AUC of every stratum that is large enough, with its interval, against the overall AUC."""
    chosen = [
        r for r in rows if r["split"] == cohort.split and r["metric"] == "roc_auc" and r["stratum"] != "all" and r["value"] is not None
    ]
    chosen = chosen[:MAX_STRATA]
    if not chosen or overall is None or overall["value"] is None:
        return None
    figure, (ax,) = fs.new_figure(8.6, 1.7 + 0.3 * len(chosen))
    beside: Any = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": fs.INK, "annotation_clip": False}
    ax.axvline(overall["value"], color=fs.MODEL, linewidth=1.3, alpha=0.8)
    ax.axvline(0.5, color=fs.MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for index, row in enumerate(chosen):
        if row["low"] is not None:
            ax.plot([row["low"], row["high"]], [-index, -index], color=fs.MODEL, linewidth=1.8, alpha=0.7, solid_capstyle="butt")
        ax.plot([row["value"]], [-index], marker="s", markersize=5.5, color=fs.MODEL, markeredgecolor="white")
        ax.annotate(f"{row['value']:.2f}", (1, -index), (12, 0), **beside)
        ax.annotate(f"{row['n_positive']} / {row['n']}", (1, -index), (100, 0), ha="right", **beside)
    ax.set_yticks([-i for i in range(len(chosen))], [r["stratum"].replace("_", " ").replace("=", ": ") for r in chosen])
    ax.set_xlim(min(0.45, *(r["value"] - 0.03 if r["low"] is None else r["low"] - 0.02 for r in chosen)), 1.0)
    ax.set_ylim(-len(chosen) + 0.4, 0.6)
    fs.label_axes(ax, "AUC with 95 % interval (line: all images; dashed: chance)", "")
    fs.title(figure, "For whom does it work?", f"{cohort.split}; on the right: AUC and melanomas / images; smaller strata are left out")
    return fs.png(figure)


def left_out_figure(rows: list[dict[str, Any]]) -> bytes | None:
    """Draw the AUC on every source with and without that source in training; None where no source was left out."""
    without = [r for r in rows if r["split"] == LEFT_OUT and r["metric"] == "roc_auc" and r["value"] is not None]
    if not without:
        return None
    mean = find_row(rows, COMBINED, LEFT_OUT, "mean_roc_auc")
    figure, (ax,) = fs.new_figure(8.6, 2.3 + 0.62 * len(without))
    ax.axvline(0.5, color=fs.MUTED, linewidth=1, linestyle=(0, (4, 4)))
    if mean is not None and mean["value"] is not None:
        ax.axvline(mean["value"], color=fs.SHORTCUT, linewidth=1.3, alpha=0.8)
    for index, row in enumerate(without):
        held_out = next((r for split in HELD_OUT if (r := find_row(rows, COMBINED, split, "roc_auc", row["stratum"])) is not None), None)
        known = held_out if held_out is not None and held_out["value"] is not None and held_out["split"] != "external" else None
        for offset, shown, colour in ((0.16, known, fs.MODEL), (-0.16, row, fs.SHORTCUT)):
            if shown is not None:
                _auc_mark(ax, offset - index, shown, colour)
    ax.set_yticks([-i for i in range(len(without))], [r["stratum"].removeprefix("source=") for r in without])
    ax.set_xlim(min(0.45, *(r["value"] - 0.03 if r["low"] is None else r["low"] - 0.02 for r in without), 1.0), 1.0)
    ax.set_ylim(-len(without) + 0.4, 0.6)
    handles = [ax.plot([], [], marker="s", linestyle="none", color=c)[0] for c in (fs.MODEL, fs.SHORTCUT)]
    words = ["held-out images of a source that training knew", "all images of a source that training never saw (line: mean)"]
    fs.label_axes(ax, "AUC with 95 % interval (dashed: chance)", "")
    figure.legend(handles, words, loc="outside lower left", fontsize=9, frameon=False, labelcolor=fs.INK)
    fs.title(figure, "What to expect of the next source?", "on the right: AUC and melanomas / images")
    return fs.png(figure)


def _auc_mark(ax: Axes, y: float, row: dict[str, Any], colour: str) -> None:
    """Draw one AUC with its interval, and its number and counts on the right."""
    if row["low"] is not None:
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.8, alpha=0.7, solid_capstyle="butt")
    ax.plot([row["value"]], [y], marker="s", markersize=5.5, color=colour, markeredgecolor="white")
    beside: Any = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": fs.INK, "annotation_clip": False}
    ax.annotate(f"{row['value']:.3f}", (1, y), (12, 0), **beside)
    ax.annotate(f"{row['n_positive']} / {row['n']}", (1, y), (106, 0), ha="right", **beside)
