"""Every qualitative word agrees with the level of the fact it speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from cefm_core.reports.ledger import Fact
from cefm_core.reports.lexicon import Lexicon, Term, Topic
from cefm_core.reports.sentences import Sentence
from cefm_core.reports.verdict import Reason

ALL_LEVELS = frozenset(range(1, 6))
_BAND = re.compile(
    r"(?P<side>below|under|within|in|inside|above|over|exceeds|beyond|reaches|unter(?:halb)?|über|oberhalb|innerhalb|in)\s+"
    r"(?:the |des |dem |der |this |its )?(?:rule's |upper |lower )?(?:suspicious|verdächtige\w*)",
    re.IGNORECASE,
)
_SIDES = {
    "below": -1,
    "under": -1,
    "unter": -1,
    "unterhalb": -1,
    "above": 1,
    "over": 1,
    "exceeds": 1,
    "beyond": 1,
    "über": 1,
    "oberhalb": 1,
}


def check_degrees(sentence: Sentence, text: str, facts: Mapping[str, Fact], lexicon: Lexicon) -> Iterator[Reason]:
    """Check degree words and adjectives of one sentence against the levels of the ledger.

    Args:
        sentence: The sentence, taken apart.
        text: The sentence as it stands.
        facts: The whole ledger by id: a level that contradicts a fact is wrong whether or not the claim names it.
        lexicon: Words.
    """
    degrees = list(_matches(sentence, lexicon.degrees))
    for term, start, end in degrees:
        topic = sentence.nearest_topic(start, end) or _adjective_topic(sentence, start, lexicon)
        yield from _judge(term, start, topic, sentence, text, facts)
    for term, start, _end in _matches(sentence, lexicon.adjectives, keep_overlaps=True):
        low, high = sentence.clause(start)
        if term.soft and any(low <= s < high for _, s, _ in degrees):
            continue
        others = {m.topic.name for m in sentence.mentions if low <= m.start < high}
        if term.topic in others or not others:
            yield from _judge(term, start, lexicon.topic(term.topic), sentence, text, facts)


def _matches(sentence: Sentence, terms: tuple[Term, ...], *, keep_overlaps: bool = False) -> Iterator[tuple[Term, int, int]]:
    """Find terms; where two overlap the longer stands, unless they are of different topics."""
    found = [(term, m.start(), m.end()) for term in terms for m in term.pattern.finditer(sentence.text)]
    taken: list[tuple[int, int, str]] = []
    for term, start, end in sorted(found, key=lambda f: (f[1] - f[2], f[1])):
        if all(end <= s or start >= e or (keep_overlaps and topic != term.topic) for s, e, topic in taken):
            taken.append((start, end, term.topic))
            yield term, start, end


def _adjective_topic(sentence: Sentence, position: int, lexicon: Lexicon) -> Topic | None:
    """Return the topic that an adjective of the same clause gives (``severely irregular``)."""
    low, high = sentence.clause(position)
    for term in lexicon.adjectives:
        if term.pattern.search(sentence.text, low, high):
            return lexicon.topic(term.topic)
    return None


def _judge(term: Term, position: int, topic: Topic | None, sentence: Sentence, text: str, facts: Mapping[str, Fact]) -> Iterator[Reason]:
    fact = next((facts[fact_id] for fact_id in (topic.facts if topic else ()) if fact_id in facts), None)
    if topic is None or not topic.facts or (fact is None and topic.name == "descriptors"):
        return
    if fact is None:
        yield Reason("level_unsupported", text, topic.facts[0])
    elif fact.value is None:
        yield Reason("missing_value_stated", text, fact.id)
    elif fact.level is None:
        if not fact.id.startswith(("descriptor.", "colour.")):
            yield Reason("level_unsupported", text, fact.id)
    else:
        negated = sentence.negated(position)
        if fact.level not in (ALL_LEVELS - term.levels if negated else term.levels):
            yield Reason("level_contradicted", text, fact.id)


def check_band(sentence: Sentence, text: str, facts: Mapping[str, Fact]) -> Iterator[Reason]:
    """Check on which side of the rule's suspicious range a text puts the total score."""
    fact = facts.get("abc.tds")
    for match in _BAND.finditer(sentence.text):
        if fact is None or not isinstance(fact.value, float) or not fact.anchors:
            yield Reason("missing_value_stated", text, "abc.tds")
            continue
        side = _SIDES.get(match.group("side").lower(), 0)
        true_side = -1 if fact.value < fact.anchors[0] else 1 if fact.value > fact.anchors[-1] else 0
        if (side == true_side) == sentence.negated(match.start()):
            yield Reason("level_contradicted", text, fact.id)
