"""A language model's raw answer: claims, or a coded failure.

The clean-up is small and closed: byte order mark and white space, a finished ``<think>`` block, one code fence, single
backslashes that JSON does not know. Whatever is mended is recorded. Whether the claims are true belongs to ``checker``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from cefm_core.reports.claims import SECTIONS, Claim

FAILURES = {
    "llm_empty": "the answer holds no text",
    "llm_cut": "the answer was cut at the token limit or is not finished",
    "llm_refused": "the endpoint or the model declined to answer",
    "llm_reasoning": "the answer holds reasoning that does not end",
    "llm_not_json": "the answer is not JSON",
    "llm_schema": "the JSON is not of the schema",
}
_THINK = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"\A```[a-zA-Z]*[ \t]*\r?\n(.*?)\r?\n?```\s*\Z", re.DOTALL)
_BAD_ESCAPE = re.compile(r'\\(?:(?P<good>["\\/bfnrt]|u[0-9a-fA-F]{4})|)')
MAX_CHARACTERS = 60_000


@dataclass(frozen=True)
class ParsedReply:
    """What an answer holds.

    Attributes:
        claims: The claims, empty on failure.
        code: Key of ``FAILURES``, or None.
        message: What is wrong, or "".
        repairs: What was mended or left out: ``think_removed``, ``fence_removed``, ``escape_mended``, ``extra_key:<key>``,
            ``entry_dropped:<section>``.
    """

    claims: tuple[Claim, ...] = ()
    code: str | None = None
    message: str = ""
    repairs: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are claims."""
        return self.code is None


def parse_reply(text: str | None, finish_reason: str | None) -> ParsedReply:
    """Read one answer.

    Args:
        text: The message's content; reasoning fields of the endpoint are not to be passed here.
        finish_reason: As the endpoint gave it. ``length`` is a failure whatever the text looks like.
    """
    if finish_reason in ("length", "max_tokens"):
        return _failure("llm_cut")
    if finish_reason == "content_filter":
        return _failure("llm_refused")
    if text is None or not text.strip():
        return _failure("llm_empty")
    if len(text) > MAX_CHARACTERS:
        return _failure("llm_schema", f"the answer has more than {MAX_CHARACTERS} characters")
    body, repairs, failure = _clean(text)
    if failure is not None:
        return failure
    data, mended, error = _load(body)
    if error is not None:
        unfinished = body.startswith(("{", "[")) and not body.endswith(("}", "]"))
        return _failure("llm_cut" if unfinished else "llm_not_json", error, repairs)
    return _claims(data, repairs + (["escape_mended"] if mended else []))


def _failure(code: str, detail: str = "", repairs: list[str] | None = None) -> ParsedReply:
    message = FAILURES[code] + (f": {detail}" if detail else "")
    return ParsedReply(code=code, message=message, repairs=tuple(repairs or ()))


def _clean(text: str) -> tuple[str, list[str], ParsedReply | None]:
    """Remove finished reasoning and one fence; unfinished reasoning is a failure."""
    repairs: list[str] = []
    body = text.lstrip("\ufeff").strip()
    without = _THINK.sub("", body)
    if "</think>" in without.lower():  # some endpoints drop the opening tag
        without = without[without.lower().rindex("</think>") + len("</think>") :]
    if without != body:
        repairs.append("think_removed")
        body = without.strip()
    if re.match(r"<think", body, re.IGNORECASE):
        return body, repairs, _failure("llm_reasoning", repairs=repairs)
    if not body:
        return body, repairs, _failure("llm_empty", repairs=repairs)
    fenced = _FENCE.match(body)
    if fenced is not None:
        repairs.append("fence_removed")
        body = fenced.group(1).strip()
    return body, repairs, None


def _load(body: str) -> tuple[Any, bool, str | None]:
    """Parse JSON, once more with unknown escapes taken literally."""
    try:
        return json.loads(body, parse_constant=_refuse), False, None
    except (ValueError, RecursionError) as error:
        first = str(error)
    mended = _BAD_ESCAPE.sub(lambda match: match.group(0) if match.group("good") else "\\\\", body)
    if mended == body:
        return None, False, first
    try:
        return json.loads(mended, parse_constant=_refuse), True, None
    except (ValueError, RecursionError):
        return None, False, first


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _claims(data: Any, repairs: list[str]) -> ParsedReply:
    """Read the sections; a bad entry is left out and recorded, its siblings stand."""
    if not isinstance(data, dict):
        return _failure("llm_schema", f"a {type(data).__name__} stands where an object should", repairs)
    lacking = [name for name in SECTIONS if not isinstance(data.get(name), list)]
    if lacking:
        return _failure("llm_schema", f"no list under {', '.join(lacking)}", repairs)
    repairs = repairs + [f"extra_key:{str(key)[:40]}" for key in data if key not in SECTIONS]
    claims: list[Claim] = []
    for section in SECTIONS:
        for entry in data[section]:
            claim = _claim(section, entry)
            if claim is None:
                repairs.append(f"entry_dropped:{section}")
                continue
            repairs += [f"extra_key:{str(key)[:40]}" for key in entry if key not in ("text", "facts")]
            claims.append(claim)
    if not claims:
        return _failure("llm_schema", "no claim is of the schema", repairs)
    return ParsedReply(tuple(claims), repairs=tuple(repairs))


def _claim(section: str, entry: Any) -> Claim | None:
    """Read one entry strictly: a text and a list of ids, both strings."""
    if not isinstance(entry, dict):
        return None
    text, facts = entry.get("text"), entry.get("facts")
    if not isinstance(text, str) or not text.strip() or not isinstance(facts, list) or not all(isinstance(f, str) for f in facts):
        return None
    return Claim(section, " ".join(text.split()), tuple(dict.fromkeys(fact.strip() for fact in facts)))
