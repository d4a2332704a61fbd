"""What a clinician corrects: which entries there may be, how a file of them is read, and how they are laid over a ledger.

Free text has no place here: a correction names a fact and a level, or says that a fact is wrong; who made it is a code that the
operator chose. Where corrections lie belongs to ``storage/corrections.py``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from cefm_core.reports.facts import compared
from cefm_core.reports.language import load_language
from cefm_core.reports.ledger import Fact, Facts

KINDS = ("level", "wrong", "withdrawn")
FORMAT = "cefm-corrections"
LEVELLED = ("abc.asymmetry_score", "abc.border_score", "abc.colour_count", "abc.structure_count")
"""Facts whose level a clinician may set: what the eye can grade. A probability's band is not among them."""
_FIELDS = {"image_id", "fact", "kind", "level", "seen"}
_REVIEWER = re.compile(r"[A-Z][A-Z0-9-]{0,11}")
_SCORES = ("abc.asymmetry_score", "abc.border_score", "abc.colour_count")


@dataclass(frozen=True)
class Correction:
    """One correction of one fact of one image.

    Attributes:
        image_id: The image.
        fact: Id of the fact.
        kind: ``level`` sets its severity level; ``wrong`` takes it out as not to be relied on; ``withdrawn`` takes an earlier
            correction of it back.
        level: The level 1-5, for kind ``level``.
        seen: The fact as it stood when it was corrected, from :func:`seen_of`; a mark as wrong holds for that value only.
        reviewer: Code of who corrected, chosen by the operator; never a name.
    """

    image_id: str
    fact: str
    kind: str
    level: int | None = None
    seen: str | None = None
    reviewer: str = ""


@dataclass(frozen=True)
class Applied:
    """What became of a correction.

    Attributes:
        correction: The correction.
        name: Name of the fact, in English.
        before: The fact as the pipeline has it, in words.
        after: The fact as it stands in the report, in words.
        state: ``applied``; ``superseded`` where the value marked as wrong is no longer the value; ``no_such_fact`` where the
            ledger has no such fact, or no level of it, any more.
    """

    correction: Correction
    name: str
    before: str
    after: str
    state: str = "applied"


@dataclass(frozen=True)
class Corrected:
    """A ledger with corrections laid over it.

    Attributes:
        facts: The ledger that reports are written from.
        measured: The ledger as the pipeline has it.
        corrections: What became of each correction, in the order of their facts.
    """

    facts: Facts
    measured: Facts
    corrections: tuple[Applied, ...] = ()

    def of(self, fact_ids: Iterable[str]) -> tuple[Applied, ...]:
        """Return what became of the corrections of these facts."""
        wanted = set(fact_ids)
        return tuple(applied for applied in self.corrections if applied.correction.fact in wanted)

    def to_json(self) -> str:
        """Return what became of the corrections as JSON: a list, empty where there are none."""
        rows = [
            {"fact": a.correction.fact, "kind": a.correction.kind, "level": a.correction.level, "reviewer": a.correction.reviewer}
            | {"before": a.before, "after": a.after, "state": a.state}
            for a in self.corrections
        ]
        return json.dumps(rows, ensure_ascii=False)


def seen_of(fact: Fact) -> str:
    """Return a fact's value and level as one text; another text means that the fact has changed since."""
    return f"{fact.text}; level {fact.level}" if fact.level is not None else fact.text


def check_reviewer(code: str) -> str:
    """Return a reviewer's code.

    Raises:
        ValueError: It is not up to twelve capitals, digits and hyphens; a name is none.
    """
    if not _REVIEWER.fullmatch(code):
        raise ValueError(f"reviewer {code!r}: give a code of up to 12 capitals, digits and hyphens, such as R1; never a name")
    return code


def corrections_to_json(corrections: Iterable[Correction]) -> str:
    """Return corrections as the file that a report page downloads; :func:`read_corrections` is its inverse."""
    entries = [{name: value for name, value in asdict(each).items() if name in _FIELDS and value is not None} for each in corrections]
    return json.dumps({"format": FORMAT, "version": 1, "corrections": entries}, ensure_ascii=False)


def read_corrections(text: str, reviewer: str) -> tuple[Correction, ...]:
    """Read a file of corrections: the JSON of a report page, or CSV with the columns image_id, fact, kind, level and, if wanted, seen.

    Args:
        text: The file.
        reviewer: Code of who made them.

    Raises:
        ValueError: The text holds anything else; the first bad entry is named.
    """
    check_reviewer(reviewer)
    entries = _entries(text.lstrip("\ufeff"))
    return tuple(_correction(entry, reviewer, number) for number, entry in enumerate(entries, start=1))


def _entries(text: str) -> list[Any]:
    if not text.lstrip().startswith(("{", "[")):
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
        return [{name: value for name, value in row.items() if value} | _csv_level(row) for row in rows]
    data = json.loads(text)
    known = isinstance(data, dict) and data.get("format") == FORMAT and data.get("version") == 1
    if not known or not isinstance(data.get("corrections"), list):
        raise ValueError(f"not a file of corrections: format {FORMAT}, version 1, is wanted")
    return list(data["corrections"])


