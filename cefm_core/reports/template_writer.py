"""The offline writer: from the ledger to claims by fixed rules, in any language that is shipped as data.

The same facts give the same bytes. Sentence patterns do not belong here (``data/language_*.toml``), only which of them apply.
"""

from __future__ import annotations

from cefm_core.reports.claims import Claim, Report
from cefm_core.reports.language import Language, load_language
from cefm_core.reports.ledger import Fact, Facts
from cefm_core.reports.template_risk import risk_claims
from cefm_core.reports.wording import claim_of, interval, join, missing, number

_PAPER = ("paper.a_grey", "paper.b2_mean_curvature", "paper.hue_std", "paper.saturation_std", "paper.value_std")
_CRITERIA = {
    "abc.asymmetry_score": "asymmetry",
    "abc.border_score": "border",
    "abc.colour_count": "colour",
    "abc.structure_count": "structures",
}
_BY_CRITERION = {"A": "abc.asymmetry_score", "B": "abc.border_score", "C": "abc.colour_count", "D": "structure.names"}


def write_report(facts: Facts, language: str = "en", *, words: Language | None = None) -> Report:
    """Write the report of one image.

    Args:
        facts: The ledger.
        language: Code of a shipped language.
        words: Its words, where they are not those that are shipped.

    Returns:
        A report whose every claim names at least one fact of the ledger.

    Raises:
        ConfigurationError: The language is not shipped.
    """
    words = words or load_language(language)
    claims = [*_quantitative(facts, words), *_visual(facts, words), *risk_claims(facts, words), *_quality(facts, words)]
    return Report(tuple(claims), language)


def _quantitative(facts: Facts, words: Language) -> list[Claim]:
    claims = [_score(facts[fact_id], phrase, words) for fact_id, phrase in _CRITERIA.items()]
    claims.append(_total(facts["abc.tds"], words))
    part = facts.measured("abc.tds_without_structures")
    if part is not None and facts["abc.tds"].value is None:
        claims.append(claim_of("quantitative", words.phrases["tds_part"].format(value=number(part, words)), part))
    paper = [fact for fact_id in _PAPER if (fact := facts.measured(fact_id)) is not None]
    if paper:
        parts = join([words.phrases[fact.id].format(value=number(fact, words)) for fact in paper], words)
        claims.append(claim_of("quantitative", words.phrases["paper"].format(parts=parts), *paper))
    return claims


def _score(fact: Fact, phrase: str, words: Language) -> Claim:
    """Word one of A, B, C, D: with its level where there is one, or as not measured with the reason."""
    if fact.value is None:
        return missing("quantitative", fact, words)
    leveled = fact.level is not None and phrase in words.phrases and f"{phrase}_plain" in words.phrases
    text = words.phrases[phrase if leveled or f"{phrase}_plain" not in words.phrases else f"{phrase}_plain"].format(
        word=words.level_word(fact.criterion, fact.level) if fact.level is not None else "",
        value=number(fact, words),
        scale=f"{fact.scale_max:g}" if fact.scale_max is not None else "",
        interval=interval(fact, words),
        level=words.phrases["level"].format(level=fact.level) if fact.level is not None else "",
    )
    return claim_of("quantitative", text, fact)


def _total(fact: Fact, words: Language) -> Claim:
    if not isinstance(fact.value, float):
        return missing("quantitative", fact, words)
    suspicious, highly = fact.anchors
    band = "below" if fact.value < suspicious else "within" if fact.value <= highly else "above"
    text = words.phrases[f"tds_{band}"].format(
        value=number(fact, words),
        interval=interval(fact, words),
        suspicious=words.number(fact.stated(suspicious)),
        highly=words.number(fact.stated(highly)),
    )
    return claim_of("quantitative", text, fact)


def _visual(facts: Facts, words: Language) -> list[Claim]:
    claims = [*_colours(facts, words), *_structures(facts, words)]
    ranked = facts.descriptors()
    named = [fact for fact in ranked if fact.value is not None]
    if not named and ranked[0].source == "clinician":
        return [*claims, claim_of("visual", words.phrases["descriptors_marked"], *ranked)]
    if not named:
        return [*claims, _no_descriptors(ranked[0], facts, words)]
    scorer = facts.measured("visual.scorer")
    phrase = "descriptors_probes" if scorer is not None and scorer.value == "probes" else "descriptors"
    quoted = join([words.phrases["quoted"].format(phrase=words.word("descriptor", str(fact.value))) for fact in named], words)
    claims.append(claim_of("visual", words.phrases[phrase].format(list=quoted), *named, *([scorer] if scorer is not None else [])))
    claims += [claim for fact in named if (claim := _conflict(fact, facts, words)) is not None]
    return claims


def _no_descriptors(fact: Fact, facts: Facts, words: Language) -> Claim:
    """Say that the probes found nothing, or why nothing was looked for."""
    scorer = facts.measured("visual.scorer")
    if fact.reason == "none_above_cut" and scorer is not None:
        return claim_of("visual", words.phrases["descriptors_none"], fact, scorer)
    return claim_of("visual", words.phrases["descriptors_missing"].format(reason=words.reason(fact.reason or "not_measured")), fact)


def _structures(facts: Facts, words: Language) -> list[Claim]:
    names = facts.measured("structure.names")
    if names is None or not isinstance(names.value, tuple) or not names.value:
        return []
    found = join([words.word("structure", name) for name in names.value], words)
    return [claim_of("visual", words.phrases["structures_seen"].format(list=found), names)]


