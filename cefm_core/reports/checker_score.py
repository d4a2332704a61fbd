"""Recall and false alarms of the checker on made reports.

``python -m cefm_core.reports.checker_score --count 500`` prints recall by kind of fault, and false alarms on correct reports and
rewordings.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, field

from cefm_core.reports.checker import check_report
from cefm_core.reports.claims import Report, render_text
from cefm_core.reports.corruptions import CLAIMS_ONLY, KINDS, json_reply, reworded
from cefm_core.reports.ledger import Facts
from cefm_core.reports.parse import parse_reply
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report


@dataclass
class Score:
    """Counts of one kind: how many were refused of how many, and examples of the wrong side."""

    refused: int = 0
    total: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, refused: bool, example: str) -> None:
        """Count one report."""
        self.refused += refused
        self.total += 1
        self.examples.append(example)

    @property
    def share(self) -> float:
        """Share refused; 1.0 of none."""
        return self.refused / self.total if self.total else 1.0


def measure_checker(count: int, seed: int = 0) -> dict[str, Score]:
    """Check corrupted and correct reports.

    Args:
        count: Ledgers; each gives one report of every kind that applies to it, as claims and as text, every other one reworded.
        seed: Seed of the first ledger.

    Returns:
        Score by kind, with ``truncated JSON``; and the correct ones as ``correct: template``, ``correct: text`` and
        ``correct: reworded``, of which ``refused`` are false alarms.
    """
    scores: dict[str, Score] = {}
    for index in range(count):
        rng = random.Random(seed * 1_000_003 + index)
        facts = sample_facts(seed * 1_000_003 + index)
        report = write_report(facts)
        _correct(scores, facts, report, rng)
        base = report if index % 2 else write_report(facts, words=reworded(rng))
        for kind, corrupt in KINDS.items():
            made = corrupt(facts, base, rng)
            if made is not None and made != base:
                _count(scores, kind, facts, made, base, text_too=kind not in CLAIMS_ONLY)
        whole = json_reply(report)
        cut = whole[: rng.randrange(1, len(whole) - 1)]
        scores.setdefault("truncated JSON", Score()).add(not parse_reply(cut, "stop").ok, "")
    return scores


def _correct(scores: dict[str, Score], facts: Facts, report: Report, rng: random.Random) -> None:
    rewritten = write_report(facts, words=reworded(rng))
    for kind, made in (
        ("template", report),
        ("text", render_text(report)),
        ("reworded", rewritten),
        ("reworded text", render_text(rewritten)),
    ):
        verdict = check_report(facts, made)
        scores.setdefault(f"correct: {kind}", Score()).add(not verdict.ok, "" if verdict.ok else " | ".join(verdict.lines()))


def _count(scores: dict[str, Score], kind: str, facts: Facts, made: Report, report: Report, *, text_too: bool) -> None:
    changed = [claim.text for claim in made.claims if claim not in report.claims]
    for form in (made, render_text(made)) if text_too else (made,):
        refused = not check_report(facts, form).ok
        scores.setdefault(kind, Score()).add(refused, "" if refused else f"[{'text' if isinstance(form, str) else 'claims'}] {changed}")


def table(scores: dict[str, Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| reports | refused | of | share |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {s.refused} | {s.total} | {s.share:.4f} |" for kind, s in scores.items()]
    return "\n".join(lines)


def summary(scores: dict[str, Score]) -> tuple[float, float]:
    """Return recall over all corrupted reports, and the share of false alarms over all correct ones."""
    wrong = [score for kind, score in scores.items() if not kind.startswith("correct")]
    right = [score for kind, score in scores.items() if kind.startswith("correct")]
    recall = sum(score.refused for score in wrong) / max(1, sum(score.total for score in wrong))
    return recall, sum(score.refused for score in right) / max(1, sum(score.total for score in right))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Recall and false alarms of the report checker on made reports.")
    parser.add_argument("--count", type=int, default=200, help="ledgers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=0, help="print so many misjudged reports of each kind")
    options = parser.parse_args()
    scores = measure_checker(options.count, options.seed)
    recall, alarms = summary(scores)
    print(table(scores))
    print(f"\nrecall {recall:.4f}, false alarms {alarms:.4f}")
    for kind, score in scores.items():
        for example in [text for text in score.examples if text][: options.examples]:
            print(f"{kind}: {example}")


if __name__ == "__main__":
    main()
