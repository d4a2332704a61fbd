"""States and findings: abstention, mask, split, flags, colours, missing values; and what may not be said at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from cefm_core.reports.facts import STRUCTURES
from cefm_core.reports.language import Language
from cefm_core.reports.ledger import Facts
from cefm_core.reports.lexicon import Lexicon
from cefm_core.reports.metadata import known_sites
from cefm_core.reports.sentences import Sentence
from cefm_core.reports.verdict import Reason

_CUT_REASONS = ("cut_by_frame", "touches_border")
_SITE = re.compile(r"\b(?:sites?|located (?:on|at)|location|ort)\b(?:\s+(?:is|was|of|the|a|lesion|recorded|as|on|ist|:))*\s+([a-zäöüß ]+)")
_COLOURS = ("white", "red", "light brown", "dark brown", "blue gray", "black")


def check_bans(masked: str, text: str, facts: Facts, lexicon: Lexicon) -> Iterator[Reason]:
    """Check what no report may hold: a diagnosis, a size without a scale, an instruction, reasoning.

    Args:
        masked: The sentence, citations masked.
        text: The sentence as it stands.
        facts: The ledger.
        lexicon: Words.
    """
    if lexicon.patterns["diagnosis_stems"].search(masked) and _is_diagnosis(masked, lexicon):
        yield Reason("diagnosis", text)
    scale = facts.measured("scope.diameter")
    length = _length(lexicon.patterns["length_units"].pattern).search(masked)
    named = lexicon.patterns["diameter"].search(masked)
    if scale is None and (length or (named and not lexicon.patterns["missing"].search(masked))):
        yield Reason("diameter", text, "scope.diameter")
    if lexicon.patterns["instruction"].search(text):
        yield Reason("instruction", text)
    if lexicon.patterns["reasoning"].search(text):
        yield Reason("reasoning", text)


def _is_diagnosis(masked: str, lexicon: Lexicon) -> bool:
    """A disease named outside the context of a probability, or one of the turns of phrase of a diagnosis or a recommendation."""
    bare = lexicon.patterns["disease"].search(masked) and not lexicon.patterns["disease_context"].search(masked)
    return bool(bare) or any(pattern.search(masked) for pattern in lexicon.diagnosis)


@cache
def _length(units: str) -> re.Pattern[str]:
    """Return the pattern of a number with a unit of length, from the whole-word pattern of the units."""
    inner = units.removeprefix(r"(?<![\w-])(?:").removesuffix(r")(?!\w)")
    return re.compile(rf"\d\s*-?\s*(?:{inner})\b", re.IGNORECASE)


def check_language(text: str, language: str, lexicon: Lexicon) -> Iterator[Reason]:
    """Check that a sentence is in the report's language: by stop words, and by script."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    letters = "".join(words)
    foreign = sum(ord(character) > 0x24F and character != "μ" for character in letters)
    counts = {code: sum(word in stops for word in words) for code, stops in lexicon.languages.items()}
    own = counts.pop(language, 0)
    if foreign >= 3 or (len(words) >= 4 and max(counts.values()) >= max(2, own + 1)):
        yield Reason("language", text)


def check_findings(
    sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon, words: Language, *, has_descriptor: bool
) -> Iterator[Reason]:
    """Check that findings and colours named outside quotation marks are those of the ledger."""
    phrases = " ; ".join(str(fact.value) for fact in facts if fact.source == "descriptor" and fact.value is not None)
    yield from _structures(sentence, text, facts, lexicon, words, phrases)
    names = facts.measured("colour.names")
    present = names.value if names is not None and isinstance(names.value, tuple) else None
    for mention in sentence.mentions:
        colour = mention.topic.name
        if colour not in _COLOURS or colour.replace(" ", "-") in phrases or colour in phrases:
            continue
        share = facts.measured(mention.topic.facts[0])
        stated = any(mention.topic in sentence.topics_at(number.start) for number in sentence.numbers)
        if present is None:
            yield Reason("finding_invented", text, mention.topic.facts[0])
        elif (colour in present) == sentence.negated(mention.start, around=True) and not (share is not None and stated):
            yield Reason("finding_contradicted", text, mention.topic.facts[0])
    if not has_descriptor:
        yield from _not_found(sentence, text, facts, lexicon)


def _structures(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon, words: Language, phrases: str) -> Iterator[Reason]:
    """A finding is that of a descriptor, or a structure that the measurement found or, negated, did not find."""
    fact = facts.measured("structure.names")
    for match in lexicon.patterns["findings"].finditer(sentence.text):
        said, negated = match.group().lower(), sentence.negated(match.start(), around=True)
        if said in phrases and not negated:
            continue
        name = next((n for n in STRUCTURES.values() if said in words.word("structure", n).lower()), None)
        if fact is None or not isinstance(fact.value, tuple) or name is None:
            yield Reason("finding_invented", text)
        elif (name in fact.value) == negated:
            yield Reason("finding_contradicted", text, fact.id)


def _not_found(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon) -> Iterator[Reason]:
    """A count that was measured is not `not found`."""
    for match in lexicon.states["not_found"].finditer(sentence.text):
        for topic in sentence.topics_at(match.start()) if sentence.negated(match.start(), window=1) else ():
            fact = next((facts[i] for i in topic.facts if i in facts), None)
            if fact is not None and isinstance(fact.value, float) and fact.value > 0 and fact.criterion in ("A", "B", "C", "D"):
                yield Reason("state_contradicted", text, fact.id)


