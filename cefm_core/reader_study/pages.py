"""The sheet of one rater and the page of results."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cefm_core.reader_study.answers import COLUMNS, PAPER, StudyResult
from cefm_core.reader_study.design import CRITERIA, Study
from cefm_core.reports.claims import SECTIONS, Report
from cefm_core.reports.estimates import Estimate
from cefm_core.reports.image_view import in_script
from cefm_core.reports.pages import environment

QUESTIONS = {
    "interpretability": "How well can you see what each statement rests on?",
    "usefulness": "How useful is the report to you for judging this lesion?",
    "applicability": "How well would the report fit into your clinical work?",
}
ENDS = ("1 not at all", "5 very well")


def sheet_page(study: Study, rater: str, reports: Mapping[tuple[str, str], Report], pictures: Mapping[str, bytes]) -> str:
    """Return the sheet of a rater: every item with picture and report, without image id or arm, and a form whose answers become a CSV file.

    Args:
        study: The plan.
        rater: Code of the rater.
        reports: Report by image id and arm.
        pictures: JPEG by image id.
    """
    order = study.order(rater)
    items = [_item(each.code, reports[each.image_id, each.arm], pictures[each.image_id]) for each in order]
    answers = {"rater": rater, "columns": COLUMNS, "criteria": CRITERIA, "items": [item.code for item in order]}
    words = reports[order[0].image_id, order[0].arm].words()
    context = {"rater": rater, "items": items, "criteria": list(QUESTIONS.items()), "ends": ENDS, "notice": words.notice}
    return _template("study_sheet.html.j2").render(context | {"answers": in_script(answers), "lang": words.code})


def _item(code: str, report: Report, picture: bytes) -> dict[str, Any]:
    words = report.words()
    sections = [(words.headings[name], [claim.text for claim in report.section(name)]) for name in SECTIONS]
    encoded = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    return {"code": code, "picture": encoded, "sections": [section for section in sections if section[1]]}


def result_page(result: StudyResult) -> str:
    """Return the page of a study's results, the paper's beside them."""
    arms = [
        {"name": arm.arm, "cells": [{"estimate": _parts(arm.means[name]), "n": arm.counts[name]} for name in CRITERIA]}
        for arm in result.arms
    ]
    agreement = [("over all arms", result.agreement), *((f"within {arm.arm}", arm.agreement) for arm in result.arms)]
    lines = [(name, [_parts(found[criterion]) for criterion in CRITERIA]) for name, found in agreement]
    context = {"arms": arms, "criteria": CRITERIA, "paper": [PAPER[name] for name in CRITERIA], "result": result, "agreement": lines}
    return _template("study_result.html.j2").render(context)


def _parts(estimate: Estimate) -> dict[str, Any]:
    value, _, interval = estimate.text().partition(" ")
    return {"value": value, "interval": interval}


def _template(name: str) -> Any:
    return environment(Path(__file__).parent / "templates").get_template(name)
