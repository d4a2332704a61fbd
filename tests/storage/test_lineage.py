import pytest

from cefm_core.tables.coarse_masks import TABLE
from storage.lineage import is_digest, uses_of
from storage.parquet import write_rows
from storage.store import Store
from storage.versions import publish

DIGEST = "ab" * 32


def test_what_is_a_digest():
    assert is_digest(DIGEST) and is_digest(f"objects/mask/ab/{DIGEST}.png")
    assert not is_digest("ISIC_0000000") and not is_digest(DIGEST[:-1]) and not is_digest(DIGEST + "0")


@pytest.fixture
def store(tmp_path):
    opened = Store.open(str(tmp_path))
    values = {"string": "x", "float": 0.5, "int": 1, "bool": False, "strings": []}
    plain = {c.name: c.allowed[0] if c.allowed else values[c.type] for c in TABLE.columns if not c.nullable}
    rows = [
        plain | {"image_id": image_id, "mask_key": f"objects/mask/ab/{mask}.png", "mask_sha256": mask}
        for image_id, mask in (("a", DIGEST), ("b", "cd" * 32), ("c", DIGEST))
    ]
    model = opened.put("objects/checkpoint/1", b"model")
    publish(opened, 0, "run-1", {"checkpoint": model}, "s")
    publish(opened, 1, "run-2", {"checkpoint": model, "coarse_masks": write_rows(opened, TABLE, rows)}, "s")
    return opened, model


def test_from_a_mask_to_the_images_that_have_it(store):
    found = uses_of(store[0], f"objects/mask/ab/{DIGEST}.png")
    assert found["rows"]["coarse_masks.mask_sha256"] == {"count": 2, "images": ["a", "c"]}
    assert found["outputs"] == {}


def test_from_a_model_to_the_versions_that_hold_it(store):
    assert uses_of(store[0], store[1].sha256) == {"digest": store[1].sha256, "outputs": {"checkpoint": [1, 2]}, "rows": {}}
