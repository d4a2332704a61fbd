"""What a language model is asked: chat messages from the ledger and the settings, and the schema of its answer.

Nothing but facts of the ledger enters: no image id, no file name, no free text. The client belongs to the task; reading the
answer to ``parse``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cefm_core.config import ReportConfig
from cefm_core.reports.checker import Reason
from cefm_core.reports.claims import SECTIONS
from cefm_core.reports.language import Language, load_language
from cefm_core.reports.ledger import Fact, Facts

VERSION = "v1"
DATA = Path(__file__).parent / "data"
MAX_CLAIMS = 12
"""Most claims in a section; the template's longest has eight."""
MAX_FACTS = 12
"""Most facts that a claim may rest on."""
NOT_SENT = ("model.nearest_cases",)
"""Facts that name other images; they stand on the page and leave the machine with no prompt."""
_LANGUAGES = {"en": "English", "de": "German"}


def build_messages(facts: Facts, config: ReportConfig, objections: Sequence[Reason] = ()) -> list[dict[str, str]]:
    """Return the chat messages that ask for one report.

    Args:
        facts: The ledger; its image id is left out.
        config: Language of the report.
        objections: What the checker objected to in the answer before, for a second attempt.

    Returns:
        A system and a user message; a second attempt stays a single turn, so no reasoning has to be passed back.
    """
    words = load_language(config.language)
    ledger = json.dumps([_entry(fact, words) for fact in facts if fact.id not in NOT_SENT], ensure_ascii=False, indent=1)
    asked = f"The ledger of facts of this image, as json:\n{ledger}\n\nReply with the json object."
    if objections:
        lines = "\n".join(f"- {reason.code}: {reason.sentence}" for reason in objections)
        asked += f"\n\nAn earlier answer was refused for these sentences; do not repeat the faults:\n{lines}"
    return [{"role": "system", "content": system_prompt(config.language)}, {"role": "user", "content": asked}]


@cache
def system_prompt(language: str) -> str:
    """Return the system message: rules, glossary and one worked example."""
    with (DATA / f"glossary_{VERSION}.csv").open(encoding="utf-8", newline="") as file:
        glossary = "\n".join(f"- {row['term']}: {row['meaning']}" for row in csv.DictReader(file))
    text = (DATA / f"prompt_{VERSION}.md").read_text(encoding="utf-8")
    return text.format(glossary=glossary, language=_LANGUAGES[language]).strip()


def prompt_digest(facts: Facts, config: ReportConfig) -> str:
    """Return the SHA-256 of system message and schema, hex: with the facts and the model's name it decides an answer."""
    text = system_prompt(config.language) + json.dumps(report_schema(facts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def report_schema(facts: Facts) -> dict[str, Any]:
    """Return the JSON schema of the answer, closed, as ``response_format`` of kind ``json_schema`` wants it.

    A model that is held to it cannot name a fact that the ledger does not have, and cannot go on for ever: the ids are enumerated and the
    lists have an end. Ledgers with the same ids have the same schema, so that an endpoint compiles few of them.

    Args:
        facts: The ledger.
    """
    fact_ids = {
        "type": "array",
        "items": {"type": "string", "enum": [fact.id for fact in facts if fact.id not in NOT_SENT]},
        "minItems": 1,
        "maxItems": MAX_FACTS,
    }
    claim = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "facts": fact_ids},
        "required": ["text", "facts"],
        "additionalProperties": False,
    }
    claims = {"type": "array", "items": {"$ref": "#/$defs/claim"}, "minItems": 1, "maxItems": MAX_CLAIMS}
    return {
        "type": "object",
        "properties": dict.fromkeys(SECTIONS, claims),
        "required": list(SECTIONS),
        "additionalProperties": False,
        "$defs": {"claim": claim},
    }


def _entry(fact: Fact, words: Language) -> dict[str, Any]:
    """One fact as the model sees it: only stated numbers, so that it has nothing to round."""
    entry: dict[str, Any] = {"id": fact.id, "name": fact.name, "source": fact.source}
    if fact.value is None:
        return entry | {"value": None, "reason": words.reason(fact.reason or "not_measured")}
    if fact.is_number:
        unit = f" {fact.unit}" if fact.unit else ""
        entry["value"] = words.number(fact.stated()) + (f" of {fact.scale_max:g}" if fact.scale_max is not None else "") + unit
    else:
        entry["value"] = list(fact.value) if isinstance(fact.value, tuple) else fact.value
    if fact.low is not None and fact.high is not None:
        entry["interval"] = f"{words.number(fact.stated(fact.low))} to {words.number(fact.stated(fact.high))}"
    if fact.level is not None:
        entry["level"] = f"{fact.level} of 5"
        entry["level_word"] = words.level_word(fact.criterion, fact.level)
    if fact.relation is not None:
        entry["relation"] = fact.relation
    if fact.anchors:
        entry["suspicious_range"] = " to ".join(words.number(fact.stated(bound)) for bound in fact.anchors)
    return entry
