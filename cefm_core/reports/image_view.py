"""What the page of an image shows, as plain values for its template."""

from __future__ import annotations

import json
from typing import Any

from cefm_core.reports.claims import SECTIONS, Claim
from cefm_core.reports.contexts import ImagePageContext
from cefm_core.reports.corrections import FORMAT, LEVELLED, Applied, Corrected, seen_of
from cefm_core.reports.language import Language
from cefm_core.reports.ledger import Fact, Facts

_CARDS = (("A", "abc.asymmetry_score"), ("B", "abc.border_score"), ("C", "abc.colour_count"), ("D", "abc.structure_count"))
_MASK_NUMBERS = ("mask.agreement_dice", "mask.area_share", "mask.confidence")
_TDS_SCALE = (1.0, 8.9)
"""Smallest and largest total dermoscopy score that the rule can give."""


def image_view(context: ImagePageContext) -> dict[str, Any]:
    """Return the variables of ``image.html.j2``."""
    ledger, words = context.ledger, context.report.words()
    facts = ledger.facts
    return {
        "context": context,
        "words": words,
        "page": words.page,
        "image_id": facts.image_id,
        "cards": [_card(letter, facts[fact_id], words) for letter, fact_id in _CARDS],
        "tds": _tds(facts, words),
        "probability": _probability(facts, words),
        "shifts": _shifts(facts, words),
        "nearest": [
            (name, words.number(f"{cosine:.2f}"), href) for name, cosine, href in context.nearest if _value(facts, "model.nearest_cases")
        ],
        "colours": _colours(facts, words),
        "descriptors": _descriptors(facts, words),
        "mask": _mask(facts, words),
        "flags": _flags(facts, words),
        "sections": [(words.headings[name], [_claim(claim, ledger) for claim in context.report.section(name)]) for name in SECTIONS],
        "ledger": [ledger_row(fact) for fact in facts],
        "corrections": [_correction(applied, words) for applied in ledger.corrections],
        "correctable": _correctable(context),
        "split": _value(facts, "model.split"),
        "fitted": _value(facts, "model.split") in ("train", "tune"),
        "positive": _pairs(context.positive_points),
        "negative": _pairs(context.negative_points),
        "stroke": max(context.width_px, context.height_px) / 240,
    }


def _value(facts: Facts, fact_id: str) -> Any:
    fact = facts.measured(fact_id)
    return None if fact is None else fact.value


def _card(letter: str, fact: Fact, words: Language) -> dict[str, Any]:
    """One of A, B, C, D: number, scale bar with interval, level bar, or the reason why it is missing."""
    card: dict[str, Any] = {"letter": letter, "id": fact.id, "title": words.page[f"card_{letter}"], "source": fact.source}
    if not isinstance(fact.value, float):
        return card | {"value": None, "reason": words.reason(fact.reason or "not_measured")}
    return card | {
        "value": words.number(fact.stated()),
        "scale": f"{fact.scale_max:g}" if fact.scale_max is not None else "",
        "level": fact.level,
        "word": words.level_word(letter, fact.level) if fact.level is not None else "",
        **_bar(fact, 0.0, fact.scale_max or 1.0, words),
    }


def _bar(fact: Fact, least: float, most: float, words: Language) -> dict[str, Any]:
    """Positions in percent of a value and its interval on a scale, and the interval in words."""
    span = most - least
    position = _percent((fact.number - least) / span)
    if fact.low is None or fact.high is None:
        return {"position": position, "interval": None}
    low, high = _percent((fact.low - least) / span), _percent((fact.high - least) / span)
    text = f"{words.number(fact.stated(fact.low))} – {words.number(fact.stated(fact.high))}"
    return {"position": position, "interval": text, "low": low, "width": round(max(high - low, 0.0), 2)}


def _percent(share: float) -> float:
    return round(100.0 * min(max(share, 0.0), 1.0), 2)


