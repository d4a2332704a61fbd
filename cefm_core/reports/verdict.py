"""What the checker answers: reason codes, each with its sentence and fact."""

from __future__ import annotations

from dataclasses import dataclass

CODES = {
    "too_long": "a sentence, or the report, is longer than can be checked",
    "no_claims": "the report holds no claim",
    "section_missing": "a section is empty or absent",
    "coverage_missing": "a fact that every report must state is not stated",
    "notice_missing": "the research notice is not there",
    "no_fact": "a claim names no fact",
    "unknown_fact": "a claim names a fact that the ledger does not have",
    "fact_not_named": "a claim speaks of a fact that it does not name",
    "number_unsupported": "a number is not that of its fact at the stated rounding",
    "unit_changed": "a number has another unit than its fact",
    "level_contradicted": "a word or number of a level is not that of the fact",
    "level_unsupported": "a word of a level stands with a fact that has no level",
    "missing_value_stated": "a value is stated that was not measured",
    "missing_contradicted": "a value that was measured is said not to be",
    "reason_contradicted": "another reason is given than the fact's",
    "state_contradicted": "a state (abstention, mask, flag, split, site, sex) is not that of the fact",
    "finding_invented": "a finding is named that no fact holds",
    "finding_contradicted": "a colour is said to be there or absent against the measurement",
    "descriptor_unresolved": "a descriptor that contradicts the measurement stands without that being said",
    "diameter": "a size is stated and no scale was read from the image",
    "diagnosis": "a diagnosis or a recommendation is given",
    "instruction": "the text holds an instruction or an address",
    "reasoning": "the text holds reasoning or markup of a model",
    "language": "a sentence is in another language",
}


NUMBER_CODES = ("number_unsupported", "unit_changed")
"""Objections to a number."""
CONTRADICTIONS = ("level_contradicted", "state_contradicted", "finding_contradicted", "descriptor_unresolved")
"""Objections to a statement that the ledger says otherwise of; that something was not measured is none of them."""


@dataclass(frozen=True)
class Reason:
    """One objection.

    Attributes:
        code: A key of ``CODES``.
        sentence: The sentence it is about, or "" for the report as a whole.
        fact: Id of the fact concerned, or None.
    """

    code: str
    sentence: str = ""
    fact: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a report may be published.

    Attributes:
        ok: Whether there is no objection.
        reasons: Every objection, in order of the text.
        numbers: How many numbers were checked.
        claims: How many claims were checked.
        claims_refused: How many of them were objected to.
        numbers_wrong: How many of the numbers were objected to.
    """

    ok: bool
    reasons: tuple[Reason, ...]
    numbers: int = 0
    claims: int = 0
    claims_refused: int = 0
    numbers_wrong: int = 0

    def lines(self) -> list[str]:
        """Return the objections as text, one line each."""
        return [f"{r.code}: {r.sentence or CODES[r.code]}" + (f" [{r.fact}]" if r.fact else "") for r in self.reasons]
