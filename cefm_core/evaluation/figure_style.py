"""The look that all figures share, and PNG bytes that do not change from run to run."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MELANOMA, NEVUS = "#b3392f", "#2f7d8c"
INK, MUTED, GRID, PAPER = "#1d2733", "#66717e", "#dfe4e9", "#ffffff"
MODEL, SHORTCUT, BASELINE = "#1f4e79", "#c9822b", "#8a94a0"
SERIES = ("#1f4e79", "#2f7d8c", "#8c5aa0", "#7a8b3a", "#c9822b")
DPI = 120


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, in reading order.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Rows of axes.
        columns: Columns of axes.
        **grid: Passed to ``Figure.subplots``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False, **grid).ravel())
    for ax in axes:
        style_axes(ax)
    return figure, axes


def style_axes(ax: Axes) -> None:
    """Give axes light spines, a pale grid behind the data and quiet ticks."""
    ax.set_facecolor(PAPER)
    ax.set_axisbelow(True)
    ax.grid(True, color=GRID, linewidth=0.7)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(colors=INK, labelsize=9, length=3, width=0.8)


def label_axes(ax: Axes, x: str, y: str) -> None:
    """Name both axes."""
    ax.set_xlabel(x, fontsize=10, color=INK)
    ax.set_ylabel(y, fontsize=10, color=INK)


def title(figure: Figure, text: str, subtitle: str = "") -> None:
    """Write the title, and below it in small type what a reader must know to read the figure."""
    figure.suptitle(text + "\n" * (subtitle.count("\n") + bool(subtitle)), x=0.015, ha="left", fontsize=13, fontweight="bold", color=INK)
    if subtitle:
        height = figure.get_size_inches()[1]
        figure.text(0.015, 1 - 0.36 / height, subtitle, ha="left", va="top", fontsize=9, color=MUTED)


def legend(ax: Axes, **options: Any) -> None:
    """Add a legend without a heavy box."""
    box = ax.legend(fontsize=9, frameon=True, framealpha=0.92, edgecolor="none", labelcolor=INK, **options)
    box.set_zorder(10)


def png(figure: Figure) -> bytes:
    """Encode the figure; nothing in the bytes tells time, host or version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()