def _tds(facts: Facts, words: Language) -> dict[str, Any]:
    fact = facts["abc.tds"]
    if not isinstance(fact.value, float):
        part = facts.measured("abc.tds_without_structures")
        return {
            "value": None,
            "reason": words.reason(fact.reason or "not_measured"),
            "part": words.number(part.stated()) if part is not None else None,
            "part_id": part.id if part is not None else "",
        }
    least, most = _TDS_SCALE
    suspicious, highly = ((bound - least) / (most - least) for bound in fact.anchors)
    bands = {"suspicious": _percent(suspicious), "band_width": round(_percent(highly) - _percent(suspicious), 2)}
    return {"value": words.number(fact.stated()), "level": fact.level, **_bar(fact, least, most, words), **bands}


def _probability(facts: Facts, words: Language) -> dict[str, Any]:
    fact = facts["model.p_melanoma"]
    if not isinstance(fact.value, float):
        return {"value": None, "reason": words.reason(fact.reason or "not_measured")}
    branches = [
        (f, words.page[f.id], words.number(f.stated())) for name in ("model.p_image", "model.p_clinical") if (f := facts.measured(name))
    ]
    return {
        "value": words.number(fact.stated()),
        "word": words.level_word("P", fact.level or 1),
        "abstain": _value(facts, "model.abstain") is True,
        "branches": [{"id": f.id, "name": name, "value": text, "position": _percent(f.number)} for f, name, text in branches],
        **_bar(fact, 0.0, 1.0, words),
    }


def _shifts(facts: Facts, words: Language) -> list[dict[str, Any]]:
    """What the criteria add to the log odds from the measurements alone, as bars from the middle of a common scale."""
    shifts = [fact for fact in facts if fact.id.startswith("model.shift_") and fact.is_number]
    most = max((abs(fact.number) for fact in shifts), default=0.0) or 1.0
    rows = []
    for fact in shifts:
        width = round(50.0 * abs(fact.number) / most, 2)
        text = words.number(f"{float(fact.stated()):+.{fact.decimals}f}").replace("-", "−")
        rows.append({"id": fact.id, "name": words.page[fact.id], "value": text, "up": fact.number >= 0, "width": width})
    return rows


def _colours(facts: Facts, words: Language) -> list[dict[str, Any]]:
    """The shares of the six colours, largest first; what is left is drawn as no colour of the rule."""
    names = _value(facts, "colour.names") or ()
    rows = []
    for fact in facts:
        name = fact.id.removeprefix("colour.")
        if fact.id.startswith("colour.") and isinstance(fact.value, float) and fact.value >= 0.005:
            row = {"id": fact.id, "key": name, "name": words.word("colour", name), "share": words.number(fact.stated())}
            rows.append(row | {"width": _percent(fact.value), "counted": name.replace("_", " ") in names})
    return sorted(rows, key=lambda row: -row["width"])


def _descriptors(facts: Facts, words: Language) -> dict[str, Any]:
    ranked, scorer = facts.descriptors(), _value(facts, "visual.scorer")
    named = [fact for fact in ranked if fact.value is not None]
    if not named:
        reason = words.reason((ranked[0].reason if ranked else "stage_missing") or "not_measured")
        return {"rows": [], "note": words.page.get(f"descriptors_by_{scorer}", ""), "reason": reason}
    return {
        "reason": None,
        "note": words.page[f"descriptors_by_{scorer or 'clip'}"],
        "rows": [
            {
                "id": fact.id,
                "phrase": words.word("descriptor", str(fact.value)),
                "criterion": fact.criterion,
                "direction": fact.direction,
                "relation": fact.relation,
                "relation_word": words.page[f"relation_{fact.relation}"],
                "score": _descriptor_score(fact, scorer, words),
            }
            for fact in named
        ],
    }


def _descriptor_score(fact: Fact, scorer: Any, words: Language) -> str:
    """A probe's score is a probability, CLIP's a difference of cosines."""
    if fact.score is None:
        return ""
    return f"{100 * fact.score:.0f} %" if scorer == "probes" else words.number(f"{fact.score:+.3f}")


