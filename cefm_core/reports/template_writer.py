"""The offline writer: from the ledger to claims by fixed rules, in any language that is shipped as data.

The same facts give the same bytes. Sentence patterns do not belong here (``data/language_*.toml``), only which of them apply.
"""

from __future__ import annotations

from cefm_core.reports.claims import Claim, Report
from cefm_core.reports.language import Language, load_language
from cefm_core.reports.ledger import Fact, Facts

_PAPER = ("paper.a_grey", "paper.b2_mean_curvature", "paper.hue_std", "paper.saturation_std", "paper.value_std")
_CRITERIA = {
    "abc.asymmetry_score": "asymmetry",
    "abc.border_score": "border",
    "abc.colour_count": "colour",
    "abc.structure_count": "structures",
}
_BY_CRITERION = {"A": "abc.asymmetry_score", "B": "abc.border_score", "C": "abc.colour_count"}
_PLURAL = ("abc.structure_count",)


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
    claims = [*_quantitative(facts, words), *_visual(facts, words), *_risk(facts, words), *_quality(facts, words)]
    return Report(tuple(claims), language)


def _quantitative(facts: Facts, words: Language) -> list[Claim]:
    claims = [_score(facts[fact_id], phrase, words) for fact_id, phrase in _CRITERIA.items()]
    claims.append(_total(facts["abc.tds"], words))
    part = facts.measured("abc.tds_without_structures")
    if part is not None and facts["abc.tds"].value is None:
        claims.append(_claim("quantitative", words.phrases["tds_part"].format(value=_number(part, words)), part))
    paper = [fact for fact_id in _PAPER if (fact := facts.measured(fact_id)) is not None]
    if paper:
        parts = _join([words.phrases[fact.id].format(value=_number(fact, words)) for fact in paper], words)
        claims.append(_claim("quantitative", words.phrases["paper"].format(parts=parts), *paper))
    return claims


def _score(fact: Fact, phrase: str, words: Language) -> Claim:
    """Word one of A, B, C, D: with its level where there is one, or as not measured with the reason."""
    if fact.value is None:
        return _missing("quantitative", fact, words)
    leveled = fact.level is not None and phrase in words.phrases and f"{phrase}_plain" in words.phrases
    text = words.phrases[phrase if leveled or f"{phrase}_plain" not in words.phrases else f"{phrase}_plain"].format(
        word=words.level_word(fact.criterion, fact.level) if fact.level is not None else "",
        value=_number(fact, words),
        scale=f"{fact.scale_max:g}" if fact.scale_max is not None else "",
        interval=_interval(fact, words),
        level=words.phrases["level"].format(level=fact.level) if fact.level is not None else "",
    )
    return _claim("quantitative", text, fact)


def _total(fact: Fact, words: Language) -> Claim:
    if not isinstance(fact.value, float):
        return _missing("quantitative", fact, words)
    suspicious, highly = fact.anchors
    band = "below" if fact.value < suspicious else "within" if fact.value <= highly else "above"
    text = words.phrases[f"tds_{band}"].format(
        value=_number(fact, words),
        interval=_interval(fact, words),
        suspicious=words.number(fact.stated(suspicious)),
        highly=words.number(fact.stated(highly)),
    )
    return _claim("quantitative", text, fact)


def _visual(facts: Facts, words: Language) -> list[Claim]:
    claims = _colours(facts, words)
    ranked = facts.descriptors()
    named = [fact for fact in ranked if fact.value is not None]
    if not named and ranked[0].source == "clinician":
        return [*claims, _claim("visual", words.phrases["descriptors_marked"], *ranked)]
    if not named:
        text = words.phrases["descriptors_missing"].format(reason=words.reason(ranked[0].reason or "not_measured"))
        return [*claims, _claim("visual", text, ranked[0])]
    quoted = _join([words.phrases["quoted"].format(phrase=words.word("descriptor", str(fact.value))) for fact in named], words)
    claims.append(_claim("visual", words.phrases["descriptors"].format(list=quoted), *named))
    claims += [claim for fact in named if (claim := _conflict(fact, facts, words)) is not None]
    return claims


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
            share=_number(fact, words),
        )
        for fact in seen
    ]
    rest = words.phrases["colours_rest"].format(list=_join(parts[1:], words)) if parts[1:] else ""
    return [_claim("visual", words.phrases["colours_seen"].format(first=parts[0], rest=rest), names, *seen)]


