"""Reports made wrong on purpose, one kind of fault each, and correct rewordings.

Every corrupted report differs from a correct one in exactly the fault that its kind names. What the checker makes of them is
measured in ``checker_score``.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cefm_core.descriptors.vocabulary import load_vocabulary
from cefm_core.reports import corruption_sentences as sentences
from cefm_core.reports.claims import SECTIONS, Report
from cefm_core.reports.language import Language, load_language
from cefm_core.reports.ledger import Facts

Corruption = Callable[[Facts, Report, random.Random], Report | None]
_VALUE = re.compile(r"(?<![\w.,-])\d+(?:\.\d+)?(?![\w.-])")


def _replaced(report: Report, places: Sequence[tuple[int, str, str]], rng: random.Random) -> Report | None:
    """Put new words in place of old ones at one of the places (claim, old, new); None where there is none."""
    if not places:
        return None
    index, old, new = rng.choice(places)
    return _swap(report, index, report.claims[index].text.replace(old, new, 1))


def _swap(report: Report, index: int, text: str) -> Report:
    """Return the report with another text for one claim."""
    claims = list(report.claims)
    claims[index] = replace(claims[index], text=text)
    return replace(report, claims=tuple(claims))


def _insert(report: Report, text: str, rng: random.Random) -> Report:
    """Return the report with one more sentence in a claim that names facts."""
    index = rng.randrange(len(report.claims))
    return _swap(report, index, f"{report.claims[index].text} {text}")


def wrong_number(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """One number is changed in one digit or by a small amount."""
    places = [
        (i, m) for i, claim in enumerate(report.claims) for m in _VALUE.finditer(claim.text) if "SAM " not in claim.text[: m.start()][-4:]
    ]
    if not places:
        return None
    index, match = rng.choice(places)
    old, decimals = match.group(), len(match.group().partition(".")[2])
    step = rng.choice((-3, -2, -1, 1, 2, 3, 10))
    new = f"{abs(float(old) + step * 10**-decimals):.{decimals}f}"
    text = report.claims[index].text
    return None if float(new) == float(old) else _swap(report, index, text[: match.start()] + new + text[match.end() :])


def flipped_level(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A level word is replaced by the word of another level."""
    words, places = report.words(), []
    for index, claim in enumerate(report.claims):
        fact = facts.get(claim.facts[0])
        if fact is not None and fact.level is not None and fact.criterion in ("A", "B", "C", "P"):
            said = words.level_word(fact.criterion, fact.level)
            if re.search(rf"\b{said}\b", claim.text):
                places.append((index, said, fact))
    if not places:
        return None
    index, said, fact = rng.choice(places)
    other = words.level_word(fact.criterion, rng.choice([level for level in range(1, 6) if level != fact.level]))
    return _swap(report, index, re.sub(rf"\b{said}\b", other, report.claims[index].text, count=1))


