"""Two small versions whose every difference is known."""

import pyarrow as pa

from cefm_core.releases import listing
from cefm_core.releases.compare import compare_versions
from cefm_core.releases.diff_view import VersionFacts
from cefm_core.releases.pages import diff_page

IDS = ("a", "b", "c", "d")


def table(rows):
    return pa.Table.from_pylist([{"row_key": str(sorted(row.items(), key=str)), "image_sha256": "0"} | row for row in rows])


def manifest(**changes):
    rows = {i: {"image_id": i, "diagnosis": "nevus", "target": 0, "split": "train", "flags": ["no_metadata"]} for i in IDS}
    for image_id, row in changes.items():
        rows[image_id] = None if row is None else {"image_id": image_id, "flags": [], "split": "val", **rows.get(image_id, {}), **row}
    return table([row for row in rows.values() if row])


def predictions(**values):
    return table([{"image_id": i, "p_melanoma": p, "reason": None if p is not None else "no"} for i, p in values.items()])


def rejects(*items):
    return pa.Table.from_pylist([{"item": i, "stage": "build_manifest", "code": "truncated", "message": "cut"} for i in items])


def metrics(value):
    row = {"model": "combined", "split": "val", "role": "held_out", "stratum": "all", "metric": "roc_auc", "value": value}
    return pa.Table.from_pylist(
        [row | {"low": 0.5, "high": 0.9, "n": 4}, row | {"role": "fitted_on", "split": "train", "low": 0.0, "high": value, "n": 9}]
    )


BEFORE = {
    "manifest": manifest(),
    "predictions": predictions(a=0.1, b=0.2, c=None, d=0.4),
    "rejects": rejects("x", "y"),
    "metrics": metrics(0.7),
}
AFTER = {
    "manifest": manifest(
        a={"diagnosis": "melanoma", "target": 1}, b={"image_sha256": "1", "flags": ["near_duplicate"]}, d=None, e={"diagnosis": "other"}
    ),
    "predictions": predictions(a=0.6, b=0.15, c=0.3, e=0.5),
    "rejects": rejects("y", "y"),
    "metrics": metrics(0.8),
}


def found():
    return compare_versions(BEFORE, AFTER)


def test_images_labels_and_flags():
    diff = found()
    assert (diff.images.added, diff.images.removed, diff.images.changed) == (("e",), ("d",), ("a", "b"))
    assert diff.bytes_changed == ("b",)
    assert [(v.image_id, v.column, v.before, v.after) for v in diff.labels] == [
        ("a", "diagnosis", "nevus", "melanoma"),
        ("a", "target", 0, 1),
    ]
    assert {f.flag: (f.gained, f.lost) for f in diff.flags} == {"near_duplicate": (("b",), ()), "no_metadata": ((), ("b",))}
    assert diff.images.columns == {"diagnosis": 1, "target": 1, "flags": 1, "image_sha256": 1}


def test_deltas_of_results_by_hand():
    (change,) = found().results
    assert (change.column, change.compared, change.up, change.down, change.lost, change.gained) == ("p_melanoma", 3, 1, 1, 0, 1)
    assert change.largest == 0.5
    assert abs(change.median_size - 0.275) < 1e-12
    assert [d.image_id for d in change.deltas] == ["c", "a", "b"]


def test_a_repeated_reject_counts_as_often_as_it_stands():
    diff = found()
    assert [r["item"] for r in diff.rejects_added] == ["y"]
    assert [r["item"] for r in diff.rejects_removed] == ["x"]


def test_only_held_out_scores_are_compared():
    (score,) = found().scores
    assert (score.split, score.before["value"], score.after["value"]) == ("val", 0.7, 0.8)


def test_equal_versions_say_so_and_row_keys_alone_are_no_change():
    again = BEFORE | {"manifest": BEFORE["manifest"].set_column(0, "row_key", pa.array(list("wxyz")))}
    diff = compare_versions(BEFORE, again)
    assert diff.nothing and diff.images.equal == 4
    assert listing.changes_table(diff).num_rows == 0
    assert "say the same" in page(diff)


def test_vectors_are_compared_and_not_held():
    def vectors(*values):
        rows = [{"image_id": i, "row_key": str(v), "image_sha256": "0", "vector": v} for i, v in zip(IDS, values, strict=False)]
        return {
            "embeddings": pa.Table.from_pylist(
                rows,
                pa.schema(
                    [("image_id", pa.string()), ("row_key", pa.string()), ("image_sha256", pa.string()), ("vector", pa.list_(pa.float32()))]
                ),
            )
        }

    change = next(t for t in compare_versions(vectors([1.0, 2.0], [3.0]), vectors([1.0, 2.5], [3.0])).tables if t.table == "embeddings")
    assert (change.changed, change.equal, change.columns) == (("a",), 1, {"vector": 1})


def test_the_table_holds_every_change_once():
    rows = listing.changes_table(found()).to_pylist()
    kinds = [row["kind"] for row in rows]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"added": 1, "removed": 1, "bytes": 1, "label": 2, "result": 3}
    assert next(row["delta"] for row in rows if row["kind"] == "result" and row["image_id"] == "a") == 0.5
    assert next(row["delta"] for row in rows if row["kind"] == "result" and row["image_id"] == "c") is None


def test_text_and_json_agree():
    diff = found()
    lines = "\n".join(listing.as_lines(diff))
    assert "Probability of melanoma: 3 of 3 changed (1 up, 1 down, 0 lost, 1 gained)" in lines
    assert listing.as_json(diff)["results"]["p_melanoma"]["changed"] == 3


def page(diff):
    return diff_page(
        diff, VersionFacts("version 1", "run-1", "s"), VersionFacts("version 2", "run-2", "s"), lambda i: f"data:image/jpeg;base64,{i}"
    )


def test_the_page_shows_pictures_and_escapes_what_it_quotes():
    evil = AFTER | {"rejects": rejects("<script>")}
    html = page(compare_versions(BEFORE, evil))
    assert "data:image/jpeg;base64,e" in html and "<script>" not in html.split("</style>")[1]
    assert "http://" not in html and "https://" not in html and "<link" not in html