def _conflict(fact: Fact, facts: Facts, words: Language) -> Claim | None:
    """Word a descriptor that does not go with the measurement of the same thing."""
    if fact.relation not in ("differ", "contradict"):
        return None
    measured = facts.measured(_BY_CRITERION[fact.criterion])
    if measured is None or measured.level is None or facts.measured("colour.names") and _names_colour(fact):
        measured = facts["colour.names"]
    word = words.level_word(measured.criterion, measured.level) if measured.level is not None else ""
    said = words.phrases[f"measured.{measured.id}"].format(word=word)
    text = words.phrases[fact.relation].format(phrase=words.word("descriptor", str(fact.value)), measured=said)
    return _claim("visual", text, fact, measured)


def _names_colour(fact: Fact) -> bool:
    return any(colour in str(fact.value) for colour in ("brown", "black", "blue-gray", "red ", "white"))


def _risk(facts: Facts, words: Language) -> list[Claim]:
    probability = facts["model.p_melanoma"]
    if probability.value is None:
        text = words.phrases["probability_missing"].format(reason=words.reason(probability.reason or "not_measured"))
        return [_claim("risk", text, probability)]
    interval = ""
    if probability.low is not None and probability.high is not None:
        ends = {key: words.number(probability.stated(end)) for key, end in (("low", probability.low), ("high", probability.high))}
        interval = words.phrases["interval_percent"].format(**ends)
    word = words.level_word("P", probability.level or 1)
    text = words.phrases["probability"].format(value=_number(probability, words), interval=interval, word=word)
    return [_claim("risk", text, probability), *_branches(facts, words), *_abstention(facts, words), *_split(facts, words)]


def _branches(facts: Facts, words: Language) -> list[Claim]:
    image, clinical = facts.measured("model.p_image"), facts.measured("model.p_clinical")
    if image is None or clinical is None:
        return []
    text = words.phrases["branches"].format(image=_number(image, words), clinical=_number(clinical, words))
    return [_claim("risk", text, image, clinical)]


def _abstention(facts: Facts, words: Language) -> list[Claim]:
    fact, reasons = facts.measured("model.abstain"), facts.measured("model.abstain_reasons")
    if fact is None:
        return []
    if not fact.value:
        return [_claim("risk", words.phrases["does_not_abstain"], fact)]
    if reasons is None or not isinstance(reasons.value, tuple) or not reasons.value:
        return [_claim("risk", words.phrases["abstains"].format(why=""), fact)]
    why = words.phrases["abstains_why"].format(list=_join([words.word("why", code) for code in reasons.value], words))
    return [_claim("risk", words.phrases["abstains"].format(why=why), fact, reasons)]


def _split(facts: Facts, words: Language) -> list[Claim]:
    """Say whether the model has seen the image: ``train`` fitted it, ``tune`` chose its epochs and temperatures."""
    fact = facts.measured("model.split")
    if fact is None:
        return []
    phrase = "fitted" if fact.value in ("train", "tune") else "held_out"
    return [_claim("risk", words.phrases[phrase].format(split=fact.value), fact)]


def _quality(facts: Facts, words: Language) -> list[Claim]:
    claims = [_mask(facts, words), _flags(facts, words)]
    claims += _notes(facts, words)
    if "scope.diameter" in facts and facts["scope.diameter"].value is None:
        claims.append(_missing("quality", facts["scope.diameter"], words))
    recorded = [fact for fact in facts if fact.source == "metadata"]
    if recorded:
        parts = [words.phrases[f"recorded.{f.id}"].format(value=words.word(f.id.removeprefix("meta."), str(f.value))) for f in recorded]
        claims.append(_claim("quality", words.phrases["recorded"].format(list=_join(parts, words)), *recorded))
    return claims + _corrections(facts, words)


