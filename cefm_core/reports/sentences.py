"""A sentence taken apart for the checker: clauses, topics, numbers with their roles, negations.

What any of it must agree with belongs to the checks; the words, to ``lexicon``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from cefm_core.reports.lexicon import Lexicon, Topic, load_lexicon

_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = r"(?:\s?(?:%|percent|per cent|Prozent|points?))?"
_FREE_NUMBER = re.compile(rf"(?<![\w.,/]){_NUMBER}(?![\w])|(?<=/){_NUMBER}(?![\w])|(?<=/ ){_NUMBER}(?![\w])")
_PAIR = re.compile(rf"(?<![\w.,])({_NUMBER}){_UNIT}\s*(?:to|bis|–|—|-|until)\s*({_NUMBER})({_UNIT})(?!\w)", re.IGNORECASE)
_BETWEEN = re.compile(rf"(?:between|zwischen)\s+({_NUMBER}){_UNIT}\s+(?:and|und)\s+({_NUMBER})({_UNIT})(?!\w)", re.IGNORECASE)
_PERCENT = re.compile(r"\A\s?(?:%|percent|per cent|Prozent)", re.IGNORECASE)
_LEVEL_BEFORE = re.compile(r"(?:levels?|Stufen?)\s*(?:is|of|:|=|ist|von)?\s*\Z", re.IGNORECASE)
_SCALE_BEFORE = re.compile(r"(?:\d\s*(?:of|out of|von|der|/)|\A\s*(?:of|von))\s*(?:the\s+|den\s+|a possible\s+)?\Z", re.IGNORECASE)
_LEVEL_SCALE = re.compile(rf"(?:levels?|Stufen?)\s*(?:is|of|:|=|ist|von)?\s*{_NUMBER}\s*(?:of|out of|von|/)\s*\Z", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[;:()–—]|,(?=\s)|\.(?=\s|\Z)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÄÖÜ“\"„(<{])")


@dataclass(frozen=True)
class Number:
    """A number in a sentence.

    Attributes:
        value: The number.
        start: Where it begins.
        role: ``value``, ``level``, ``scale``, ``level_scale`` or ``pair`` (then ``high`` is the other end).
        percent: Whether a percent sign follows.
        high: The upper end of a pair, else None.
        text: As written.
    """

    value: float
    start: int
    role: str
    percent: bool
    high: float | None
    text: str


@dataclass(frozen=True)
class Mention:
    """A topic where it stands."""

    topic: Topic
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """One sentence with its parts.

    Attributes:
        text: The sentence, citations of descriptors masked by ``•``.
        clauses: (start, end) of each clause.
        mentions: Topics in order.
        numbers: Numbers in order.
        negations: Where negating words begin and end.
        negation_follows: Whether the language also negates behind the word (German ``nicht``).
    """

    text: str
    clauses: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...]
    numbers: tuple[Number, ...]
    negations: tuple[tuple[int, int], ...]
    negation_follows: bool = False

    def clause(self, position: int) -> tuple[int, int]:
        """Return the clause that holds a position."""
        return next((c for c in self.clauses if c[0] <= position < c[1]), (0, len(self.text)))

    def topics_at(self, position: int) -> tuple[Topic, ...]:
        """Return the topics that a word or number at a position belongs to.

        Those of its clause; if it has none, the nearest before it; if there is none, the first after it. A topic of the sentence
        that narrows one of them may be meant too.
        """
        start, end = self.clause(position)
        own = [m.topic for m in self.mentions if start <= m.start < end]
        before = [m.topic for m in self.mentions if m.start < position]
        after = [m.topic for m in self.mentions if m.start >= position]
        chosen = own or before[-1:] or after[:1]
        narrower = [topic for topic in (*reversed(before), *after) if topic.narrows and topic.narrows in {t.name for t in chosen}]
        return tuple(dict.fromkeys([*chosen, *narrower[:1]]))

    def nearest_topic(self, start: int, end: int) -> Topic | None:
        """Return the topic of a word: the closest in its clause, before it on a tie; else as :meth:`topics_at`."""
        low, high = self.clause(start)
        own = [m for m in self.mentions if low <= m.start < high]
        if own:
            return min(own, key=lambda m: (max(m.start - end, start - m.end, 0), m.start)).topic
        return next(iter(self.topics_at(start)), None)

    def negated(self, position: int, window: int = 5, *, around: bool = False, behind: bool = True) -> bool:
        """Return whether the word at a position is negated within its clause; two negations cancel.

        Args:
            position: Where the word begins.
            window: Most words between it and the negating word.
            around: Whether a negating word may also follow (``black was not found``); in some languages it always may.
            behind: False keeps those languages from it, where the word at the position holds a negation itself.
        """
        start, end = self.clause(position)
        before = [s for s, e in self.negations if start <= s < position and len(self.text[e:position].split()) <= window]
        after = [s for s, _ in self.negations if position < s < end and len(self.text[position:s].split()) <= window]
        return (len(before) + (len(after) if around or (self.negation_follows and behind) else 0)) % 2 == 1


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


@lru_cache(maxsize=4096)
def take_apart(text: str, language: str) -> Sentence:
    """Take one sentence apart; citations and names with digits are masked by the caller."""
    lexicon = load_lexicon(language)
    pairs = [*_BETWEEN.finditer(text), *_PAIR.finditer(text)]
    return Sentence(
        text=text,
        clauses=_clauses(text, lexicon, [(m.start(), m.end()) for m in pairs]),
        mentions=_mentions(text, lexicon),
        numbers=_numbers(text, lexicon, pairs),
        negations=tuple((m.start(), m.end()) for m in lexicon.patterns["negation"].finditer(text)),
        negation_follows=lexicon.negation_follows,
    )


def _clauses(text: str, lexicon: Lexicon, kept: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Cut at punctuation and conjunctions, but not inside a pair of numbers."""
    cuts = [m.start() for pattern in (_PUNCTUATION, lexicon.patterns["splitters"]) for m in pattern.finditer(text)]
    cuts = sorted({cut for cut in cuts if not any(start <= cut < end for start, end in kept)})
    edges = [0, *cuts, len(text)]
    return tuple((a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a)


def _mentions(text: str, lexicon: Lexicon) -> tuple[Mention, ...]:
    """Find topics; where two overlap the longer stands."""
    found = [Mention(topic, m.start(), m.end()) for topic in lexicon.topics for m in topic.pattern.finditer(text)]
    chosen: list[Mention] = []
    for mention in sorted(found, key=lambda m: (m.start - m.end, m.start)):
        if all(mention.end <= other.start or mention.start >= other.end for other in chosen):
            chosen.append(mention)
    return tuple(sorted(chosen, key=lambda m: m.start))


def _numbers(text: str, lexicon: Lexicon, pairs: list[re.Match[str]]) -> tuple[Number, ...]:
    numbers: list[Number] = []
    taken: list[tuple[int, int]] = []
    for match in pairs:
        if any(start < match.end() and match.start() < end for start, end in taken):
            continue
        taken.append((match.start(), match.end()))
        low, high = _float(match.group(1)), _float(match.group(2))
        numbers.append(Number(low, match.start(1), "pair", bool(_PERCENT.match(match.group(3))), high, match.group(0).strip()))
    for match in _FREE_NUMBER.finditer(text):
        if not any(start <= match.start() < end for start, end in taken):
            numbers.append(_single(text, match))
    numbers += _words(text, lexicon)
    return tuple(sorted(numbers, key=lambda n: n.start))


def _single(text: str, match: re.Match[str]) -> Number:
    before = text[: match.start()]
    if _LEVEL_SCALE.search(before):
        role = "level_scale"
    elif _LEVEL_BEFORE.search(before):
        role = "level"
    elif _SCALE_BEFORE.search(before):
        role = "scale"
    else:
        role = "value"
    return Number(_float(match.group()), match.start(), role, bool(_PERCENT.match(text[match.end() :])), None, match.group())


def _words(text: str, lexicon: Lexicon) -> list[Number]:
    """Numbers written as words; ``one`` counts only before a word that can be counted."""
    numbers = []
    for match in re.finditer(r"[A-Za-zÄÖÜäöü]+", text):
        word = match.group().lower()
        value = lexicon.quantity_words.get(word)
        if word in ("one", "eine", "ein") and lexicon.patterns["one_before"].match(text[match.end() :].lstrip()):
            value = 1
        if value is not None:
            role = "scale" if _SCALE_BEFORE.search(text[: match.start()]) else "value"
            numbers.append(Number(float(value), match.start(), role, False, None, match.group()))
    return numbers


def _float(text: str) -> float:
    return float(text.replace(",", "."))