def swapped_criterion(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """The values of two criteria, or of two probabilities or colours, change places."""
    for claim_a, claim_b, pattern in (
        ("abc.asymmetry_score", "abc.border_score", r"\d+(?:\.\d+)?(?= of \d)"),
        ("model.p_image", "model.p_image", r"\d+(?:\.\d+)?(?= %)"),
        ("colour.names", "colour.names", r"\d+(?:\.\d+)?(?= %)"),
    )[rng.randrange(3) :]:
        indices = [i for i, c in enumerate(report.claims) for wanted in (claim_a, claim_b) if c.facts[0] == wanted]
        found = [
            (i, m)
            for i in dict.fromkeys(indices)
            for m in list(re.finditer(pattern, report.claims[i].text))[: 2 if claim_a == claim_b else 1]
        ]
        if len(found) >= 2 and float(found[0][1].group()) != float(found[1][1].group()):
            return _exchange(report, found[0], found[1])
    return None


def _exchange(report: Report, first: tuple[int, re.Match[str]], second: tuple[int, re.Match[str]]) -> Report:
    """Exchange two matches, within one claim or between two."""
    (i, a), (j, b) = first, second
    if i == j:
        text = report.claims[i].text
        return _swap(report, i, text[: a.start()] + b.group() + text[a.end() : b.start()] + a.group() + text[b.end() :])
    changed = _swap(report, i, report.claims[i].text[: a.start()] + b.group() + report.claims[i].text[a.end() :])
    return _swap(changed, j, changed.claims[j].text[: b.start()] + a.group() + changed.claims[j].text[b.end() :])


def invented_finding(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A finding that no fact holds is added."""
    named = [fact.value for fact in facts if fact.source == "descriptor" or fact.id == "structure.names"]
    held = " ".join(map(str, named))
    return _insert(report, rng.choice([text for word, text in sentences.FINDINGS if not word or word not in held]), rng)


def denied_finding(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A structure that was found is said to be absent, or one of the descriptors."""
    names = facts.measured("structure.names")
    held = [str(fact.value) for fact in facts if fact.source == "descriptor" and fact.criterion == "D" and fact.relation != "differ"]
    held += [name for name in (names.value if names is not None and isinstance(names.value, tuple) else ()) if name in ("streaks", "dots")]
    return _insert(report, f"There are no {rng.choice(held)}.", rng) if held else None


def shift_turned(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """What a criterion adds to the estimate is said to take from it, or the other way round."""
    turns = {"raises": "lowers", "lowers": "raises", "increases": "decreases", "decreases": "increases", "reduces": "increases"}
    shifts = [fact for fact in facts if fact.id.startswith("model.shift_") and fact.value is not None and float(fact.stated()) != 0]
    places = [
        (i, match)
        for i, claim in enumerate(report.claims)
        for match in re.finditer(r"(asymmetry|border|colour|structure) (raises|lowers|increases|decreases|reduces)", claim.text)
        if any(fact.id.endswith(match.group(1)) for fact in shifts)
    ]
    if not places:
        return None
    index, match = rng.choice(places)
    text = report.claims[index].text
    return _swap(report, index, text[: match.start(2)] + turns[match.group(2)] + text[match.end(2) :])


def swapped_scorer(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """Descriptors are said to come from the other scorer."""
    swaps = (
        ("The image-text model", "A probe"),
        ("image-text model", "probe"),
        ("Probes", "The image-text model"),
        ("probes", "the image-text model"),
        ("The model's top descriptors", "The probes' descriptors"),
    )
    places = [
        (i, old, new) for i, claim in enumerate(report.claims) for old, new in swaps if old in claim.text and "descriptor.1" in claim.facts
    ]
    return _replaced(report, places[:1], rng)


def invented_descriptor(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A phrase of the vocabulary that was not ranked is cited."""
    held = {fact.value for fact in facts if fact.source == "descriptor"}
    phrase = rng.choice([entry.phrase for entry in load_vocabulary() if entry.phrase not in held])
    return _insert(report, f"The descriptor “{phrase}” also ranks high.", rng)


def negation(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A statement is turned into its opposite."""
    turns = (
        ("does not abstain", "abstains"),
        ("model abstains", "model does not abstain"),
        ("was accepted", "was not accepted"),
        ("was kept", "was not kept"),
        ("was not fitted", "was fitted"),
        ("model was fitted", "model was not fitted"),
        ("raised no flag", "raised a flag for hair"),
        ("check flagged", "check did not flag"),
        ("lesion shows", "lesion does not show"),
        ("border is", "border is not"),
        ("Colour is", "Colour is not"),
        ("were found", "were not found"),
        ("report calls", "report does not call"),
        ("frame cuts", "frame does not cut"),
    )
    places = [(i, old, new) for i, claim in enumerate(report.claims) for old, new in turns if old in claim.text]
    places = [place for place in places if not ("report calls" in place[1] and facts["model.p_melanoma"].level is None)]
    return _replaced(report, places, rng)


def unit_change(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A unit is changed, added or dropped."""
    places = [
        (i, m) for i, claim in enumerate(report.claims) for m in re.finditer(r"\d+(?:\.\d+)?( %(?! to)| per pixel| of \d)", claim.text)
    ]
    if not places:
        return None
    index, match = rng.choice(places)
    new = rng.choice(("", " mm", " cm")) if "%" in match.group(1) else " %" if "of" in match.group(1) else " mm"
    text = report.claims[index].text
    return _swap(report, index, text[: match.start(1)] + new + text[match.end(1) :])


def invented_value(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """What was not measured is given a value or a level."""
    texts = {
        "abc.asymmetry_score": ("The asymmetry score is 1.2 of 2.", "The lesion shows severe asymmetry."),
        "abc.border_score": ("The border is regular.", "The border is markedly irregular (4 of 8 segments)."),
        "abc.colour_count": ("Colour is uniform.", "There are 3 of 6 colours."),
        "abc.structure_count": ("There are 3 of 5 dermoscopic structures.", "Of the structures, 2 were found."),
        "abc.tds": ("The total dermoscopy score is 4.20.", "The total dermoscopy score is above the suspicious range."),
        "model.p_melanoma": ("The probability of melanoma is 12 %.", "The probability of melanoma is low."),
    }
    places = [i for i, claim in enumerate(report.claims) if claim.facts[0] in texts and facts[claim.facts[0]].value is None]
    if not places:
        return None
    index = rng.choice(places)
    return _swap(report, index, rng.choice(texts[report.claims[index].facts[0]]))


def denied_value(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """What was measured is said not to have been."""
    names = {"abc.asymmetry_score": "Asymmetry", "abc.border_score": "The border", "abc.colour_count": "Colour"}
    places = [i for i, claim in enumerate(report.claims) if claim.facts[0] in names and facts[claim.facts[0]].value is not None]
    if not places:
        return None
    index = rng.choice(places)
    return _swap(report, index, f"{names[report.claims[index].facts[0]]} was not measured because no scale was read from the image.")


def unresolved_descriptor(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """The sentence that a descriptor contradicts the measurement is left out."""
    kept = tuple(c for c in report.claims if not re.search(r"contradicts|differs from the measurement", c.text))
    return None if len(kept) == len(report.claims) else replace(report, claims=kept)


def missing_section(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A section is left out."""
    section = rng.choice(("quantitative", "visual", "risk", "quality"))
    return replace(report, claims=tuple(claim for claim in report.claims if claim.section != section))


def wrong_fact(facts: Facts, report: Report, rng: random.Random) -> Report | None:
    """A claim names no fact, or one that does not exist, or that of another criterion."""
    index = rng.choice([i for i, claim in enumerate(report.claims) if re.search(r"\d", claim.text) and "SAM" not in claim.text] or [0])
    claims = list(report.claims)
    ids = rng.choice(((), ("abc.invented",), ("quality.flags",)))
    if ids == claims[index].facts:
        return None
    claims[index] = replace(claims[index], facts=ids)
    return replace(report, claims=tuple(claims))


def _adding(texts: tuple[str, ...]) -> Corruption:
    """Return the corruption that adds one of some sentences."""

    def add(facts: Facts, report: Report, rng: random.Random) -> Report | None:
        return _insert(report, rng.choice(texts), rng)

    return add


KINDS: dict[str, Corruption] = {
    "wrong number": wrong_number,
    "flipped level": flipped_level,
    "swapped criterion": swapped_criterion,
    "invented finding": invented_finding,
    "invented descriptor": invented_descriptor,
    "denied finding": denied_finding,
    "shift turned round": shift_turned,
    "swapped scorer": swapped_scorer,
    "negation": negation,
    "unit change": unit_change,
    "invented value": invented_value,
    "denied value": denied_value,
    "unresolved descriptor": unresolved_descriptor,
    "size without a scale": _adding(sentences.SIZES),
    "diagnosis": _adding(sentences.DIAGNOSES),
    "injected instruction": _adding(sentences.INSTRUCTIONS),
    "leaked reasoning": _adding(sentences.REASONING),
    "other language": _adding(sentences.FOREIGN),
    "missing section": missing_section,
    "wrong fact": wrong_fact,
}
"""Every kind of fault that is measured; ``truncated JSON`` is measured on the parser beside them."""
CLAIMS_ONLY = ("wrong fact",)
"""Kinds that a plain text cannot show, because it names no facts."""


def reworded(rng: random.Random) -> Language:
    """Return the English language with correct rewordings of its sentence patterns, chosen at random."""
    words = load_language("en")
    path = Path(__file__).parent / "data" / "paraphrases_en.toml"
    options = tomllib.loads(path.read_text(encoding="utf-8"))
    chosen = {key: rng.choice([words.phrases[key], *texts]) for key, texts in options.items()}
    return replace(words, phrases={**words.phrases, **chosen})


def json_reply(report: Report) -> str:
    """Return a report as the JSON that a language model would answer."""
    sections: dict[str, list[dict[str, object]]] = {name: [] for name in SECTIONS}
    for claim in report.claims:
        sections[claim.section].append({"text": claim.text, "facts": list(claim.facts)})
    return json.dumps(sections, ensure_ascii=False)