def _corrections(facts: Facts, words: Language) -> list[Claim]:
    """Say what a clinician corrected, and that the model did not hear of it."""
    levels = [fact for fact in facts if fact.source == "clinician" and fact.value is not None]
    wrong = [fact for fact in facts if fact.source == "clinician" and fact.value is None]
    claims = []
    if levels:
        names = _join([words.names[fact.id] for fact in levels], words)
        claims.append(_claim("quality", words.phrases["corrected_levels"].format(list=names), *levels))
    if wrong:
        claims.append(_claim("quality", words.phrases["corrected_wrong"], *wrong))
    probability = facts.measured("model.p_melanoma")
    if probability is not None and claims:
        claims.append(_claim("quality", words.phrases["corrected_probability"], probability))
    return claims


def _mask(facts: Facts, words: Language) -> Claim:
    decision = facts["mask.decision"]
    if decision.value is None:
        return _claim("quality", words.phrases["mask_missing"].format(reason=words.reason(decision.reason or "not_measured")), decision)
    accepted = decision.value == "accepted"
    used = [decision]
    parts = {"agreement": "", "area": ""}
    for key, fact_id, phrase in (
        ("agreement", "mask.agreement_dice", "agreement" if accepted else "agreement_kept"),
        ("area", "mask.area_share", "area"),
    ):
        fact = facts.measured(fact_id)
        if fact is not None:
            used.append(fact)
            parts[key] = words.phrases[phrase].format(value=_number(fact, words))
    named = facts.measured("mask.refiner" if accepted else "mask.decision_reason")
    phrase = "mask_accepted" if accepted else "mask_kept"
    if named is None:
        return _claim("quality", words.phrases[f"{phrase}_plain"].format(**parts), *used)
    said = {"refiner": words.word("refiner", str(named.value)), "reason": words.reason(str(named.value))}
    return _claim("quality", words.phrases[phrase].format(**parts, **said), *used, named)


def _flags(facts: Facts, words: Language) -> Claim:
    fact = facts["quality.flags"]
    if not isinstance(fact.value, tuple):
        return _claim("quality", words.phrases["flags_missing"].format(reason=words.reason(fact.reason or "not_measured")), fact)
    if not fact.value:
        return _claim("quality", words.phrases["flags_none"], fact)
    return _claim("quality", words.phrases["flags"].format(list=_join([words.word("flag", flag) for flag in fact.value], words)), fact)


def _notes(facts: Facts, words: Language) -> list[Claim]:
    """Word what the measurement itself noted; that the frame cuts the lesion may also come from the coarse mask."""
    notes, cut = facts.measured("abc.flags"), facts.measured("mask.touches_border")
    flags = notes.value if notes is not None and isinstance(notes.value, tuple) else ()
    claims = []
    if notes is not None and flags:
        text = words.phrases["notes"].format(list=_join([words.word("note", flag) for flag in flags], words))
        claims.append(_claim("quality", text, notes))
    if cut is not None and cut.value is True and "cut_by_frame" not in flags:
        claims.append(_claim("quality", words.phrases["cut"], cut))
    return claims


def _missing(section: str, fact: Fact, words: Language) -> Claim:
    name = words.names[fact.id]
    phrase = words.phrases["missing_plural" if fact.id in _PLURAL else "missing"]
    text = phrase.format(name=name[0].upper() + name[1:], reason=words.reason(fact.reason or "not_measured"))
    return _claim(section, text, fact)


def _interval(fact: Fact, words: Language) -> str:
    if fact.low is None or fact.high is None:
        return ""
    return words.phrases["interval"].format(low=words.number(fact.stated(fact.low)), high=words.number(fact.stated(fact.high)))


def _number(fact: Fact, words: Language) -> str:
    return words.number(fact.stated())


def _join(parts: list[str], words: Language) -> str:
    """Join as in prose: ``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + words.phrases["list_and"] + parts[-1]


def _claim(section: str, text: str, *facts: Fact) -> Claim:
    return Claim(section, text, tuple(fact.id for fact in facts))
