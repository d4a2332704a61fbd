"""build_manifest: which images there are, what is known of them, and which of them are for what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cefm_core.errors import BadItemError
from cefm_core.tables import image_facts, manifest, rejects, source_listing
from storage.gates import read_baseline
from storage.parquet import read_arrow, read_rows, write_rows
from storage.refs import FileRef, digest_of, sha256_of
from storage.source import Source
from storage.store import Store
from tasks.caching import fingerprint, row_key
from tasks.context import RunContext
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.source_names import beside_bytes, classified_names, joined_metadata, what_it_says
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, remember

_IO_THREADS = 8


def _inputs(rows: Rows) -> Row:
    return {name: rows["source_listing"][name] for name in ("image_id", "uri", "image_sha256")}


def _inspection(config: Any) -> dict[str, Any]:
    limits = config.manifest.model_dump(mode="json", include={"max_pixels", "min_side_px"})
    return limits | {"local_features": config.manifest.least_matches > 0}


STAGE = RowStage(
    name="build_manifest",
    table=image_facts.TABLE,
    upstream=("source_listing",),
    entries=("cefm_core.manifest.inspect", "cefm_core.tables.image_facts"),
    inputs=_inputs,
    settings=_inspection,
)


@stage_task
def scan_source(context: RunContext, label: str = "build_manifest: scan") -> Outputs:
    """List the source, sort its names into images, masks and others, and digest every image and mask."""
    store, source = context.open_store(), context.open_source()
    classified = classified_names(source)
    with ThreadPoolExecutor(_IO_THREADS) as pool:
        found = list(pool.map(lambda image: _listed(source, image, classified.masks.get(image.image_id)), classified.images))
    rows = [row for row, error in found if error is None]
    refused = [_refusal(image.image_id, error) for image, (_, error) in zip(classified.images, found, strict=True) if error is not None]
    refused += [{"item": r.item, "stage": "build_manifest", "code": r.code, "message": r.message} for r in classified.rejects]
    summary = {"images": len(rows) + len(refused), "rejected": len(refused), "ignored": _count(reason for _, reason in classified.ignored)}
    files = {"source_listing": write_rows(store, source_listing.TABLE, rows), "rejects": write_rows(store, rejects.TABLE, refused)}
    return Outputs(files=files, summary=summary)


@stage_task
def build_manifest(context: RunContext, fingerprint: str, work: FileRef, label: str = "build_manifest") -> PartSummary:
    """Decode the images of one shard completely, once, and learn their size and perceptual hash."""
    from cefm_core.manifest.inspect import inspect_image

    source = context.open_source()

    def one(item: Row) -> Output:
        return Output(inspect_image(source.read_verified(item["uri"], item["image_sha256"]), context.config.manifest))

    return run_shard(STAGE, context, fingerprint, work, lambda items: [one(item) for item in items])


@stage_task
def assemble_manifest(context: RunContext, listing: FileRef, facts: FileRef, label: str = "build_manifest: assemble") -> Outputs:
    """Join what was found with the metadata, group duplicates and split by group."""
    metadata = joined_metadata({uri: beside_bytes(uri) for uri in context.metadata})
    duplicates = beside_bytes(context.duplicates) if context.duplicates else None
    print_ = fingerprint(
        "build_manifest", context.config.manifest.model_dump(mode="json"), {}, ("cefm_core.manifest.assemble", "cefm_core.tables.manifest")
    )
    inputs = {"listing": listing.sha256, "facts": facts.sha256, "metadata": digest_of(what_it_says(metadata))}
    inputs |= {"duplicates": sha256_of(duplicates)} if duplicates is not None else {}

    def make(store: Store) -> Outputs:
        from cefm_core.manifest.assemble import assemble_manifest as assemble
        from cefm_core.manifest.duplicates import read_duplicate_list

        known = {row["image_id"]: row for row in read_rows(store, facts)}
        inspected = [{**row, **known[row["image_id"]]} for row in read_rows(store, listing) if row["image_id"] in known]
        listed = read_duplicate_list(duplicates, str(context.duplicates)) if duplicates is not None else None
        assembled = assemble(inspected, metadata, context.config.manifest, listed)
        rows = [{**row, "row_key": row_key(print_.digest, {k: v for k, v in row.items() if k != "row_key"})} for row in assembled.rows]
        files = {"manifest": write_rows(store, manifest.TABLE, rows), "rejects": write_rows(store, rejects.TABLE, assembled.rejects)}
        return Outputs(files=files, summary=_assembly(len(rows), assembled))

    outputs = remember(context, print_, inputs, make, name="assemble_manifest")
    outputs.summary["unchanged"] = _unchanged(context.open_store(), outputs)
    return as_cached(outputs, outputs.cached)


def _unchanged(store: Store, outputs: Outputs) -> int | None:
    """Count the rows that the latest published version holds too; None where there is no such version."""
    before = read_baseline(store, "manifest")
    if outputs.cached or before is None or not store.holds_all([before.table])[0]:
        return None
    now, held = (set(read_arrow(store, ref)["row_key"].to_pylist()) for ref in (outputs.files["manifest"], before.table))
    return len(now & held)


def _assembly(rows: int, assembled: Any) -> dict[str, Any]:
    """Counts of the assembly; a metadata row without a usable id is a reject without an image behind it."""
    refused = len(assembled.rejects)
    return {"rows": rows, "rejected": refused, "metadata_only": assembled.counts["metadata_rejects"], "notes": assembled.notes}


def _listed(source: Source, image: Any, mask: str | None) -> tuple[Row, BadItemError | None]:
    """Digest one image and its reference mask."""
    try:
        data = source.read(image.name)
        mask_digest = sha256_of(source.read(mask)) if mask else None
    except BadItemError as error:
        return {}, error
    row = {
        "image_id": image.image_id,
        "uri": image.name,
        "size_bytes": len(data),
        "image_sha256": sha256_of(data),
        "reference_mask_uri": mask,
        "reference_mask_sha256": mask_digest,
    }
    return row | {"row_key": row_key("source_listing", row)}, None


def _refusal(item: str, error: BadItemError) -> Row:
    return {"item": item, "stage": "build_manifest", "code": error.code, "message": error.message}


def _count(values: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))
