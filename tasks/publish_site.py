"""publish_site: the run page, which shows a run's counts, scores, gates, rejects and images, and links to every image's page."""

from __future__ import annotations

import html
from typing import Any

from storage import keys
from storage.parquet import read_rows
from storage.refs import FileRef
from storage.store import Store
from tasks.context import RunContext
from tasks.stage_task import stage_task

# From a run page (runs/<run_id>/index.html) to the root of the store.
_ROOT = "../../"
_REJECTS_SHOWN = 100
_HEADLINE_SCORES = (
    ("AUC, melanoma against nevus (val)", "combined", "val", "roc_auc"),
    ("balanced accuracy (val)", "combined", "val", "balanced_accuracy"),
    ("AUC (test)", "combined", "test", "roc_auc"),
    ("AUC (external)", "combined", "external", "roc_auc"),
    ("mean Dice, coarse (val)", "coarse_mask", "val", "mean_dice"),
    ("mean Dice, refined (val)", "refined_mask", "val", "mean_dice"),
    ("mean Dice, coarse (external)", "coarse_mask", "external", "mean_dice"),
    ("mean Dice, refined (external)", "refined_mask", "external", "mean_dice"),
)


@stage_task
def publish_site(
    context: RunContext,
    outputs: dict[str, FileRef],
    stages: list[dict[str, Any]],
    gates: list[dict[str, Any]],
    facts: dict[str, Any],
    label: str = "publish_site",
) -> dict[str, Any]:
    """Draw the run page and the store's front page.

    Returns:
        ``run_page``: key of the page; ``metrics``: the headline scores.
    """
    from cefm_core.reports.pages import run_page

    store = context.open_store()
    metrics = read_rows(store, outputs["metrics"])
    page = run_page(_page_context(store, context, outputs, stages, gates, facts, metrics))
    key = keys.run_key(context.run_id, "index.html")
    store.put(key, page.encode())
    store.put("index.html", _front_page(context.run_id).encode())
    return {"run_page": key, "metrics": _headline_scores(metrics)}


def _page_context(
    store: Store,
    context: RunContext,
    outputs: dict[str, FileRef],
    stages: list[dict[str, Any]],
    gates: list[dict[str, Any]],
    facts: dict[str, Any],
    metrics: list[dict[str, Any]],
) -> Any:
    from cefm_core.reports.contexts import GateResult, RejectRow, RunPageContext, StageSummary

    rejects = read_rows(store, outputs["rejects"])
    gallery = _gallery(store, outputs)
    return RunPageContext(
        run_id=context.run_id,
        images_in=stages[0]["items_in"],
        images_out=len(gallery),
        rejects_count=len(rejects),
        stages=tuple(
            StageSummary(s["name"], s["items_in"], s["items_out"], s["rejected"], s["reused"], s["seconds"], s["note"]) for s in stages
        ),
        headline=tuple(facts.get("headline", ())),
        shortcut_alarm=bool(facts.get("shortcut_alarm")),
        metrics=tuple(metrics),
        figures=_figures(outputs),
        gates=tuple(GateResult(g["table"], not g["failures"], g["expectations"], tuple(g["failures"])) for g in gates),
        rejects=tuple(RejectRow(r["item"], r["stage"], r["code"], r["message"]) for r in rejects[:_REJECTS_SHOWN]),
        rejects_href=_ROOT + outputs["rejects"].key,
        gallery=gallery,
        model_card_href=_ROOT + outputs["model_card"].key if "model_card" in outputs else None,
        details=_details(context, facts),
        links=tuple((title, href) for title, href in facts.get("links", ())),
    )


def _gallery(store: Store, outputs: dict[str, FileRef]) -> tuple[Any, ...]:
    from cefm_core.reports.contexts import GalleryItem

    names = ("manifest", "image_quality", "refined_masks", "abc_features", "predictions")
    tables = {name: {row["image_id"]: row for row in read_rows(store, outputs[name])} for name in names}
    items = []
    for report in read_rows(store, outputs["reports"]):
        rows = {name: table[report["image_id"]] for name, table in tables.items()}
        abc = rows["abc_features"]
        items.append(
            GalleryItem(
                image_id=report["image_id"],
                href=_ROOT + report["page_key"],
                thumb_href=_ROOT + report["thumb_key"],
                diagnosis=rows["manifest"]["diagnosis"],
                split=rows["manifest"]["split"],
                p_melanoma=rows["predictions"]["p_melanoma"],
                abstain=bool(rows["predictions"]["abstain"]),
                levels=_levels(report, abc),
                tds=abc["tds"],
                decision=rows["refined_masks"]["decision"],
                flags=tuple(rows["image_quality"]["flags"]),
                corrected=report["correction_count"] > 0,
            )
        )
    return tuple(items)


def _levels(report: dict[str, Any], abc: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return the levels of A, B and C as the image's report has them."""
    if not report["correction_count"]:
        return abc["asymmetry_level"], abc["border_level"], abc["colour_level"]
    from cefm_core.reports.ledger import Facts

    facts = Facts.from_json(report["facts_json"])
    return facts["abc.asymmetry_score"].level, facts["abc.border_score"].level, facts["abc.colour_count"].level


def _figures(outputs: dict[str, FileRef]) -> tuple[Any, ...]:
    from cefm_core.reports.contexts import Figure

    found = []
    for name, ref in sorted(outputs.items()):
        if name.startswith("figure:"):
            title = name.removeprefix("figure:").removesuffix(".png").replace("_", " ")
            found.append(Figure(title=title, href=_ROOT + ref.key))
    return tuple(found)


def _details(context: RunContext, facts: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    notes = facts.get("manifest_notes", [])
    ignored = ", ".join(f"{count} {reason}" for reason, count in facts.get("ignored", {}).items()) or "none"
    return (
        ("run", context.run_id),
        ("version", str(facts["version"])),
        ("code", str(facts["commit"])),
        ("files ignored", ignored),
        *((f"manifest note {number}", note) for number, note in enumerate(notes, start=1)),
    )


def _headline_scores(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    found = {(row["model"], row["split"], row["metric"]): row for row in metrics if row["stratum"] == "all"}
    kept = ("value", "low", "high", "n", "n_positive", "reason")
    return {
        title: {name: found[model, split, metric][name] for name in kept}
        for title, model, split, metric in _HEADLINE_SCORES
        if (model, split, metric) in found
    }


def _front_page(run_id: str) -> str:
    target = html.escape(keys.run_key(run_id, "index.html"))
    # The script keeps what stands behind "#": the image that a page links to.
    script = f'<script>location.replace("{target}" + location.hash)</script>'
    plain = f'<noscript><meta http-equiv="refresh" content="0; url={target}"></noscript>'
    return f'<!doctype html><meta charset="utf-8"><title>CEFM</title>{script}{plain}<a href="{target}">Latest run</a>\n'
