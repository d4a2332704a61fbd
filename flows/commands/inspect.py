"""``cefm facts``, ``check-report``, ``show`` and ``why``: reading a store; read-only credentials suffice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cefm_core.errors import ConfigurationError
from storage.lineage import is_digest, uses_of
from storage.parquet import read_arrow, read_rows
from storage.store import Store
from storage.versions import read_outputs, read_version

Row = dict[str, Any]
_PER_IMAGE = (
    "manifest", "image_quality", "coarse_masks", "refined_masks", "abc_features", "embeddings", "predictions", "descriptors", "corrections",
    "reports",
)  # fmt: skip


def facts(image_id: str, store: str) -> None:
    """Print the ledger of facts of one image."""
    rows = _rows_of(Store.open(store), image_id)
    if "reports" not in rows:
        raise ConfigurationError(f"image {image_id}: no report in the latest version; `cefm report` writes it")
    print(json.dumps(json.loads(rows["reports"]["facts_json"]), indent=2, ensure_ascii=False))


def check_report(facts_file: Path, report_file: Path) -> None:
    """Print the verdict on a report; exit 1 when it must not be published."""
    from cefm_core.reports.checker import check_report as check
    from cefm_core.reports.facts import Facts

    try:
        ledger = Facts.from_json(facts_file.read_text(encoding="utf-8"))
        text = report_file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the facts or the report ({error})") from error
    verdict = check(ledger, text)
    print(json.dumps({"publish": verdict.ok, "reasons": [vars(reason) for reason in verdict.reasons]}, indent=2, ensure_ascii=False))
    sys.exit(0 if verdict.ok else 1)


def show(image_id: str, store: str) -> None:
    """Print every row of one image, with the digests behind them; of a digest or key, the images and versions that rest on it."""
    opened = Store.open(store)
    if is_digest(image_id):
        uses = uses_of(opened, image_id)
        if not uses["outputs"] and not uses["rows"]:
            raise ConfigurationError(f"digest {image_id}: nothing in {opened.uri} names it")
        print(json.dumps(uses, indent=2, ensure_ascii=False))
        return
    rows = _rows_of(opened, image_id)
    rejects = [row for row in read_rows(opened, read_outputs(opened)["rejects"]) if row["item"] == image_id]
    if not rows and not rejects:
        raise ConfigurationError(f"image {image_id}: not in the latest version of {opened.uri}")
    for row in rows.values():
        row.pop("vector", None)
    version = read_version(opened)
    body = {"image_id": image_id, "version": version["number"], "run_id": version["run_id"], "tables": rows, "rejects": rejects}
    print(json.dumps(body, indent=2, ensure_ascii=False))


def why(key: str, store: str) -> None:
    """Print which parts of a fingerprint changed.

    A stage name compares its two latest fingerprints; a digest compares that fingerprint with the one before it.
    """
    opened = Store.open(store)
    documents = _fingerprints(opened, key)
    if len(documents) < 2:
        print(f"{key}: only one fingerprint is known; nothing changed")
        return
    old, new = documents[-2], documents[-1]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            print(f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}")


def _rows_of(store: Store, image_id: str) -> dict[str, Row]:
    import pyarrow.compute as pc

    outputs = read_outputs(store)
    found: dict[str, Row] = {}
    for name in _PER_IMAGE:
        if name in outputs:
            table = read_arrow(store, outputs[name])
            rows = table.filter(pc.equal(table["image_id"], image_id)).to_pylist()
            if rows:
                found[name] = rows[0]
    return found


def _fingerprints(store: Store, key: str) -> list[dict[str, Any]]:
    """Return the fingerprint documents of a stage in the order they were first written, up to ``key`` where it is a digest."""
    names = [name for name in store.keys_below("fingerprints") if key in name.split("/")[1:2] or key in name]
    if not names:
        raise ConfigurationError(f"why {key}: no such stage or fingerprint in {store.uri}")
    stage = names[0].split("/")[1]
    ordered = store.keys_by_age(f"fingerprints/{stage}")
    if key != stage:
        ordered = ordered[: ordered.index(names[0]) + 1]
    return [store.read_json(name)["parts"] for name in ordered]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text[:12] if len(text) == 64 else text
