"""What the page of a run shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cefm_core.reports.contexts import GalleryItem, RunPageContext, StageSummary
from cefm_core.reports.image_view import in_script

SHOWN_REJECTS = 100
_UNIT_SCALE = ("accuracy", "sensitivity", "specificity", "auc", "dice", "jaccard", "f1", "cosine", "ece", "brier", "prevalence")
_MAIN = (
    "roc_auc",
    "pr_auc",
    "sensitivity",
    "specificity",
    "sensitivity_tuned95",
    "specificity_tuned95",
    "ece",
    "mean_dice",
    "mean_jaccard",
)
"""Columns of the overview, in order; every other metric stands in the full table below it."""


def run_view(context: RunPageContext) -> dict[str, Any]:
    """Return the variables of ``run.html.j2``."""
    overall = [_metric(row) for row in context.metrics if row.get("stratum") in ("all", None)]
    strata = [_metric(row) for row in context.metrics if row.get("stratum") not in ("all", None)]
    failed = [gate for gate in context.gates if not gate.passed]
    seconds = sum(stage.seconds for stage in context.stages)
    return {
        "context": context,
        "tiles": _tiles(context, seconds),
        "stages": [_stage(stage, max((s.seconds for s in context.stages), default=0.0)) for stage in context.stages],
        "overview": _overview(context.metrics),
        "groups": _groups(overall),
        "strata": _groups(strata),
        "failed_gates": failed,
        "rejects": context.rejects[:SHOWN_REJECTS],
        "rejects_hidden": max(context.rejects_count, len(context.rejects)) - min(len(context.rejects), SHOWN_REJECTS),
        "gallery_json": _gallery_json(context.gallery),
        "gallery_count": len(context.gallery),
        "duration": duration(seconds),
    }


def _tiles(context: RunPageContext, seconds: float) -> list[dict[str, str]]:
    passed = sum(gate.passed for gate in context.gates)
    tiles = [
        {"name": "images in", "value": f"{context.images_in:,}", "tone": ""},
        {"name": "images reported", "value": f"{context.images_out:,}", "tone": "good"},
        {"name": "rejected", "value": f"{context.rejects_count:,}", "tone": "warn" if context.rejects_count else ""},
        {"name": "gates passed", "value": f"{passed} / {len(context.gates)}", "tone": "good" if passed == len(context.gates) else "bad"},
        {"name": "time in stages", "value": duration(seconds), "tone": ""},
    ]
    return [tile for tile in tiles if tile["name"] != "gates passed" or context.gates]


def duration(seconds: float) -> str:
    """Return a time in words: ``0.4 s``, ``38 s``, ``12 min 5 s``, ``1 h 2 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _stage(stage: StageSummary, longest: float) -> dict[str, Any]:
    return {
        "name": stage.name.replace("_", " "),
        "items_in": f"{stage.items_in:,}",
        "items_out": f"{stage.items_out:,}",
        "rejected": f"{stage.rejected:,}",
        "cached": f"{stage.cached:,}",
        "all_cached": stage.items_in > 0 and stage.cached >= stage.items_in,
        "has_rejects": stage.rejected > 0,
        "seconds": duration(stage.seconds),
        "width": round(100 * stage.seconds / longest, 1) if longest > 0 else 0.0,
        "note": stage.note,
    }


def _metric(row: Mapping[str, Any]) -> dict[str, Any]:
    """One metric as text, with the positions of a small interval plot where its scale is 0..1."""
    value, low, high = row.get("value"), row.get("low"), row.get("high")
    name = str(row.get("metric"))
    unit_scale = value is not None and 0 <= value <= 1 and any(part in name.lower() for part in _UNIT_SCALE)
    plot = None
    if unit_scale and value is not None:
        ends = (low, high) if low is not None and high is not None else (value, value)
        plot = {"position": round(100 * value, 1), "low": round(100 * max(ends[0], 0), 1)}
        plot["width"] = round(100 * min(ends[1], 1) - plot["low"], 1)
    return {
        "model": str(row.get("model")).replace("_", " "),
        "split": str(row.get("split")),
        "fitted": row.get("role") == "fitted_on",
        "stratum": "" if row.get("stratum") in ("all", None) else str(row["stratum"]),
        "metric": name.replace("_", " "),
        "value": _plain(value) if value is not None else "—",
        "interval": f"{_plain(low)} – {_plain(high)}" if low is not None and high is not None else "",
        "n": _count(row.get("n")),
        "n_positive": _count(row.get("n_positive")),
        "reason": str(row.get("reason") or "").replace("_", " ") if value is None else "",
        "plot": plot,
    }


def _plain(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def _count(value: Any) -> str:
    return "" if value is None else f"{int(value):,}"


def _groups(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group metrics by model and split, held-out splits first, in the order of the table otherwise."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for metric in metrics:
        groups.setdefault((metric["model"], metric["split"]), []).append(metric)
    found = [
        {"model": m, "split": s, "fitted": rows[0]["fitted"] or s in ("train", "tune"), "rows": rows} for (m, s), rows in groups.items()
    ]
    return sorted(found, key=lambda group: group["fitted"])


def _overview(metrics: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """One table a held-out split: models down, the main metrics across."""
    tables = []
    rows = [row for row in metrics if row.get("stratum") in ("all", None) and row.get("split") not in ("train", "tune")]
    for split, kind in dict.fromkeys((str(row.get("split")), str(row.get("metric")).startswith("mean_")) for row in rows):
        own = [row for row in rows if str(row.get("split")) == split and str(row.get("metric")).startswith("mean_") == kind]
        columns = [name for name in _MAIN if any(row.get("metric") == name for row in own)]
        cells = {(row.get("model"), row.get("metric")): _metric(row) for row in own}
        models = dict.fromkeys(row.get("model") for row in own if row.get("metric") in columns)
        if columns:
            lines = [{"model": str(m).replace("_", " "), "cells": [cells.get((m, column)) for column in columns]} for m in models]
            heads = [column.removeprefix("roc_").replace("_", " ").replace("auc", "AUC").replace("ece", "ECE") for column in columns]
            most = max((int(row.get("n") or 0) for row in own if row.get("metric") in columns), default=0)
            tables.append({"split": split, "masks": kind, "columns": heads, "lines": lines, "n": most})
    return tables


def _gallery_json(items: tuple[GalleryItem, ...]) -> str:
    """Return the gallery as compact JSON that is safe inside a script element."""
    rows = [
        [
            item.image_id,
            item.href,
            item.thumb_href,
            item.diagnosis,
            item.split,
            None if item.p_melanoma is None else round(item.p_melanoma, 4),
            int(item.abstain),
            list(item.levels),
            None if item.tds is None else round(item.tds, 2),
            item.decision,
            [*item.flags, *(["corrected"] if item.corrected else [])],
        ]
        for item in items
    ]
    return in_script(rows)
