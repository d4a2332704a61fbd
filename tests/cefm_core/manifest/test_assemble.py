import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from cefm_core.config import ManifestConfig
from cefm_core.errors import ConfigurationError
from cefm_core.manifest.assemble import assemble_manifest
from cefm_core.manifest.metadata import read_metadata
from cefm_core.manifest.reject_codes import BY_CODE
from cefm_core.tables import manifest, rejects

CONFIG = ManifestConfig()


def inspected(image_id, **changed):
    rng = np.random.default_rng(int(hashlib.sha256(image_id.encode()).hexdigest()[:8], 16))
    facts = {
        "image_id": image_id,
        "uri": f"images/{image_id}.jpg",
        "size_bytes": 1000,
        "image_sha256": hashlib.sha256(image_id.encode()).hexdigest(),
        "width_px": 400,
        "height_px": 300,
        "dhash": f"{rng.bytes(8).hex()}:{rng.bytes(64).hex()}",
        "flags": [],
    }
    return facts | changed


def table(text):
    return read_metadata(text.encode(), "metadata.csv")


def by_id(assembled):
    return {row["image_id"]: row for row in assembled.rows}


def test_rows_fit_the_table_declaration():
    metadata = table("id,dx,age,sex,site,lesion_id,licence\nA,mel,55,male,back,L1,CC-0\nB,nv,,,,,\n")
    found = assemble_manifest([inspected("A"), inspected("B"), inspected("C")], metadata, CONFIG)
    arrow = manifest.TABLE.to_arrow([row | {"row_key": "k"} for row in found.rows])
    assert arrow.num_rows == 3
    for column in manifest.TABLE.columns:
        if column.allowed:
            assert set(arrow[column.name].to_pylist()) <= {*column.allowed, None}, column.name
        if column.reason_column:
            assert all(
                (v is None) == (r is not None)
                for v, r in zip(arrow[column.name].to_pylist(), arrow[column.reason_column].to_pylist(), strict=True)
            )
    rejects.TABLE.to_arrow(found.rejects)


def test_labels_targets_and_reasons():
    metadata = table("id,dx,benign_malignant\nA,mel,\nB,nv,\nC,bcc,\nD,,\nE,moon rash,\nF,,benign\n")
    rows = by_id(assemble_manifest([inspected(i) for i in "ABCDEFG"], metadata, CONFIG))
    assert {k: (v["diagnosis"], v["target"], v["target_reason"]) for k, v in rows.items()} == {
        "A": ("melanoma", 1, None),
        "B": ("nevus", 0, None),
        "C": ("other", None, "other_diagnosis"),
        "D": ("unknown", None, "no_label"),
        "E": ("unknown", None, "label_unmapped"),
        "F": ("unknown", None, "not_specific"),
        "G": ("unknown", None, "no_metadata"),
    }
    assert {k: v["flags"] for k, v in rows.items() if v["flags"]} == {
        "E": ["label_unmapped"],
        "F": ["diagnosis_not_specific"],
        "G": ["no_metadata"],
    }


def test_every_flag_is_documented():
    metadata = table("id,dx,age,sex,site,split,image_type,sha256\nA,moon rash,0,x,y,z,clinical,0\nB,nv,old,,,,,\nC,nv,500,,,,,\n")
    rows = assemble_manifest([inspected(i) for i in "ABCD"], metadata, CONFIG).rows
    raised = {flag for row in rows for flag in row["flags"]}
    assert len(raised) == 10
    assert raised <= manifest.FLAGS.keys()


def test_unspecific_benign_is_nevus_only_when_asked_for():
    metadata = table("image_name,target\nA,0\nB,1\n")
    images = [inspected("A"), inspected("B")]
    assert [r["target"] for r in assemble_manifest(images, metadata, CONFIG).rows] == [None, 1]
    asked = assemble_manifest(images, metadata, CONFIG.model_copy(update={"unspecific_benign": "nevus"})).rows
    assert [(r["target"], r["diagnosis"]) for r in asked] == [(0, "nevus"), (1, "melanoma")]
    assert asked[0]["flags"] == ["unspecific_benign_as_nevus"]


def test_counts_in_are_rows_and_rejects():
    metadata = table("id,dx,target\nA,mel,0\nB,nv,0\n../x,nv,0\nZ,mel,0\nY,nv,0\nC,nv\n")
    found = assemble_manifest([inspected(i) for i in "ABC"], metadata, CONFIG)
    assert [row["image_id"] for row in found.rows] == ["B", "C"]
    assert [(r["item"], r["code"]) for r in found.rejects] == [
        ("A", "label_conflict"),
        ("metadata.csv row 4: ../x", "bad_id"),
        ("metadata.csv row 7", "metadata_row_broken"),
    ]
    assert "dx=mel" in found.rejects[0]["message"] and "target=0" in found.rejects[0]["message"]
    counts = found.counts
    assert counts["images"] == counts["rows"] + counts["image_rejects"] == 3
    assert len(found.rejects) == counts["image_rejects"] + counts["metadata_rejects"] == 3
    assert (counts["metadata_only"], counts["metadata_only_problems"], counts["no_metadata"]) == (1, 1, 1)
    assert all(r["code"] in BY_CODE and r["stage"] == "build_manifest" for r in found.rejects)


def test_identical_bytes_keep_their_rows_but_only_one_counts():
    same = {"image_sha256": "s" * 64}
    metadata = table("id,dx\nB,nv\nC,nv\nD,mel\n")
    found = assemble_manifest([inspected("A", **same), inspected("B", **same), inspected("C", **same), inspected("D")], metadata, CONFIG)
    rows = by_id(found)
    assert {k: v["duplicate_of"] for k, v in rows.items()} == {"A": "B", "B": None, "C": "B", "D": None}
    assert {k: v["target"] for k, v in rows.items()} == {"A": None, "B": 0, "C": None, "D": 1}
    assert {rows[k]["target_reason"] for k in "AC"} == {"duplicate"}
    assert len({rows[k]["group_id"] for k in "ABC"}) == len({rows[k]["split"] for k in "ABC"}) == 1
    assert found.counts["exact_duplicates"] == 2


