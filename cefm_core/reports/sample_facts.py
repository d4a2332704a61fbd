"""Ledgers of invented lesions, seeded: for measuring the checker and the speed of the writers, never for a report on a person."""

from __future__ import annotations

import random
from typing import Any

from cefm_core.descriptors.vocabulary import scored_by
from cefm_core.reports.facts import COLOURS, STRUCTURES, collect_facts
from cefm_core.reports.ledger import Facts
from cefm_core.tables.coarse_masks import NETWORKS
from cefm_core.tables.refined_masks import REASONS

_FLAGS = ("blurred", "too_dark", "too_bright", "low_contrast", "hair", "vignette", "ink_or_ruler", "glare")
_KEPT = tuple(reason for reason in REASONS if reason not in ("better_evidence", "empty_mask"))
_SITES = ("anterior torso", "posterior torso", "head/neck", "upper extremity", "lower extremity", "palms/soles", "other")


def sample_facts(seed: int) -> Facts:
    """Return the ledger of one invented image; the same seed gives the same ledger."""
    rng = random.Random(seed)
    refiner = rng.choice(("sam2", "medsam-lite", "classical"))
    manifest = {
        "site": rng.choice(_SITES),
        "sex": rng.choice(("female", "male", "unknown")),
        "age_years": rng.choice((None, 34.0, 55.0, 81.0)),
    }
    return collect_facts(
        f"sample_{seed:06d}",
        abc=_abc(rng),
        prediction=_prediction(rng),
        descriptors=_descriptors(rng),
        quality=_quality(rng),
        refined=_refined(rng, refiner),
        coarse={"touches_border": rng.random() < 0.2, "networks": NETWORKS[rng.random() < 0.5]},
        manifest=manifest,
    )


def _level(value: float, most: float) -> int:
    return min(5, 1 + int(5 * value / most))


def _abc(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.04:
        return {"reason": rng.choice(("empty_mask", "lesion_too_small")), "flags": []}
    cut = rng.random() < 0.1
    row: dict[str, Any] = {"reason": None, "flags": ["cut_by_frame"] if cut or rng.random() < 0.1 else []}
    intervals = rng.random() < 0.6
    for stem, column, most in (("asymmetry", "asymmetry_score", 2.0), ("border", "border_score", 8.0)):
        if cut:
            row[f"{stem}_reason"] = "cut_by_frame"
        else:
            row |= _measured(stem, column, rng.uniform(0, most), most, rng, intervals)
    row |= _colours(rng)
    row |= _structures(rng)
    row |= _total(row, rng)
    paper = {"a_grey": (4, 66), "b2_mean_curvature": (0.006, 0.16), "hue_std": (3, 60), "saturation_std": (8, 60), "value_std": (8, 50)}
    return row | {name: rng.uniform(*ends) for name, ends in paper.items()}


def _measured(stem: str, column: str, value: float, most: float, rng: random.Random, intervals: bool) -> dict[str, Any]:
    row: dict[str, Any] = {column: value, f"{stem}_level": _level(value, most)}
    if intervals:
        spread = rng.uniform(0.02, 0.12) * most
        row |= {f"{stem}_low": max(0.0, value - spread), f"{stem}_high": min(most, value + spread)}
    return row


def _colours(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.04:
        return {"colour_reason": "skin_not_visible"}
    weights = [rng.expovariate(1.0) ** 2 for _ in COLOURS]
    shares = {name: weight / sum(weights) for name, weight in zip(COLOURS, weights, strict=True)}
    row: dict[str, Any] = {f"colour_{name}": share > 0.03 for name, share in shares.items()}
    row |= {f"colour_{name}_share": share for name, share in shares.items()}
    count = sum(bool(row[f"colour_{name}"]) for name in COLOURS)
    return row | {"colour_count": count, "colour_level": min(count, 5)}


def _structures(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.25:
        return {"structure_count": None, "structure_reason": "structure_not_measured"}
    row: dict[str, Any] = {f"structure_{name}": rng.random() < 0.5 for name in STRUCTURES}
    count = max(1, sum(row.values()))
    return row | {"structure_count": count, "structure_level": count, "structure_reason": None}


def _total(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    parts = [row.get(name) for name in ("asymmetry_score", "border_score", "colour_count")]
    if any(part is None for part in parts):
        return {"tds_reason": row.get("asymmetry_reason") or row.get("colour_reason")}
    a, b, c = (float(part or 0) for part in parts)
    without = 1.3 * a + 0.1 * b + 0.5 * c
    if row["structure_count"] is None:
        return {"tds_without_structures": without, "tds_reason": "structure_not_measured"}
    tds = without + 0.5 * row["structure_count"]
    return {"tds_without_structures": without, **_measured("tds", "tds", tds, 8.9, rng, rng.random() < 0.5)}


def _prediction(rng: random.Random) -> dict[str, Any]:
    split = rng.choice(("train", "tune", "val", "test", "external"))
    if rng.random() < 0.04:
        return {"split": split, "p_melanoma": None, "abstain": True, "abstain_reasons": ["no_prediction"], "reason": "no_clinical_features"}
    p = rng.betavariate(0.7, 1.4)
    reasons = [code for code in ("seeds_disagree", "out_of_distribution") if rng.random() < 0.15]
    shifts = {f"shift_{name}": rng.gauss(0, 0.8) for name in ("asymmetry", "border", "colour", "structure")}
    cosines = sorted((rng.uniform(0.3, 0.99) for _ in range(3)), reverse=True)
    return shifts | {
        "nearest_cases": [f"sample_{rng.randrange(1000):06d}" for _ in cosines],
        "nearest_cosines": cosines,
        "split": split,
        "p_melanoma": p,
        "p_low": p * rng.uniform(0.5, 0.98),
        "p_high": p + (1 - p) * rng.uniform(0.02, 0.5),
        "p_image": rng.random(),
        "p_clinical": rng.random(),
        "abstain": bool(reasons),
        "abstain_reasons": reasons,
    }


def _descriptors(rng: random.Random) -> dict[str, Any] | None:
    scorer = rng.choice(("none", "clip", "clip", "probes", "probes"))
    if scorer == "none":
        return {"phrases": None, "scores": None, "scorer": scorer, "reason": "descriptors.scorer is none"}
    entries = scored_by(scorer)
    chosen: list[str] = []
    for entry in rng.sample(entries, len(entries) if scorer == "clip" else rng.randrange(len(entries))):
        if entry.reportable and not set(entry.contradicts) & set(chosen) and len(chosen) < 3:
            chosen.append(entry.phrase)
    return {"phrases": chosen, "scores": sorted((rng.random() for _ in chosen), reverse=True), "scorer": scorer, "reason": None}


def _quality(rng: random.Random) -> dict[str, Any]:
    shares = {f"{name}_share": rng.random() ** 4 for name in ("hair", "vignette", "glare", "ink")}
    return shares | {"flags": sorted(rng.sample(_FLAGS, rng.choice((0, 0, 1, 2, 3))))}


def _refined(rng: random.Random, refiner: str) -> dict[str, Any]:
    accepted = rng.random() < 0.6
    return {
        "refiner": refiner,
        "decision": "accepted" if accepted else "kept",
        "decision_reason": "better_evidence" if accepted else rng.choice(_KEPT),
        "agreement_dice": rng.uniform(0.5, 0.99),
        "mask_confidence": rng.choice((None, rng.uniform(0.6, 0.98))),
        "area_share": rng.uniform(0.01, 0.9),
    }
