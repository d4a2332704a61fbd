"""How a fact becomes part of a sentence; what the template writer's sections have in common."""

from __future__ import annotations

from cefm_core.reports.claims import Claim
from cefm_core.reports.language import Language
from cefm_core.reports.ledger import Fact

_PLURAL = ("abc.structure_count",)


def missing(section: str, fact: Fact, words: Language) -> Claim:
    """Return the claim that a fact was not measured, with its reason."""
    name = words.names[fact.id]
    phrase = words.phrases["missing_plural" if fact.id in _PLURAL else "missing"]
    text = phrase.format(name=name[0].upper() + name[1:], reason=words.reason(fact.reason or "not_measured"))
    return claim_of(section, text, fact)


def interval(fact: Fact, words: Language) -> str:
    """Return the interval of a fact as part of a sentence, or "" where it has none."""
    if fact.low is None or fact.high is None:
        return ""
    return words.phrases["interval"].format(low=words.number(fact.stated(fact.low)), high=words.number(fact.stated(fact.high)))


def number(fact: Fact, words: Language) -> str:
    """Return the number of a fact as it is stated."""
    return words.number(fact.stated())


def join(parts: list[str], words: Language) -> str:
    """Join as in prose: ``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + words.phrases["list_and"] + parts[-1]


def claim_of(section: str, text: str, *facts: Fact) -> Claim:
    """Return the claim that rests on these facts."""
    return Claim(section, text, tuple(fact.id for fact in facts))