def _mask(facts: Facts, words: Language) -> dict[str, Any]:
    decision = _value(facts, "mask.decision")
    if decision is None:
        return {"decision": None, "reason": words.reason(facts["mask.decision"].reason or "not_measured")}
    reason = facts.measured("mask.decision_reason")
    numbers = [(f.id, words.page[f.id], words.number(f.stated()), f.is_share) for f in facts if f.id in _MASK_NUMBERS]
    return {
        "decision": decision,
        "word": words.page[f"decision_{decision}"],
        "reason": words.reason(str(reason.value)) if reason is not None else "",
        "networks": words.word("networks", str(_value(facts, "mask.networks") or "—")),
        "refiner": words.word("refiner", str(_value(facts, "mask.refiner") or "—")),
        "numbers": [{"id": i, "name": n, "value": f"{v} %" if share else v} for i, n, v, share in numbers],
    }


def _flags(facts: Facts, words: Language) -> dict[str, Any]:
    fact, notes = facts["quality.flags"], _value(facts, "abc.flags") or ()
    flags = [words.word("flag", flag) for flag in fact.value] if isinstance(fact.value, tuple) else None
    shares = [
        {"id": f.id, "name": words.page[f.id], "value": words.number(f.stated()), "width": _percent(f.value)}
        for f in facts
        if f.source == "quality" and isinstance(f.value, float)
    ]
    reason = words.reason(fact.reason or "not_measured") if flags is None else ""
    return {"flags": flags, "notes": [words.word("note", note) for note in notes], "shares": shares, "reason": reason}


def _claim(claim: Claim, ledger: Corrected) -> dict[str, Any]:
    """A claim with the sources of its facts as badges, their values as the text shown on hover, and what was corrected in them."""
    known = [fact for fact_id in claim.facts if (fact := ledger.facts.get(fact_id)) is not None]
    sources = list(dict.fromkeys(fact.source for fact in known))
    title = "\n".join(f"{row['name']}: {row['value']}" for row in map(ledger_row, known))
    was = [f"{a.name}: {a.before} → {a.after} ({a.correction.reviewer})" for a in ledger.of(claim.facts) if a.state == "applied"]
    return {"text": claim.text.replace(" %", "\u00a0%"), "facts": " ".join(claim.facts), "sources": sources, "title": title, "was": was}


def _correction(applied: Applied, words: Language) -> dict[str, str]:
    """One line of the table of corrections: both values and whose they are."""
    return {
        "fact": applied.correction.fact,
        "name": applied.name,
        "before": applied.before,
        "after": applied.after,
        "reviewer": applied.correction.reviewer,
        "state": words.page[f"state_{applied.state}"],
    }


def _correctable(context: ImagePageContext) -> str:
    """Return what the page's script needs to let a clinician correct the claims, as JSON that is safe inside a script element."""
    words = context.report.words()
    named = {fact_id for claim in context.report.claims for fact_id in claim.facts}
    corrected = {applied.correction.fact for applied in context.ledger.corrections}
    labels = ("keep", "wrong", "withdraw", "all", "done", "count", "images", "hint")
    facts = [
        {
            "id": fact.id,
            "name": fact.name,
            "value": " ".join(part for part in (fact.text, fact.unit) if part),
            "seen": seen_of(fact),
            "words": [words.level_word(fact.criterion, n) for n in range(1, 6)] if fact.id in LEVELLED and fact.level is not None else [],
            "corrected": fact.id in corrected,
        }
        for fact in context.ledger.measured
        if fact.id in named and fact.value is not None
    ]
    data = {
        "format": FORMAT,
        "image_id": context.ledger.facts.image_id,
        "facts": facts,
        "words": {label: words.page[f"correct_{label}"] for label in labels} | {"level": words.page["level"]},
    }
    return in_script(data)


def in_script(data: Any) -> str:
    """Return data as compact JSON that cannot end a script element."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def ledger_row(fact: Fact) -> dict[str, str]:
    """Return a fact as the text of one line of the ledger."""
    interval = f"{fact.stated(fact.low)} – {fact.stated(fact.high)}" if fact.low is not None and fact.high is not None else ""
    level = f"{fact.level} ({fact.level_word})" if fact.level is not None else ""
    unit = fact.unit if fact.value is not None else ""
    return {"id": fact.id, "name": fact.name, "value": fact.text, "unit": unit, "interval": interval, "level": level, "source": fact.source}


def _pairs(points: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(points[::2], points[1::2], strict=True))
