"""The section of a report that speaks of the model: probability, what it rests on, abstention."""

from __future__ import annotations

from cefm_core.reports.claims import Claim
from cefm_core.reports.language import Language
from cefm_core.reports.ledger import Facts
from cefm_core.reports.wording import claim_of, join, number

_SHIFTS = ("model.shift_asymmetry", "model.shift_border", "model.shift_colour", "model.shift_structure")


def risk_claims(facts: Facts, words: Language) -> list[Claim]:
    """Word what the model says; without a probability, only why there is none."""
    probability = facts["model.p_melanoma"]
    if probability.value is None:
        text = words.phrases["probability_missing"].format(reason=words.reason(probability.reason or "not_measured"))
        return [claim_of("risk", text, probability)]
    interval = ""
    if probability.low is not None and probability.high is not None:
        ends = {key: words.number(probability.stated(end)) for key, end in (("low", probability.low), ("high", probability.high))}
        interval = words.phrases["interval_percent"].format(**ends)
    word = words.level_word("P", probability.level or 1)
    text = words.phrases["probability"].format(value=number(probability, words), interval=interval, word=word)
    claims = [claim_of("risk", text, probability), *_branches(facts, words), *_shifts(facts, words)]
    return [*claims, *_abstention(facts, words), *_split(facts, words), *_nearest(facts, words)]


def _branches(facts: Facts, words: Language) -> list[Claim]:
    image, clinical = facts.measured("model.p_image"), facts.measured("model.p_clinical")
    if image is None or clinical is None:
        return []
    text = words.phrases["branches"].format(image=number(image, words), clinical=number(clinical, words))
    return [claim_of("risk", text, image, clinical)]


def _shifts(facts: Facts, words: Language) -> list[Claim]:
    """Say what each criterion adds to the estimate from the measurements alone; the direction is a word, the number has no sign."""
    shifts = [fact for fact_id in _SHIFTS if (fact := facts.measured(fact_id)) is not None]
    if len(shifts) < len(_SHIFTS):
        return []
    parts = []
    for fact in shifts:
        stated = fact.stated()
        way = "down" if float(stated) < 0 else "up"
        parts.append(words.phrases[f"shift_{way}.{fact.id}"].format(value=words.number(stated.removeprefix("-"))))
    return [claim_of("risk", words.phrases["shifts"].format(list=join(parts, words)), *shifts)]


def _nearest(facts: Facts, words: Language) -> list[Claim]:
    """Say how near the nearest case lies; which cases these are stands on the page alone."""
    cosine = facts.measured("model.nearest_cosine")
    return [claim_of("risk", words.phrases["nearest"].format(value=number(cosine, words)), cosine)] if cosine is not None else []


def _abstention(facts: Facts, words: Language) -> list[Claim]:
    fact, reasons = facts.measured("model.abstain"), facts.measured("model.abstain_reasons")
    if fact is None:
        return []
    if not fact.value:
        return [claim_of("risk", words.phrases["does_not_abstain"], fact)]
    if reasons is None or not isinstance(reasons.value, tuple) or not reasons.value:
        return [claim_of("risk", words.phrases["abstains"].format(why=""), fact)]
    why = words.phrases["abstains_why"].format(list=join([words.word("why", code) for code in reasons.value], words))
    return [claim_of("risk", words.phrases["abstains"].format(why=why), fact, reasons)]


def _split(facts: Facts, words: Language) -> list[Claim]:
    """Say whether the model has seen the image: ``train`` fitted it, ``tune`` chose its epochs and temperatures."""
    fact = facts.measured("model.split")
    if fact is None:
        return []
    phrase = "fitted" if fact.value in ("train", "tune") else "held_out"
    return [claim_of("risk", words.phrases[phrase].format(split=fact.value), fact)]
