"""From the rows of the stages to the ledger of facts of one image.

Which columns become facts is data (``data/facts.csv``); the metadata that may enter is closed (``metadata``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cefm_core.descriptors.vocabulary import Descriptor, find_descriptor
from cefm_core.reports.language import load_language
from cefm_core.reports.ledger import Fact, FactDefinition, Facts, Value, definitions
from cefm_core.reports.metadata import metadata_facts

__all__ = ["Fact", "Facts", "PROBABILITY_BANDS", "collect_facts"]

Row = Mapping[str, Any] | None
PROBABILITY_BANDS = (0.05, 0.2, 0.5, 0.8)
"""Bands in which a probability is worded, very low to very high. A wording of this software, not a clinical cut-point."""
COLOURS = ("white", "red", "light_brown", "dark_brown", "blue_gray", "black")
"""The six colours of the ABCD rule, as they stand in column names of ``abc_features``."""
STRUCTURES = {"network": "network", "streaks": "streaks", "globules": "globules", "dots": "dots", "structureless": "structureless areas"}
"""The five structures of the ABCD rule: ending of the column's name in ``abc_features``, and name."""


def collect_facts(
    image_id: str,
    *,
    abc: Row = None,
    prediction: Row = None,
    descriptors: Row = None,
    quality: Row = None,
    refined: Row = None,
    coarse: Row = None,
    manifest: Row = None,
) -> Facts:
    """Gather every fact that a report on one image may state.

    Args:
        image_id: Identifier of the image.
        abc: Row of ``abc_features``; None where the stage has no row for the image.
        prediction: Row of ``predictions``.
        descriptors: Row of ``descriptors``.
        quality: Row of ``image_quality``.
        refined: Row of ``refined_masks``.
        coarse: Row of ``coarse_masks``.
        manifest: Row of ``manifest``; only site, sex, age (as a band) and split are read.

    Returns:
        The ledger. A value that is missing is there as None with a reason code; its name is never left to the writer.
    """
    rows: dict[str, Row] = {"abc": abc, "predictions": prediction, "quality": quality, "mask": refined, "coarse": coarse}
    facts = [fact for d in definitions() if (fact := _fact(d, rows[d.table])) is not None]
    facts.append(Fact("scope.diameter", "diameter", None, unit="mm", source="measurement", reason="no_scale"))
    facts += [*_colour_names(abc), *_structure_names(abc), *_nearest(prediction), *_scorer(descriptors)]
    found = {fact.id: fact for fact in facts}
    facts += _descriptor_facts(descriptors, found)
    facts += metadata_facts(manifest)
    return Facts(image_id, tuple(facts))


def _fact(definition: FactDefinition, row: Row) -> Fact | None:
    """Build one fact, or None where the row has no such value and the report need not mention it."""
    column = definition.column
    value = _value(definition, row.get(column) if row is not None else None)
    if value is None and not definition.always:
        return None
    low, high, level = ((row or {}).get(f"{definition.stem}_{end}") for end in ("low", "high", "level"))
    if column == "p_melanoma" and isinstance(value, float):
        level = bisect_right(PROBABILITY_BANDS, value) + 1
    measured = value is not None
    return Fact(
        id=definition.id,
        name=definition.name,
        value=value,
        unit=definition.unit,
        decimals=_decimals(definition, value, low, high),
        source=definition.source,
        criterion=definition.criterion,
        low=float(low) if measured and low is not None and high is not None else None,
        high=float(high) if measured and low is not None and high is not None else None,
        level=int(level) if measured and level is not None else None,
        level_word=load_language("en").level_word(definition.criterion, int(level)) if measured and level is not None else None,
        scale_max=definition.scale_max,
        reason=None if measured else _reason(definition, row),
        anchors=definition.anchors,
    )


def _decimals(definition: FactDefinition, *numbers: Any) -> int:
    """Return the stated rounding: a score in whole points is stated without decimals, a fractional one with one."""
    if definition.kind != "score":
        return definition.decimals
    return int(any(isinstance(number, int | float) and float(number) != int(number) for number in numbers))


def _value(definition: FactDefinition, raw: Any) -> Value:
    """Turn a table value into a plain one of the definition's kind; a float NaN is a missing value."""
    if hasattr(raw, "tolist"):
        raw = raw.tolist()
    if raw is None or raw != raw:
        return None
    if definition.kind in ("number", "score", "share"):
        return float(raw)
    if definition.kind == "flag":
        return bool(raw)
    if definition.kind == "words":
        return tuple(str(word) for word in raw)
    return str(raw)