def test_identical_bytes_with_two_diagnoses_are_trusted_by_nobody():
    same = {"image_sha256": "s" * 64}
    rows = assemble_manifest([inspected("A", **same), inspected("B", **same)], table("id,dx\nA,nv\nB,mel\n"), CONFIG).rows
    assert [row["target"] for row in rows] == [None, None]
    assert all("duplicate_label_conflict" in row["flags"] for row in rows)


def test_byte_copies_across_official_splits_end_on_one_side():
    same = {"image_sha256": "s" * 64}
    metadata = table("id,dx,split\nA,nv,train\nB,nv,test\nC,mel,train\n")
    rows = by_id(assemble_manifest([inspected("A", **same), inspected("B", **same), inspected("C")], metadata, CONFIG))
    assert rows["A"]["split"] == rows["B"]["split"] == "test"
    assert rows["A"]["flags"] == ["split_moved"] and rows["B"]["flags"] == []


def test_curated_duplicates_drop_exactly_one_of_each_pair():
    images = [inspected(i) for i in "ABCD"]
    metadata = table("id,dx\nA,nv\nB,nv\nC,mel\nD,mel\n")
    rows = by_id(assemble_manifest(images, metadata, CONFIG, [("A", "B"), ("C", "gone"), ("B", "A")]))
    assert {k: v["duplicate_of"] for k, v in rows.items()} == {"A": None, "B": "A", "C": None, "D": None}
    assert rows["A"]["group_id"] == rows["B"]["group_id"] != rows["C"]["group_id"]


def test_a_list_or_a_table_of_other_images_is_an_error():
    with pytest.raises(ConfigurationError, match="duplicates list"):
        assemble_manifest([inspected("A")], None, CONFIG, [("X", "Y")])
    with pytest.raises(ConfigurationError) as caught:
        assemble_manifest([inspected("ISIC_1")], table("id,dx\n17,nv\n"), CONFIG)
    assert "ISIC_1" in str(caught.value) and "17" in str(caught.value)


def test_near_duplicates_share_a_group_and_say_so():
    one = inspected("A")
    rows = by_id(assemble_manifest([one, inspected("B", dhash=one["dhash"]), inspected("C")], None, CONFIG))
    assert rows["A"]["group_id"] == rows["B"]["group_id"] != rows["C"]["group_id"]
    assert "near_duplicate" in rows["A"]["flags"] and "near_duplicate" not in rows["C"]["flags"]
    assert rows["B"]["duplicate_of"] is None


def test_patients_never_leave_and_never_cross():
    lines = [f"I{i:03d},nv,PAT{i // 4:03d}" for i in range(200)]
    metadata = table("id,dx,patient_id\n" + "\n".join(lines) + "\n")
    found = assemble_manifest([inspected(f"I{i:03d}") for i in range(200)], metadata, CONFIG)
    assert "PAT" not in repr(found)
    groups = {}
    for row in found.rows:
        groups.setdefault(int(row["image_id"][1:]) // 4, set()).add((row["group_id"], row["split"]))
    assert all(len(own) == 1 for own in groups.values())
    assert len({row["group_id"] for row in found.rows}) == 50


def test_same_images_in_any_order_give_the_same_manifest():
    images = [inspected(f"I{i}") for i in range(40)]
    metadata = table("id,dx\n" + "".join(f"I{i},{'nv' if i % 3 else 'mel'}\n" for i in range(40)))
    first = assemble_manifest(images, metadata, CONFIG)
    random.Random(1).shuffle(images)
    assert assemble_manifest(images, metadata, CONFIG) == first


def test_checksum_and_decoding_repairs_are_flags():
    metadata = table(f"id,sha256\nA,{'0' * 64}\nB,{inspected('B')['image_sha256'].upper()}\n")
    rows = by_id(assemble_manifest([inspected("A", flags=["greyscale_source"]), inspected("B")], metadata, CONFIG))
    assert rows["A"]["flags"] == ["checksum_differs", "greyscale_source"]
    assert rows["B"]["flags"] == []


def test_notes_state_what_was_not_used():
    metadata = table("id,dx,patient_name\nA,nv,x\nB,moon rash,y\nC,mel,z\n")
    notes = "\n".join(assemble_manifest([inspected("A"), inspected("B")], metadata, CONFIG).notes)
    assert "1 metadata rows without a usable image in the source" in notes
    assert "patient_name" in notes
    assert "moon rash" in notes


@pytest.mark.shared
def test_development_data_set_keeps_its_split_without_a_leak(shared):
    """No decoding here: pseudo-hashes stand in for pixels, labels and groups are real."""
    data = (shared / "data" / "dermoscopy" / "metadata.csv").read_bytes()
    metadata = read_metadata(data, "metadata.csv")
    found = assemble_manifest([inspected(i, image_sha256=row.fields["image_sha256"]) for i, row in metadata.rows.items()], metadata, CONFIG)
    splits = Counter(row["split"] for row in found.rows)
    assert splits["train"] + splits["tune"] == 4770 and splits["val"] == 603 and splits["external"] == 102
    assert 0.08 < splits["tune"] / 4770 < 0.16
    assert Counter(row["target"] for row in found.rows) == {1: 1604, 0: 3181, None: 690}
    assert found.counts["split_moved"] == found.counts["checksum_differs"] == len(found.rejects) == 0
