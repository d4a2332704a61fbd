"""Speed of writing, checking and drawing reports, and what the checker makes of corrupted ones.

Run ``python tests/benchmarks/bench_reports.py`` (``--quick`` for a small corpus).
"""

from __future__ import annotations

import argparse
import time

from cefm_core.reports.checker import check_report
from cefm_core.reports.checker_score import measure_checker, summary, table
from cefm_core.reports.contexts import ImagePageContext
from cefm_core.reports.corrections import Corrected
from cefm_core.reports.pages import image_page
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report


def run(quick: bool) -> str:
    """Measure and return Markdown.

    Args:
        quick: Use a small corpus.
    """
    count = 300 if quick else 10_000
    ledgers = [sample_facts(seed) for seed in range(count)]
    write_report(ledgers[0])
    reports, writing = _timed(lambda: [write_report(facts) for facts in ledgers])
    some = list(zip(ledgers, reports, strict=True))[: 100 if quick else 1000]
    verdicts, checking = _timed(lambda: [check_report(facts, report) for facts, report in some])
    path = "M10 10L90 10L90 90Z"
    contexts = [ImagePageContext(Corrected(facts, facts), report, "a.jpg", 400, 300, path, path) for facts, report in some[:200]]
    pages, drawing = _timed(lambda: [image_page(context) for context in contexts])
    scores = measure_checker(15 if quick else 1000)
    recall, alarms = summary(scores)
    lines = [
        "| work | items | ms each, one core |",
        "| --- | --- | --- |",
        f"| template report | {count} | {1000 * writing / count:.2f} |",
        f"| check of a report | {len(some)} | {1000 * checking / len(some):.1f} |",
        f"| page of an image ({sum(map(len, pages)) / len(pages) / 1000:.0f} kB) | {len(pages)} | {1000 * drawing / len(pages):.1f} |",
        "",
        f"Template reports that the checker refuses: {sum(not verdict.ok for verdict in verdicts)} of {len(verdicts)}.",
        f"Made reports: recall {recall:.4f} (goal 0.99), false alarms {alarms:.4f} (goal 0.01).",
        "",
        table(scores),
    ]
    return "\n".join(lines)


def _timed(work):
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    print(run(parser.parse_args().quick))