def _reason(definition: FactDefinition, row: Row) -> str:
    if row is None:
        return "stage_missing"
    return next((str(row[name]) for name in (f"{definition.stem}_reason", "reason") if row.get(name)), "not_measured")


def _colour_names(row: Row) -> list[Fact]:
    """Return the fact that lists the colours found, largest share first; nothing where colour was not measured."""
    if row is None or row.get("colour_count") is None or any(row.get(f"colour_{name}") is None for name in COLOURS):
        return []
    names = sorted((name for name in COLOURS if row[f"colour_{name}"]), key=lambda name: -(row.get(f"colour_{name}_share") or 0.0))
    return [Fact("colour.names", "colours found", tuple(name.replace("_", " ") for name in names), criterion="C")]


def _structure_names(row: Row) -> list[Fact]:
    """Return the fact that lists the structures found; nothing where they were not looked for."""
    if row is None or row.get("structure_count") is None or any(row.get(f"structure_{name}") is None for name in STRUCTURES):
        return []
    return [
        Fact("structure.names", "structures found", tuple(n for key, n in STRUCTURES.items() if row[f"structure_{key}"]), criterion="D")
    ]


def _nearest(row: Row) -> list[Fact]:
    """Return the cosine of the nearest of the nearest cases."""
    cosines = list((row or {}).get("nearest_cosines") or ())
    name = "cosine of the nearest labelled training image"
    return [Fact("model.nearest_cosine", name, float(cosines[0]), decimals=2, source="model", criterion="P")] if cosines else []


def _scorer(row: Row) -> list[Fact]:
    """Return the fact who scored the descriptors; rows that do not say so are older than any scorer but CLIP."""
    if row is None or row.get("phrases") is None:
        return []
    return [Fact("visual.scorer", "who scored the descriptors", str(row.get("scorer") or "clip"), source="model")]


def _descriptor_facts(row: Row, found: Mapping[str, Fact]) -> list[Fact]:
    """One fact a ranked phrase; a single empty fact with the reason where there are none."""
    phrases = list(row.get("phrases") or ()) if row is not None else []
    if not phrases:
        none_found = row is not None and row.get("phrases") is not None
        reason = "none_above_cut" if none_found else str((row or {}).get("reason") or "stage_missing")
        return [Fact("descriptor.1", "visual descriptor", None, source="descriptor", reason=reason)]
    scores = list((row or {}).get("scores") or [None] * len(phrases))
    facts = []
    for rank, (phrase, score) in enumerate(zip(phrases, scores, strict=True), start=1):
        entry = find_descriptor(phrase)
        if entry is None or not entry.reportable:
            continue
        facts.append(
            Fact(
                id=f"descriptor.{rank}",
                name="visual descriptor",
                value=phrase,
                source="descriptor",
                criterion=entry.criterion,
                direction=entry.direction,
                relation=relation(entry, found),
                score=None if score is None else float(score),
            )
        )
    return facts or [Fact("descriptor.1", "visual descriptor", None, source="descriptor", reason="no_reportable_descriptor")]


def compared(fact: Fact, found: Mapping[str, Fact]) -> Fact:
    """Return a descriptor compared again with the facts as they are now; any other fact as it is."""
    entry = find_descriptor(str(fact.value)) if fact.source == "descriptor" and fact.value is not None else None
    return fact if entry is None else replace(fact, relation=relation(entry, found))


def relation(entry: Descriptor, found: Mapping[str, Fact]) -> str | None:
    """Compare a descriptor with the measurement of the same thing; None where there is none.

    A colour is there or not; so is a structure, whose measurement is too unsure for more than a difference. Elsewhere levels 1 and 2
    agree with a benign phrase and 3 to 5 with one for melanoma; one level beyond is a difference, more is a contradiction.
    """
    if entry.against.startswith("colour."):
        names = found.get("colour.names")
        if names is None or not isinstance(names.value, tuple):
            return None
        return "agree" if entry.against.removeprefix("colour.").replace("_", " ") in names.value else "contradict"
    if entry.against.startswith("structure."):
        names = found.get("structure.names")
        if names is None or not isinstance(names.value, tuple):
            return None
        return "agree" if STRUCTURES[entry.against.removeprefix("structure.")] in names.value else "differ"
    measured = found.get(entry.against)
    if measured is None or measured.level is None:
        return None
    steps_off = measured.level - 2 if entry.direction == "benign" else 3 - measured.level
    return "agree" if steps_off <= 0 else "differ" if steps_off == 1 else "contradict"
