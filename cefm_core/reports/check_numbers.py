"""Every number equals its fact at the stated rounding, in the fact's unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from cefm_core.reports.ledger import Fact
from cefm_core.reports.lexicon import Lexicon
from cefm_core.reports.sentences import Number, Sentence
from cefm_core.reports.verdict import Reason

_TOLERANCE = 1e-9
LEVELS = 5
LOG_ODDS = "log odds"
"""Unit of the facts that have a sign."""


def check_numbers(sentence: Sentence, text: str, pool: Iterable[Fact] | None, ledger: Iterable[Fact], lexicon: Lexicon) -> Iterator[Reason]:
    """Check the numbers of one sentence.

    Args:
        sentence: The sentence, taken apart.
        text: The sentence as it stands, for the reasons.
        pool: Facts that its claim names; None for a plain text, where only a topic leads to a fact.
        ledger: Every fact.
        lexicon: Words.
    """
    facts = tuple(ledger if pool is None else pool)
    for number in sentence.numbers:
        code, fact = _judge(number, sentence, facts, lexicon, needs_topic=pool is None)
        if code is not None:
            yield Reason(code, text, fact)


def _judge(
    number: Number, sentence: Sentence, facts: tuple[Fact, ...], lexicon: Lexicon, *, needs_topic: bool
) -> tuple[str | None, str | None]:
    """Return the objection to one number and the fact concerned, or (None, None)."""
    if lexicon.patterns["length_units"].match(sentence.text[number.start :].lstrip("0123456789., ")):
        return None, None  # a length is judged as a whole by the check of sizes
    topics = sentence.topics_at(number.start)
    named = {fact_id for topic in topics for fact_id in topic.facts}
    bound = [fact for fact in facts if fact.id in named] if topics else [] if needs_topic else list(facts)
    if not bound:
        return "number_unsupported", next(iter(sorted(named)), None)
    if any(_agrees(number, fact, sentence, lexicon) for fact in bound):
        return None, None
    first = bound[0]
    if first.value is None and number.role != "scale":
        return "missing_value_stated", first.id
    others = [replace(number, percent=not number.percent), replace(number, percent=True, value=100 * number.value)]
    if any(_agrees(other, fact, sentence, lexicon) for other in others for fact in bound):
        return "unit_changed", first.id
    return ("level_contradicted" if number.role == "level" else "number_unsupported"), first.id


def _agrees(number: Number, fact: Fact, sentence: Sentence, lexicon: Lexicon) -> bool:
    """Return whether a number is one that a fact states in this role."""
    if number.role == "level":
        return fact.level is not None and number.value == fact.level and not number.percent
    if number.role == "level_scale":
        return number.value == LEVELS and not number.percent
    if number.role == "scale":
        return fact.scale_max is not None and number.value == fact.scale_max and not number.percent
    if number.role == "pair":
        return _pair_agrees(number, fact)
    if isinstance(fact.value, str):
        return number.text in re.findall(r"\d+(?:\.\d+)?", fact.value)
    if not fact.is_number or number.percent != fact.is_share:
        return False
    if fact.unit == LOG_ODDS:
        return _shift_agrees(number, fact, sentence, lexicon)
    if _same(_signed(number, sentence), fact.stated()):
        return True
    before = sentence.text[max(0, number.start - 30) : number.start]
    return bool(lexicon.patterns["beside"].search(before)) and any(_same(number.value, fact.stated(bound)) for bound in fact.anchors)


def _signed(number: Number, sentence: Sentence) -> float:
    """Return a number with the minus sign that stands before it."""
    minus = re.search(r"(?:^|[\s(=])[-−]\Z", sentence.text[: number.start])
    return -number.value if minus else number.value


def _shift_agrees(number: Number, fact: Fact, sentence: Sentence, lexicon: Lexicon) -> bool:
    """A shift is stated with its sign, or without it behind a word that says whether it raises or lowers; negated, it says nothing."""
    start, _ = sentence.clause(number.start)
    ways = [(m.start(), way) for way in ("raises", "lowers") for m in lexicon.states[way].finditer(sentence.text, start, number.start)]
    if not ways:
        return _same(_signed(number, sentence), fact.stated())
    position, way = max(ways)
    if sentence.negated(position):
        return False
    return _same(number.value if way == "raises" else -number.value, fact.stated())


def _pair_agrees(number: Number, fact: Fact) -> bool:
    if isinstance(fact.value, str):
        return re.sub(r"\s", "", number.text) in fact.value
    if not fact.is_number or number.high is None or number.percent != fact.is_share:
        return False
    ends = [(fact.low, fact.high)] + ([(fact.anchors[0], fact.anchors[-1])] if fact.anchors else [])
    return any(
        low is not None and high is not None and _same(number.value, fact.stated(low)) and _same(number.high, fact.stated(high))
        for low, high in ends
    )


def _same(value: float, stated: str) -> bool:
    return abs(value - float(stated)) < _TOLERANCE
