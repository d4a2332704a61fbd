"""What a person at the command line sees: on standard error, so that standard output stays for results."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
PROGRESS = logging.getLogger("cefm.progress")


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


def follow_progress() -> None:
    """Show what ``PROGRESS`` logs, once."""
    if not PROGRESS.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        PROGRESS.addHandler(handler)
        PROGRESS.setLevel(logging.INFO)
        PROGRESS.propagate = False


def progress(items: Sequence[T], title: str) -> Iterable[T]:
    """Yield the items with a progress bar on a terminal, and with a line now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=title, console=Console(stderr=True))
        return
    step = max(1, len(items) // 10)
    for number, item in enumerate(items, start=1):
        yield item
        if number % step == 0 or number == len(items):
            say(f"{title}: {number} of {len(items)}")
