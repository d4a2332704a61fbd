"""What a page needs to be drawn: plain, frozen values that the caller fills.

Every ``href`` is relative to the page (``../images/x.jpg``); nothing is fetched from elsewhere. How a page looks belongs to
``templates/``, what it says about an image to ``facts`` and ``claims``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cefm_core.reports.claims import Report
from cefm_core.reports.corrections import Corrected


@dataclass(frozen=True)
class ImagePageContext:
    """Everything on the page of one image.

    Attributes:
        ledger: The ledger that the report is written from, and what clinicians corrected in it.
        report: The published report.
        image_href: Picture to show, or None where it cannot be shown.
        width_px: Width of the frame in which the paths below are drawn, in pixels (the picture may be a reduced copy).
        height_px: Height of that frame, in pixels.
        coarse_path: SVG path data of the coarse contour, from ``contours.svg_path``; None where there is no mask.
        refined_path: The same for the refined contour.
        positive_points: Positive prompt points x0, y0, x1, y1 ... in pixels of the frame.
        negative_points: Negative prompt points, likewise.
        nearest: Nearest labelled training images, nearest first: (image id, cosine, link to its page).
        lineage: (label, value) pairs: digests of the image and the weights, row keys, run, commit.
        writer: ``template`` or ``openai``.
        status: ``published`` or ``fallback``.
        reasons: What was objected to in answers that were not published, ``code: sentence``.
        run_href: Link to the run page.
        previous_href: Link to the page of the image before, or None.
        next_href: Link to the page of the image after, or None.
    """

    ledger: Corrected
    report: Report
    image_href: str | None
    width_px: int
    height_px: int
    coarse_path: str | None = None
    refined_path: str | None = None
    positive_points: tuple[float, ...] = ()
    negative_points: tuple[float, ...] = ()
    nearest: tuple[tuple[str, float, str], ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    writer: str = "template"
    status: str = "published"
    reasons: tuple[str, ...] = ()
    run_href: str = "../index.html"
    previous_href: str | None = None
    next_href: str | None = None


@dataclass(frozen=True)
class StageSummary:
    """One line of the stage table.

    Attributes:
        name: Stage name as in ``cefm_core.stages``.
        items_in: Items that entered.
        items_out: Rows that left.
        rejected: Items that became reject rows here.
        cached: Items served from earlier work.
        seconds: Wall-clock time, in seconds.
        note: Why the stage was skipped, or "".
    """

    name: str
    items_in: int
    items_out: int
    rejected: int
    cached: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure of the evaluation.

    Attributes:
        title: Short title.
        href: Picture, relative to the page.
        caption: One sentence, or "".
    """

    title: str
    href: str
    caption: str = ""


@dataclass(frozen=True)
class GateResult:
    """What the data-quality gate found in one table.

    Attributes:
        table: Table name.
        passed: Whether every expectation held.
        checks: Number of expectations.
        failures: One line for each that did not hold.
    """

    table: str
    passed: bool
    checks: int
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class RejectRow:
    """One line of the rejects table."""

    item: str
    stage: str
    code: str
    message: str


@dataclass(frozen=True)
class GalleryItem:
    """One image in the gallery of the run page.

    Attributes:
        image_id: Identifier, also the link's text.
        href: The image's page, or None where it has none.
        thumb_href: Small picture, or None.
        diagnosis: ``melanoma``, ``nevus``, ``other`` or ``unknown``.
        split: ``train``, ``tune``, ``val``, ``test`` or ``external``.
        p_melanoma: Calibrated probability 0..1, or None.
        abstain: Whether the model abstains.
        levels: Levels 1-5 of A, B and C, None where not measured.
        tds: Total dermoscopy score, or None.
        decision: ``accepted`` or ``kept``, or "" where there is no refined mask.
        flags: Quality flags.
        corrected: Whether a clinician's correction stands.
    """

    image_id: str
    href: str | None = None
    thumb_href: str | None = None
    diagnosis: str = "unknown"
    split: str = ""
    p_melanoma: float | None = None
    abstain: bool = False
    levels: tuple[int | None, int | None, int | None] = (None, None, None)
    tds: float | None = None
    decision: str = ""
    flags: tuple[str, ...] = ()
    corrected: bool = False


@dataclass(frozen=True)
class RunPageContext:
    """Everything on the page of one run.

    Attributes:
        run_id: Identifier of the run.
        images_in: Images found.
        images_out: Images with a report.
        rejects_count: Items rejected in all stages together.
        stages: One entry a stage, in order.
        headline: Lines of the evaluation, most important first; a shortcut warning, if any, is the first.
        shortcut_alarm: Whether the first headline line is such a warning.
        metrics: Rows of the ``metrics`` table (dicts of its columns).
        figures: Figures of the evaluation.
        gates: Gate results, one a table.
        rejects: Reject rows; the first 100 are shown.
        rejects_href: Link to the whole rejects table, or None.
        gallery: One entry an image.
        model_card_href: Link to the model card, or None.
        details: (label, value) pairs: source, store, commit, seeds, versions, time of the run.
        title: Heading of the page.
        links: (title, address) of the pages that stand beside this one.
    """

    run_id: str
    images_in: int
    images_out: int
    rejects_count: int
    stages: tuple[StageSummary, ...] = ()
    headline: tuple[str, ...] = ()
    shortcut_alarm: bool = False
    metrics: tuple[Mapping[str, Any], ...] = ()
    figures: tuple[Figure, ...] = ()
    gates: tuple[GateResult, ...] = ()
    rejects: tuple[RejectRow, ...] = ()
    rejects_href: str | None = None
    gallery: tuple[GalleryItem, ...] = ()
    model_card_href: str | None = None
    details: tuple[tuple[str, str], ...] = ()
    title: str = "Run report"
    links: tuple[tuple[str, str], ...] = ()
