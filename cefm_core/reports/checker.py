"""Whether a report may be published: nothing in it that the ledger does not hold, nothing that a fact contradicts.

What sentences are made of belongs to ``sentences``, the words to ``lexicon``; the checks of numbers, words and states have a
module each. Here they are put in order, and a report is checked as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from cefm_core.descriptors.vocabulary import load_vocabulary
from cefm_core.reports.check_numbers import check_numbers
from cefm_core.reports.check_states import check_bans, check_cut, check_findings, check_language, check_missing, check_states
from cefm_core.reports.check_words import check_band, check_degrees
from cefm_core.reports.claims import SECTIONS, Claim, Report
from cefm_core.reports.language import Language, load_language
from cefm_core.reports.ledger import Fact, Facts
from cefm_core.reports.lexicon import Lexicon, load_lexicon
from cefm_core.reports.report_text import guess_language, read_report_text
from cefm_core.reports.sentences import Sentence, split_sentences, take_apart
from cefm_core.reports.verdict import CODES, NUMBER_CODES, Reason, Verdict

__all__ = ["CODES", "Reason", "Verdict", "check_report", "claim_reasons"]

REQUIRED = {
    "quantitative": ("abc.asymmetry_score", "abc.border_score", "abc.colour_count"),
    "risk": ("model.p_melanoma",),
}
"""Facts that a report must speak of, measured or not; abstention and a fitted image are required where they hold."""
MAX_SENTENCE = 1200
"""Longest sentence that is checked, in characters; a longer one is refused."""
MAX_REPORT = 60_000
"""Longest report that is checked, in characters."""
_QUOTED = re.compile(r"[“„\"«]([^“”„\"«»]{2,80})[”“\"»]|‘([^‘’]{2,80})’")


def check_report(facts: Facts, report: str | Report | Sequence[Claim], language: str | None = None) -> Verdict:
    """Check a report against its ledger.

    Args:
        facts: The ledger.
        report: Claims that name their facts (the stricter check), a :class:`Report`, or a plain text with the four headings.
        language: Language of claims or text; a :class:`Report` brings its own; None means that of the headings, or English.

    Returns:
        The verdict; ``ok`` only without any objection.

    Raises:
        ConfigurationError: There is no lexicon for the language.
    """
    if isinstance(report, Report):
        language = report.language
    elif language is None:
        language = guess_language(report[:MAX_REPORT]) if isinstance(report, str) else "en"
    lexicon, words = load_lexicon(language), load_language(language)
    if _length(report) > MAX_REPORT:
        return Verdict(False, (Reason("too_long"),))
    bound = not isinstance(report, str)
    if isinstance(report, str):
        claims, reasons = read_report_text(report, language)
    else:
        claims, reasons = list(report.claims if isinstance(report, Report) else report), []
    checker = _Checker(facts, claims, lexicon, words, language, bound)
    reasons = [*reasons, *checker.whole()]
    refused = wrong = 0
    for claim in claims:
        found = list(checker.claim(claim))
        refused += bool(found)
        wrong += sum(reason.code in NUMBER_CODES for reason in found)
        reasons += found
    unique = tuple(dict.fromkeys(reasons))
    return Verdict(not unique, unique, checker.numbers, len(claims), refused, wrong)


def claim_reasons(facts: Facts, report: Report, claim: Claim) -> tuple[Reason, ...]:
    """Return the objections to one claim of a report; the report is its context."""
    checker = _Checker(facts, report.claims, load_lexicon(report.language), report.words(), report.language, True)
    return tuple(dict.fromkeys(checker.claim(claim)))


def _length(report: str | Report | Sequence[Claim]) -> int:
    if isinstance(report, str):
        return len(report)
    return sum(len(claim.text) for claim in (report.claims if isinstance(report, Report) else report))


class _Checker:
    """One check: the ledger, the claims and the words, with a counter of numbers."""

    def __init__(self, facts: Facts, claims: Sequence[Claim], lexicon: Lexicon, words: Language, language: str, bound: bool) -> None:
        self.facts = facts
        self.claims = claims
        self.lexicon = lexicon
        self.words = words
        self.language = language
        self.bound = bound
        self.numbers = 0
        self.by_id = {fact.id: fact for fact in facts}
        self.phrases = {entry.phrase: entry for entry in load_vocabulary()}
        names = [word for code, word in words.words.items() if code.startswith("refiner=") and re.search(r"\d", word)]
        self.digit_names = [re.compile(rf"{re.escape(name)}(?!\w)") for name in names]
        self.local = {words.word("descriptor", phrase).lower(): phrase for phrase in self.phrases}

    def whole(self) -> Iterator[Reason]:
        """Check that every section is there and that what must be said is said."""
        if not self.claims:
            yield Reason("no_claims")
        for section in SECTIONS:
            if not any(claim.section == section for claim in self.claims):
                yield Reason("section_missing", section)
        required = [(section, fact_id) for section, ids in REQUIRED.items() for fact_id in ids]
        abstain, split = self.facts.measured("model.abstain"), self.facts.measured("model.split")
        predicted = self.facts.measured("model.p_melanoma") is not None
        if predicted and abstain is not None and abstain.value is True:
            required.append(("risk", "model.abstain"))
        if predicted and split is not None and split.value in ("train", "tune"):
            required.append(("risk", "model.split"))
        for section, fact_id in required:
            if fact_id in self.facts and not any(self._covers(claim, fact_id) for claim in self.claims if claim.section == section):
                yield Reason("coverage_missing", section, fact_id)

    def _covers(self, claim: Claim, fact_id: str) -> bool:
        """Whether a claim speaks of a fact: it names it and has its topic, or, in plain text, has its topic."""
        if self.bound and fact_id not in claim.facts:
            return False
        state = {"model.abstain": "abstain", "model.split": "fitted"}.get(fact_id)
        if state is not None:
            return bool(self.lexicon.states[state].search(claim.text))
        topics = [topic for topic in self.lexicon.topics if fact_id in topic.facts]
        names = {topic.name for topic in topics}
        patterns = [topic.pattern for topic in topics] + [term.pattern for term in self.lexicon.adjectives if term.topic in names]
        return any(pattern.search(claim.text) for pattern in patterns)

    def claim(self, claim: Claim) -> Iterator[Reason]:
        """Check one claim: its fact ids, then each of its sentences."""
        if self.bound and not claim.facts:
            yield Reason("no_fact", claim.text)
        for fact_id in claim.facts:
            if fact_id not in self.facts:
                yield Reason("unknown_fact", claim.text, fact_id)
        for text in split_sentences(claim.text):
            yield from self._sentence(text, claim)

    def _sentence(self, text: str, claim: Claim) -> Iterator[Reason]:
        if len(text) > MAX_SENTENCE:
            yield Reason("too_long", text[:80] + "…")
            return
        masked, cited, reasons = self._mask_citations(text)
        yield from reasons
        for phrase in cited:
            yield from self._resolved(phrase, text, claim)
        masked = self._mask_names(masked)
        yield from check_bans(masked, text, self.facts, self.lexicon)
        yield from check_language(_QUOTED.sub(" ", text), self.language, self.lexicon)
        head, tail = self._cut_reason(masked)
        sentence = take_apart(head, self.language)
        self.numbers += len(sentence.numbers)
        yield from self._named(sentence, text, claim)
        yield from check_numbers(sentence, text, self._pool(claim), self.facts, self.lexicon)
        yield from check_degrees(sentence, text, self.by_id, self.lexicon)
        yield from check_band(sentence, text, self.by_id)
        yield from check_missing(sentence, text, self.facts, self.lexicon)
        yield from check_states(sentence, text, self.facts, self.lexicon, self.words)
        yield from check_cut(take_apart(masked, self.language), text, self.facts, self.lexicon)
        yield from check_findings(sentence, text, self.facts, self.lexicon, self.words, has_descriptor=bool(cited))
        yield from self._reason(sentence, tail, text)

    def _pool(self, claim: Claim) -> Iterable[Fact] | None:
        """Facts whose numbers a claim may state: those it names; a plain text names none."""
        return [self.by_id[i] for i in claim.facts if i in self.by_id] if self.bound else None

    def _named(self, sentence: Sentence, text: str, claim: Claim) -> Iterator[Reason]:
        """A claim that states a number or a level of a topic names a fact of that topic."""
        if not self.bound:
            return
        for number in sentence.numbers:
            known = [i for topic in sentence.topics_at(number.start) for i in topic.facts if i in self.facts]
            if known and not set(known) & set(claim.facts):
                yield Reason("fact_not_named", text, known[0])

    def _mask_citations(self, text: str) -> tuple[str, list[str], list[Reason]]:
        """Mask quoted phrases of the vocabulary; one that the ledger does not hold is an invented finding."""
        cited: list[str] = []
        reasons: list[Reason] = []
        held = {str(fact.value) for fact in self.facts if fact.source == "descriptor"}

        def mask(match: re.Match[str]) -> str:
            phrase = self.local.get((match.group(1) or match.group(2)).strip(" ,.").lower())
            if phrase is None:
                return " " + (match.group(1) or match.group(2)) + " "
            cited.append(phrase)
            if phrase not in held:
                reasons.append(Reason("finding_invented", text))
            return "•"

        return _QUOTED.sub(mask, text), cited, reasons

    def _resolved(self, phrase: str, text: str, claim: Claim) -> Iterator[Reason]:
        """A cited descriptor that the measurement contradicts is said to do so somewhere in the report."""
        fact = next((f for f in self.facts if f.source == "descriptor" and f.value == phrase), None)
        if fact is None or fact.relation not in ("differ", "contradict"):
            return
        local = self.words.word("descriptor", phrase).lower()
        resolved = self.lexicon.patterns["resolved"]
        if not any(local in other.text.lower() and resolved.search(other.text) for other in self.claims):
            yield Reason("descriptor_unresolved", text, fact.id)

    def _mask_names(self, text: str) -> str:
        """Mask names that hold digits (``SAM 2``), which are no numbers."""
        for name in self.digit_names:
            text = name.sub(lambda match: re.sub(r"\d", "•", match.group()), text)
        return text

    def _cut_reason(self, text: str) -> tuple[str, str]:
        """Set the reason of a statement that something was not measured (or kept) apart from the statement."""
        because = re.search(r",?\s+(?:because|weil|da)\s+", text)
        if because is None:
            return text, ""
        end = text.find(";", because.end())
        end = len(text) if end < 0 else end
        head = text[: because.start()]
        states = (self.lexicon.patterns["missing"], self.lexicon.states["kept"], self.lexicon.states["abstain"])
        if not any(pattern.search(head) for pattern in states):
            return text, ""
        colon = text.find(":", because.end(), end)
        end = colon if colon >= 0 else end
        return head + text[end:], text[because.end() : end].strip(" .")

    def _reason(self, sentence: Sentence, tail: str, text: str) -> Iterator[Reason]:
        """A reason in the words of another code than the fact's contradicts it."""
        codes = [code for code, said in self.words.reasons.items() if said == tail]
        missing = self.lexicon.patterns["missing"].search(sentence.text)
        if not codes or missing is None:
            return
        facts = [self.by_id[i] for topic in sentence.topics_at(missing.start()) for i in topic.facts if i in self.by_id]
        if facts and all(fact.value is None and fact.reason not in codes for fact in facts):
            yield Reason("reason_contradicted", text, facts[0].id)
