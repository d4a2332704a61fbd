"""The pages, as strings: same context, same bytes; no file, clock or network is touched.

What is shown is decided in ``image_view`` and ``run_view``; how it looks, in ``templates/``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from cefm_core.reports.contexts import ImagePageContext, RunPageContext
from cefm_core.reports.image_view import image_view
from cefm_core.reports.run_view import run_view


def image_page(context: ImagePageContext) -> str:
    """Return the page of one image as HTML.

    Args:
        context: Everything on the page; see the class.
    """
    return _template("image.html.j2").render(image_view(context))


def run_page(context: RunPageContext) -> str:
    """Return the page of one run as HTML.

    Args:
        context: Everything on the page; see the class.
    """
    return _template("run.html.j2").render(run_view(context))


def sheet_page(view: dict[str, Any]) -> str:
    """Return one report as an HTML file of its own.

    Args:
        view: What it shows, from ``export.sheet_view``, with its ``picture`` as a data URI.
    """
    return _template("sheet.html.j2").render(view)


def comparison_page(view: dict[str, Any]) -> str:
    """Return the page that compares writers.

    Args:
        view: What it shows, from ``compare_view.comparison_view``.
    """
    return _template("compare.html.j2").render(view)


@cache
def environment(*folders: Path) -> Any:
    """Return a Jinja environment of these template folders and this package's own, which has the frame and the style."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    places = [*folders, Path(__file__).parent / "templates"]
    return Environment(
        loader=FileSystemLoader(places, encoding="utf-8"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _template(name: str) -> Any:
    return environment().get_template(name)
