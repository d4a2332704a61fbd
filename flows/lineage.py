"""Which code is running."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cefm_core import __version__


def commit() -> str:
    """Return the package's version and, in a checkout, its commit; ``+changes`` says that files differ from it."""
    folder = Path(__file__).resolve().parent
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = "+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else ""
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({head}{changed})"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