def _csv_level(row: Mapping[str, Any]) -> dict[str, int]:
    level = row.get("level") or ""
    return {"level": int(level)} if level.isdecimal() else {}


def _correction(entry: Any, reviewer: str, number: int) -> Correction:
    if not isinstance(entry, Mapping) or set(entry) - _FIELDS:
        raise ValueError(f"entry {number} is not a correction: {entry!r}")
    made = Correction(**{"image_id": "", "fact": "", "kind": ""} | dict(entry), reviewer=reviewer)
    texts = all(isinstance(text, str) and text for text in (made.image_id, made.fact, made.kind))
    level_fits = (made.level in range(1, 6) and not isinstance(made.level, bool)) if made.kind == "level" else made.level is None
    if not texts or made.kind not in KINDS or not level_fits or not isinstance(made.seen, str | None):
        raise ValueError(f"entry {number} is not a correction: {entry!r}")
    return made


def standing(corrections: Iterable[Correction]) -> dict[str, tuple[Correction, ...]]:
    """Return the corrections that stand, by image and in the order of their facts: of several of one fact the last counts."""
    last = {(each.image_id, each.fact): each for each in corrections}
    found: dict[str, tuple[Correction, ...]] = {}
    for (image_id, _), each in sorted(last.items()):
        if each.kind != "withdrawn":
            found[image_id] = (*found.get(image_id, ()), each)
    return found


def objection(measured: Facts, correction: Correction) -> str | None:
    """Return why a correction cannot be made, or None where it can.

    Args:
        measured: The ledger as the pipeline has it.
        correction: The correction.
    """
    fact = measured.get(correction.fact)
    if correction.kind == "withdrawn":
        return None
    if fact is None:
        return f"{measured.image_id} has no fact {correction.fact}"
    if fact.value is None:
        return f"{correction.fact} of {measured.image_id} was not measured ({fact.reason}); there is nothing to correct"
    if correction.kind == "level" and (correction.fact not in LEVELLED or fact.level is None):
        return f"{correction.fact} of {measured.image_id} has no level that can be set"
    return None


def apply_corrections(measured: Facts, corrections: Iterable[Correction]) -> Corrected:
    """Lay corrections over a ledger.

    Args:
        measured: The ledger.
        corrections: Those that stand for this image. One that no longer fits the ledger changes nothing and says so.

    Returns:
        The ledger with the corrected facts, their source ``clinician``. What was calculated from a value marked as wrong is taken out
        with it; descriptors are compared again with the new levels.
    """
    found = {fact.id: fact for fact in measured}
    states: list[tuple[Correction, str]] = []
    for correction in corrections:
        state = _state(measured, correction)
        states.append((correction, state))
        if state == "applied":
            found[correction.fact] = _corrected(found[correction.fact], correction)
    wrong = {correction.fact for correction, state in states if state == "applied" and correction.kind == "wrong"}
    for fact_id, fact in found.items():
        if _rests_on(fact_id) & (wrong - {fact_id}):
            found[fact_id] = fact.without_value("rests_on_wrong")
    facts = Facts(measured.image_id, tuple(compared(fact, found) for fact in found.values())) if states else measured
    return Corrected(facts, measured, tuple(_applied(correction, state, measured, facts) for correction, state in states))


def _state(measured: Facts, correction: Correction) -> str:
    if objection(measured, correction) is not None:
        return "no_such_fact"
    changed = correction.seen is not None and correction.seen != seen_of(measured[correction.fact])
    return "superseded" if correction.kind == "wrong" and changed else "applied"


def _corrected(fact: Fact, correction: Correction) -> Fact:
    if correction.kind == "wrong":
        return replace(fact.without_value("marked_wrong"), source="clinician")
    level = correction.level or 1
    return replace(fact, level=level, level_word=load_language("en").level_word(fact.criterion, level), source="clinician")


def _rests_on(fact_id: str) -> set[str]:
    """Return the facts without which a fact has no ground: a score its parts, a measurement the mask it was made in."""
    if fact_id == "abc.tds":
        return {*_SCORES, "abc.structure_count", "mask.decision"}
    if fact_id == "abc.tds_without_structures":
        return {*_SCORES, "mask.decision"}
    if fact_id.startswith("descriptor."):
        return {"visual.scorer"}
    if fact_id == "model.nearest_cosine":
        return {"model.nearest_cases"}
    if fact_id == "structure.names":
        return {"abc.structure_count", "mask.decision"}
    inside_mask = fact_id.startswith(("abc.", "paper.", "colour.", "mask."))
    return {"mask.decision"} if inside_mask else set()


def _applied(correction: Correction, state: str, measured: Facts, facts: Facts) -> Applied:
    before, after = measured.get(correction.fact), facts.get(correction.fact)
    return Applied(correction, before.name if before else correction.fact, _in_words(before), _in_words(after), state)


def _in_words(fact: Fact | None) -> str:
    if fact is None:
        return "—"
    if fact.value is None:
        return f"left out: {load_language('en').reason(fact.reason or 'not_measured')}"
    unit = f" {fact.unit}" if fact.unit else ""
    level = f", level {fact.level} ({fact.level_word})" if fact.level is not None else ""
    return f"{fact.text}{unit}{level}"
