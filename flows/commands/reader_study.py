"""``cefm reader-study make`` and ``score``: blinded rating sheets from a store's reports, and what the answers say."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cefm_core.errors import ConfigurationError
from flows.console import say
from storage.refs import sha256_of
from storage.store import Store
from storage.versions import outputs_of, read_outputs

if TYPE_CHECKING:
    from cefm_core.reader_study.answers import StudyResult
    from cefm_core.reports.claims import Report
    from storage.refs import FileRef

_PUBLISHED = "published"


def make(store: str, out: Path, key: Path, images: int, raters: int, arms: tuple[str, ...], seed: int | None) -> None:
    """Write a sheet a rater (HTML, and CSV for those who prefer it), and apart from them the key.

    Args:
        store: URI of the store.
        out: Folder for the sheets.
        key: File for the key; not in that folder.
        images: How many images are rated.
        raters: How many raters there are.
        arms: ``published`` (the latest version), ``published@N``, or the template on ``measurements``, ``descriptors`` or ``full`` facts.
        seed: Seed of codes and orders; None draws one.

    Raises:
        ConfigurationError: An arm or version is not known, the key would lie among the sheets or is there already.
    """
    from cefm_core.reader_study.answers import empty_answers
    from cefm_core.reader_study.design import plan_study
    from cefm_core.reader_study.pages import sheet_page

    if out.resolve() in key.resolve().parents:
        raise ConfigurationError(f"--key {key}: raters must not find it; give a file outside of {out}")
    if key.exists():
        raise ConfigurationError(f"--key {key}: there is a study's key already; give another file")
    opened = Store.open(store)
    by_arm = {arm: _reports(opened, arm) for arm in arms}
    common = set.intersection(*(set(reports) for reports in by_arm.values()))
    chosen = sorted(common, key=lambda name: sha256_of(name.encode()))[:images]
    pictures = _pictures(opened, chosen)
    study = plan_study(chosen, arms, raters, secrets.randbits(63) if seed is None else seed)
    reports = {(image_id, arm): by_arm[arm][image_id] for image_id in chosen for arm in arms}
    out.mkdir(parents=True, exist_ok=True)
    for rater in study.raters:
        (out / f"sheet-{rater}.html").write_text(sheet_page(study, rater, reports, pictures), encoding="utf-8")
        (out / f"answers-{rater}.csv").write_text(empty_answers(rater, [item.code for item in study.order(rater)]), encoding="utf-8")
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(study.to_json(), encoding="utf-8")
    say(f"{len(study.items)} reports on {len(chosen)} images for {raters} raters in {out}; the key is {key}: keep it from the raters")


def score(key: Path, answers: list[Path], out: Path, as_json: bool) -> None:
    """Read the answers, print the results and write them as a page.

    Raises:
        ConfigurationError: The key or a file of answers is none.
    """
    from cefm_core.reader_study.answers import read_answers, score_study
    from cefm_core.reader_study.design import Study
    from cefm_core.reader_study.pages import result_page

    try:
        study = Study.from_json(key.read_text(encoding="utf-8"))
        ratings = read_answers(study, {file.name: file.read_text(encoding="utf-8") for file in answers})
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    if not ratings:
        raise ConfigurationError("no file holds a rating; give the files that the raters handed back")
    result = score_study(study, ratings)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(result_page(result), encoding="utf-8")
    say(_text(result))
    say(f"page: {out.resolve().as_uri()}")
    if as_json:
        print(json.dumps(asdict(result)))


def _text(result: StudyResult) -> str:
    from cefm_core.reader_study.answers import PAPER

    lines = [f"{result.given} of {result.expected} ratings by {len(result.raters)} raters on {result.images} images"]
    for arm in result.arms:
        means = ", ".join(f"{name} {estimate.text()} (n = {arm.counts[name]})" for name, estimate in arm.means.items())
        lines.append(f"{arm.arm}: {means}")
    lines.append("the paper: " + ", ".join(f"{name} {value}" for name, value in PAPER.items()))
    lines.append("agreement (Krippendorff's alpha): " + ", ".join(f"{name} {each.text()}" for name, each in result.agreement.items()))
    return "\n".join(lines)


def _reports(store: Store, arm: str) -> dict[str, Report]:
    """Return the reports of an arm by image."""
    from cefm_core.reports.claims import Report
    from cefm_core.reports.selections import SELECTIONS
    from storage.parquet import read_rows

    name, _, version = arm.partition("@")
    if name == _PUBLISHED and (not version or version.isdigit()):
        outputs = outputs_of(store, version) if version else read_outputs(store)
        return {row["image_id"]: Report.from_json(row["claims_json"]) for row in read_rows(store, _table(store, outputs))}
    if arm not in SELECTIONS:
        raise ConfigurationError(f"--arm {arm}: give {_PUBLISHED}, {_PUBLISHED}@VERSION or one of {', '.join(SELECTIONS)}")
    return _selected(store, arm)


def _selected(store: Store, selection: str) -> dict[str, Report]:
    """Return template reports on a part of the facts; that a part is left out is not said, as it would tell the arms apart."""
    from dataclasses import replace

    from cefm_core.reports.selections import select
    from cefm_core.reports.template_writer import write_report
    from storage.parquet import read_rows
    from tasks.ledgers import read_ledgers

    outputs = read_outputs(store)
    languages = {row["image_id"]: row["language"] for row in read_rows(store, _table(store, outputs))}
    found = {}
    for image_id, ledger in read_ledgers(store, outputs, languages).items():
        facts = select(ledger.facts, selection)
        report = write_report(facts, languages[image_id])
        kept = tuple(claim for claim in report.claims if any(facts[name].reason != "left_out" for name in claim.facts))
        found[image_id] = replace(report, claims=kept)
    return found


def _pictures(store: Store, image_ids: list[str]) -> dict[str, bytes]:
    from storage.parquet import read_rows
    from tasks.ledgers import read_items
    from tasks.report_sheet import outlined_picture

    outputs = read_outputs(store)
    items = read_items(store, outputs, image_ids)
    rows = {row["image_id"]: row for row in read_rows(store, _table(store, outputs)) if row["image_id"] in items}
    return {image_id: outlined_picture(store, items[image_id], rows[image_id]) for image_id in image_ids}


def _table(store: Store, outputs: dict[str, FileRef]) -> FileRef:
    if "reports" not in outputs:
        raise ConfigurationError(f"store {store.uri}: no reports in that version; `cefm report` writes them")
    return outputs["reports"]
