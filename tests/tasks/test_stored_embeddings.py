"""The embeddings of the run are used again by the probes, exactly, and only where they are the right ones."""

import cv2
import numpy as np
import pyarrow as pa
import pytest

from cefm_core.config import CefmConfig, EmbedConfig, RuntimeConfig
from cefm_core.descriptors.probes import ProbeScorer, encoder_settings
from cefm_core.imaging.decode import encode_mask_png
from storage import keys
from storage.parquet import read_rows, table_bytes
from storage.refs import sha256_of
from tasks import embed_images, rank_descriptors
from tasks.context import RunContext
from tasks.row_stage import make_plan, publish_rows
from tasks.stored_embeddings import StoredEmbeddings


class Scene:
    """Three drawn lesions with masks in a store."""

    def __init__(self, folder):
        (folder / "source").mkdir()
        config = CefmConfig(runtime=RuntimeConfig(shard_size=2, device="cpu"))
        self.context = RunContext(store=str(folder / "store"), source=str(folder / "source"), config=config)
        self.store = self.context.open_store()
        rows, masks = [], []
        for number in range(3):
            rgb, mask = np.full((90, 120, 3), 190 + number, np.uint8), np.zeros((90, 120), np.uint8)
            for canvas, colour in ((rgb, (60, 70, 110)), (mask, 1)):
                cv2.ellipse(canvas, (60, 45), (30, 15 + 5 * number), 20 * number, 0, 360, colour, -1)
            data = cv2.imencode(".png", rgb)[1].tobytes()
            (folder / "source" / f"{number}.png").write_bytes(data)
            ref = self.store.put_object("mask", encode_mask_png(mask.astype(bool)), "png")
            rows.append({"image_id": str(number), "uri": f"{number}.png", "image_sha256": sha256_of(data)})
            masks.append({"image_id": str(number), "mask_key": ref.key, "mask_sha256": ref.sha256})
        self.tables = {"manifest": self.write("manifest", rows), "refined_masks": self.write("refined_masks", masks)}

    def write(self, name, rows):
        """Write a table of which only these columns matter here."""
        data = table_bytes(pa.Table.from_pylist(rows))
        return self.store.put(keys.table_key(name, sha256_of(data)), data)

    def rows(self, name):
        return read_rows(self.store, self.tables[name])

    def run(self, module, **tables):
        stage = module.STAGE
        plan = make_plan(stage, self.context, self.tables | tables)
        for work in plan.shards:
            beside = {"beside": plan.beside} if plan.beside else {}
            getattr(module, stage.name).fn(self.context, plan.fingerprint, work, **beside)
        return publish_rows(stage, self.context, plan).table

    def item(self, number):
        plan = make_plan(embed_images.STAGE, self.context.model_copy(update={"refresh": ("embed_images",)}), self.tables)
        return [item for work in plan.shards for item in self.store.read_work(work)][number]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("embeddings"))
    scene.tables["embeddings"] = scene.run(embed_images)
    return scene


def test_the_probes_say_the_same_without_embedding_again(scene, monkeypatch):
    scorer = ProbeScorer.load(scene.context.config.descriptors)
    pictures = rank_descriptors.Pictures(scene.context)
    expected = [scorer.rank(scorer.embed(pictures.image(i), pictures.mask(i, (90, 120)))) for i in map(scene.item, range(3))]

    monkeypatch.setattr(ProbeScorer, "embed", lambda *_: pytest.fail("embedded again"))
    rows = read_rows(scene.store, scene.run(rank_descriptors))
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected


def test_a_stored_vector_counts_only_for_its_own_image_and_mask(scene):
    found = StoredEmbeddings(scene.context, scene.tables["embeddings"], encoder_settings())
    item = scene.item(0)
    assert found.find(item).shape == (3072,)
    assert found.find(item | {"mask_sha256": scene.item(1)["mask_sha256"]}) is None
    assert found.find(item | {"image_sha256": scene.item(1)["image_sha256"]}) is None


def test_nothing_is_found_without_a_table_or_with_another_encoder(scene):
    assert StoredEmbeddings(scene.context, None, encoder_settings()).find(scene.item(0)) is None
    other = StoredEmbeddings(scene.context, scene.tables["embeddings"], EmbedConfig(model="builtin", view="frame"))
    assert other.find(scene.item(0)) is None