def check_missing(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon) -> Iterator[Reason]:
    """Check that what is said not to be measured was indeed not measured."""
    for match in lexicon.patterns["missing"].finditer(sentence.text):
        for topic in sentence.topics_at(match.start()):
            known = [facts[i] for i in topic.facts if i in facts]
            measured = {fact.value is not None for fact in known}
            denied = sentence.negated(match.start(), behind=False)
            if measured == {True} and not denied:
                yield Reason("missing_contradicted", text, known[0].id)
            elif measured == {False} and denied:
                yield Reason("missing_value_stated", text, known[0].id)


def check_states(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon, words: Language) -> Iterator[Reason]:
    """Check abstention, mask, split, flags and metadata of one sentence."""
    lowered = sentence.text.lower()
    split, decision = facts.measured("model.split"), facts.measured("mask.decision")
    abstain, scorer = facts.measured("model.abstain"), facts.measured("visual.scorer")
    truths = {
        "abstain": ("model.abstain", abstain.value is True if abstain else None, True),
        "accepted": ("mask.decision", decision.value == "accepted" if decision else None, "mask" in lowered or "maske" in lowered),
        "kept": ("mask.decision", decision.value == "kept" if decision else None, "mask" in lowered or "maske" in lowered),
        "clip": ("visual.scorer", scorer.value == "clip" if scorer else None, True),
        "probes": ("visual.scorer", scorer.value == "probes" if scorer else None, True),
        "fitted": ("model.split", split.value in ("train", "tune") if split else None, True),
    }
    for name, (fact_id, truth, applies) in truths.items():
        for match in lexicon.states[name].finditer(sentence.text) if applies else ():
            if truth is None or truth == sentence.negated(match.start(), window=9):
                yield Reason("state_contradicted", text, fact_id)
    yield from _flags(sentence, text, facts, lexicon, words)
    yield from _metadata(sentence, text, facts, lexicon, words)
    yield from _named_values(lowered, text, facts, words)


def check_cut(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon) -> Iterator[Reason]:
    """Check whether the frame cuts the lesion, in the reason of a statement too."""
    for match in lexicon.states["cut"].finditer(sentence.text):
        if _is_cut(facts) == sentence.negated(match.start(), window=3):
            yield Reason("state_contradicted", text, "abc.flags")


def _is_cut(facts: Facts) -> bool:
    flags, touches = facts.measured("abc.flags"), facts.measured("mask.touches_border")
    flagged = flags is not None and isinstance(flags.value, tuple) and "cut_by_frame" in flags.value
    return flagged or (touches is not None and touches.value is True) or any(fact.reason in _CUT_REASONS for fact in facts)


def _flags(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon, words: Language) -> Iterator[Reason]:
    """A sentence that speaks of flags names flags of the ledger, or says that there are none."""
    match = lexicon.states["flag"].search(sentence.text)
    fact = facts.measured("quality.flags")
    if match is None:
        return
    if fact is None or not isinstance(fact.value, tuple):
        yield Reason("state_contradicted", text, "quality.flags")
        return
    lowered, said = sentence.text.lower(), _flags_said(sentence, words)
    none_said = sentence.negated(match.start()) or bool(
        re.search(r"\b(?:no|none|keine\w*)\b", lowered[max(0, match.start() - 25) : match.end() + 6])
    )
    if (none_said and fact.value) or (not none_said and not said & set(fact.value)) or (not none_said and not said <= set(fact.value)):
        yield Reason("state_contradicted", text, "quality.flags")


def _flags_said(sentence: Sentence, words: Language) -> set[str]:
    """Return the flags that a sentence names; a word whose clause states a number is a share and no flag."""
    lowered, said = sentence.text.lower(), set()
    for code, word in words.words.items():
        position = lowered.find(word.lower()) if code.startswith("flag=") else -1
        if position >= 0 and not any(sentence.clause(number.start) == sentence.clause(position) for number in sentence.numbers):
            said.add(code.removeprefix("flag="))
    return said


def _metadata(sentence: Sentence, text: str, facts: Facts, lexicon: Lexicon, words: Language) -> Iterator[Reason]:
    """Sex and site as recorded."""
    sex, site = facts.get("meta.sex"), facts.get("meta.site")
    for name in ("female", "male"):
        if lexicon.states[name].search(sentence.text) and (sex is None or sex.value != name):
            yield Reason("state_contradicted", text, "meta.sex")
    for match in _SITE.finditer(sentence.text.lower()):
        said = {site for site in (*known_sites().values(), "other") if match.group(1).startswith(words.word("site", site).lower())}
        if said and (site is None or site.value not in said):
            yield Reason("state_contradicted", text, "meta.site")


def _named_values(lowered: str, text: str, facts: Facts, words: Language) -> Iterator[Reason]:
    """Names from closed lists: the refiner, the part of the data set."""
    refiner = facts.get("mask.refiner")
    for code, word in words.words.items():
        named = code.startswith("refiner=") and code not in ("refiner=none", "refiner=unknown") and word.lower() in lowered
        if named and (refiner is None or refiner.value != code.removeprefix("refiner=")):
            yield Reason("state_contradicted", text, "mask.refiner")
    split = facts.get("model.split")
    match = re.search(r"(?:part of the data set:|part called|teil des datensatzes:|teil namens)\s*[“\"„]?(\w+)", lowered)
    if match is not None and (split is None or split.value != match.group(1)):
        yield Reason("state_contradicted", text, "model.split")
