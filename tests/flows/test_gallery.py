"""The gallery shows what an operator should look at first, and nothing that a file's name could smuggle in."""

import base64

import cv2
import numpy as np

from flows.gallery import gallery_markdown, inert
from tasks.context import RunContext
from tasks.overlay_gallery import choose, overlay_gallery
from tests.tasks.test_stored_embeddings import Scene


def row(name, confidence=0.9, decision="kept", agreement=None):
    return {"image_id": name, "mask_confidence": confidence, "decision": decision, "agreement_dice": agreement}


def test_the_least_sure_and_the_most_changed_are_shown_first():
    rows = [row(f"sure-{n:02d}") for n in range(20)]
    rows += [row(f"unsure-{n}", 0.1 * n) for n in range(6)]
    rows += [row(f"changed-{n}", 0.95, "accepted", 0.8 + 0.01 * n) for n in range(5)] + [row("unknown", None)]
    chosen = choose(rows)
    assert [name for name, _ in chosen[:9]] == [f"unsure-{n}" for n in range(6)] + [f"changed-{n}" for n in range(3)]
    assert [why for _, why in chosen[9:]] == ["by chance"] * 3 and len({name for name, _ in chosen}) == 12
    assert choose(rows[::-1]) == chosen and choose([]) == []


def test_outlines_are_drawn_and_an_image_that_is_gone_fails_nothing(tmp_path):
    scene = Scene(tmp_path)
    masks = [
        item | {"mask_confidence": 0.5, "agreement_dice": None, "decision": "kept", "row_key": ""} for item in scene.rows("refined_masks")
    ]
    tables = scene.tables | {name: scene.write(name, masks) for name in ("coarse_masks", "refined_masks")}
    shown = overlay_gallery.fn(scene.context, tables)
    assert [item["image_id"] for item in shown] == ["0", "1", "2"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(shown[0]["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    red = (picture[..., 2] > 200) & (picture[..., 1] < 120) & (picture[..., 0] < 120)
    assert picture.shape == (180, 240, 3) and red.sum() > 100

    (tmp_path / "source" / "1.png").unlink()
    context = RunContext(store=scene.context.store, source=scene.context.source)
    assert [item["image_id"] for item in overlay_gallery.fn(context, tables)] == ["0", "2"]


def test_the_page_is_a_bounded_table_and_names_are_inert():
    shown = [{"image_id": f"a|b](x)<img src=y>`{n}`", "why": "by chance", "jpeg": "AAAA"} for n in range(4)]
    page = gallery_markdown(shown)
    assert page.count("data:image/jpeg;base64,AAAA") == 4
    assert all(line.count("|") == 3 for line in page.splitlines()[2:])
    assert "<img" not in page and "`" not in page and "](x)" not in page
    assert inert("ISIC_0024306 2.a-b") == "ISIC_0024306 2.a-b"
