"""The pages of this package as strings; they share frame and style with the report pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cefm_core.releases.compare import Comparison
from cefm_core.releases.diff_view import Thumb, VersionFacts, diff_view
from cefm_core.releases.gate_view import gate_view


def diff_page(found: Comparison, before: VersionFacts, after: VersionFacts, thumb: Thumb) -> str:
    """Return the page of two compared versions as HTML that needs no other file; arguments as in :func:`diff_view`."""
    return _environment().get_template("diff.html.j2").render(diff_view(found, before, after, thumb))


def gate_page(
    run_id: str, gates: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]], thumb: Thumb, per_image: frozenset[str]
) -> str:
    """Return the page of a run's gates as HTML that needs no other file; arguments as in :func:`gate_view`."""
    return _environment().get_template("gates.html.j2").render(gate_view(run_id, gates, history, thumb, per_image))


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    core = Path(__file__).parent.parent
    folders = [core / "releases" / "templates", core / "reports" / "templates"]
    return Environment(
        loader=FileSystemLoader(folders, encoding="utf-8"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
