"""What the fault commands share: their arguments, and the section that each writes of docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
# Order of the sections; a command that has not been run yet has none.
SECTIONS = (
    "changes", "kills", "replies", "races", "store_faults", "hostile_images", "same_bytes", "zombies", "slots", "databases", "workers",
)  # fmt: skip
_HEAD = """# Reliability

Every section is written by the command that it names, on one machine with two shared cores; nothing here is typed by hand. The same
commands run in a short form with the tests. Exit code 1 says that a goal was missed; what failed is listed.
"""


@dataclass
class Finding:
    """What a fault command found.

    Attributes:
        title: Heading of its section.
        lines: Markdown lines of the section.
        failures: What went wrong, one line each; empty is success.
    """

    title: str
    lines: list[str]
    failures: list[str] = field(default_factory=list)


def main(name: str, find: Callable[[int, int], Finding], count: int) -> None:
    """Run a fault command: ``python -m tests.reliability.<name> --seed S --count N [--write]``."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.reliability.{name}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--write", action="store_true", help="write the section of docs/reliability.md")
    asked = parser.parse_args()
    start = time.perf_counter()
    finding = find(asked.seed, asked.count)
    seconds = time.perf_counter() - start
    command = f"python -m tests.reliability.{name} --seed {asked.seed} --count {asked.count}"
    section = _section(finding, command, seconds)
    print(section)
    if asked.write:
        write_section(name, section)
    sys.exit(1 if finding.failures else 0)


def progress(text: str) -> None:
    """Print a line for whoever watches a long run."""
    print(text, file=sys.stderr, flush=True)


def _section(finding: Finding, command: str, seconds: float) -> str:
    failed = ["", "Failed:", "", *(f"- {line}" for line in finding.failures)] if finding.failures else []
    # How many processes wanted a core at the end: times mean little without it.
    where = f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.0f}, Python {platform.python_version()}"
    return "\n".join([f"## {finding.title}", "", f"`{command}` ({seconds:.0f} s, {where})", "", *finding.lines, *failed]).strip() + "\n"


def write_section(name: str, section: str) -> None:
    """Put a section in its place of the page, and leave the others as they are."""
    sections = _sections() | {name: section}
    parts = [_HEAD.strip()]
    parts += [f"<!-- {key}:begin -->\n{sections[key].strip()}\n<!-- {key}:end -->" for key in SECTIONS if key in sections]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _sections() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = {}
    for name in SECTIONS:
        _, begin, rest = text.partition(f"<!-- {name}:begin -->")
        inside, end, _ = rest.partition(f"<!-- {name}:end -->")
        if begin and end:
            found[name] = inside
    return found


def table(headers: list[str], rows: list[list[object]]) -> list[str]:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