def _colours(facts: Facts, words: Language) -> list[Claim]:
    """Word the colours by area, largest first; nothing where colour was not measured."""
    names = facts.measured("colour.names")
    shares = (
        [facts.measured(f"colour.{name.replace(' ', '_')}") for name in names.value] if names and isinstance(names.value, tuple) else []
    )
    seen = [fact for fact in shares if fact is not None]
    if names is None or not seen:
        return []
    parts = [
        words.phrases["colour_part"].format(
            colour=words.word("colour", fact.id.removeprefix("colour.")),
            share=number(fact, words),
        )
        for fact in seen
    ]
    rest = words.phrases["colours_rest"].format(list=join(parts[1:], words)) if parts[1:] else ""
    return [claim_of("visual", words.phrases["colours_seen"].format(first=parts[0], rest=rest), names, *seen)]


def _conflict(fact: Fact, facts: Facts, words: Language) -> Claim | None:
    """Word a descriptor that does not go with the measurement of the same thing."""
    if fact.relation not in ("differ", "contradict"):
        return None
    measured = facts.measured(_BY_CRITERION[fact.criterion])
    if facts.measured("colour.names") and _names_colour(fact):
        measured = facts["colour.names"]
    if measured is None:
        return None
    word = words.level_word(measured.criterion, measured.level) if measured.level is not None else ""
    said = words.phrases[f"measured.{measured.id}"].format(word=word)
    text = words.phrases[fact.relation].format(phrase=words.word("descriptor", str(fact.value)), measured=said)
    return claim_of("visual", text, fact, measured)


def _names_colour(fact: Fact) -> bool:
    return any(colour in str(fact.value) for colour in ("brown", "black", "blue-gray", "red ", "white"))


def _quality(facts: Facts, words: Language) -> list[Claim]:
    claims = [_mask(facts, words), _flags(facts, words)]
    claims += _notes(facts, words)
    if "scope.diameter" in facts and facts["scope.diameter"].value is None:
        claims.append(missing("quality", facts["scope.diameter"], words))
    recorded = [fact for fact in facts if fact.source == "metadata"]
    if recorded:
        parts = [words.phrases[f"recorded.{f.id}"].format(value=words.word(f.id.removeprefix("meta."), str(f.value))) for f in recorded]
        claims.append(claim_of("quality", words.phrases["recorded"].format(list=join(parts, words)), *recorded))
    return claims + _corrections(facts, words)


def _corrections(facts: Facts, words: Language) -> list[Claim]:
    """Say what a clinician corrected, and that the model did not hear of it."""
    levels = [fact for fact in facts if fact.source == "clinician" and fact.value is not None]
    wrong = [fact for fact in facts if fact.source == "clinician" and fact.value is None]
    claims = []
    if levels:
        names = join([words.names[fact.id] for fact in levels], words)
        claims.append(claim_of("quality", words.phrases["corrected_levels"].format(list=names), *levels))
    if wrong:
        claims.append(claim_of("quality", words.phrases["corrected_wrong"], *wrong))
    probability = facts.measured("model.p_melanoma")
    if probability is not None and claims:
        claims.append(claim_of("quality", words.phrases["corrected_probability"], probability))
    return claims


def _mask(facts: Facts, words: Language) -> Claim:
    decision = facts["mask.decision"]
    if decision.value is None:
        return claim_of("quality", words.phrases["mask_missing"].format(reason=words.reason(decision.reason or "not_measured")), decision)
    accepted = decision.value == "accepted"
    used = [decision]
    parts = {"agreement": "", "confidence": "", "area": ""}
    for key, fact_id, phrase in (
        ("agreement", "mask.agreement_dice", "agreement" if accepted else "agreement_kept"),
        ("confidence", "mask.confidence", "confidence"),
        ("area", "mask.area_share", "area"),
    ):
        fact = facts.measured(fact_id)
        if fact is not None:
            used.append(fact)
            parts[key] = words.phrases[phrase].format(value=number(fact, words))
    named = facts.measured("mask.refiner" if accepted else "mask.decision_reason")
    phrase = "mask_accepted" if accepted else "mask_kept"
    if named is None:
        return claim_of("quality", words.phrases[f"{phrase}_plain"].format(**parts), *used)
    said = {"refiner": words.word("refiner", str(named.value)), "reason": words.reason(str(named.value))}
    return claim_of("quality", words.phrases[phrase].format(**parts, **said), *used, named)


def _flags(facts: Facts, words: Language) -> Claim:
    fact = facts["quality.flags"]
    if not isinstance(fact.value, tuple):
        return claim_of("quality", words.phrases["flags_missing"].format(reason=words.reason(fact.reason or "not_measured")), fact)
    if not fact.value:
        return claim_of("quality", words.phrases["flags_none"], fact)
    return claim_of("quality", words.phrases["flags"].format(list=join([words.word("flag", flag) for flag in fact.value], words)), fact)


def _notes(facts: Facts, words: Language) -> list[Claim]:
    """Word what the measurement itself noted; that the frame cuts the lesion may also come from the coarse mask."""
    notes, cut = facts.measured("abc.flags"), facts.measured("mask.touches_border")
    flags = notes.value if notes is not None and isinstance(notes.value, tuple) else ()
    claims = []
    if notes is not None and flags:
        text = words.phrases["notes"].format(list=join([words.word("note", flag) for flag in flags], words))
        claims.append(claim_of("quality", text, notes))
    if cut is not None and cut.value is True and "cut_by_frame" not in flags:
        claims.append(claim_of("quality", words.phrases["cut"], cut))
    return claims
