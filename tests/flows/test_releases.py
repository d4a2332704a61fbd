"""A new release of a data set: what is withdrawn, relabelled or added costs only what it touches, and old versions stay as they were."""

from __future__ import annotations

import csv
import shutil

import cv2
import pytest

from cefm_core.releases.compare import PER_IMAGE
from flows.full_run import full_run
from storage.backends import local_path
from storage.comparison import compare_stored
from storage.parquet import read_rows
from storage.store import Store
from storage.versions import read_outputs

pytestmark = pytest.mark.flow
ROW_STAGES = ("build_manifest", "assess_images", "segment_coarse", "refine_masks", "measure_abc", "embed_images", "rank_descriptors")


@pytest.fixture
def release(finished, phantoms, tmp_path):
    """A copy of the finished store and of its source, to change; ``run`` returns what each stage really worked on."""
    context, _ = finished
    shutil.copytree(local_path(context.store), tmp_path / "store")
    shutil.copytree(phantoms, tmp_path / "source")

    class Release:
        source = tmp_path / "source"
        store = Store.open(str(tmp_path / "store"))
        images = sorted((tmp_path / "source" / "images").iterdir())

        def rewrite(self, change):
            path = self.source / "metadata.csv"
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            rows = change(rows)
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)

        def add(self):
            """Add the mirror image of another; it sorts among the others: no shard of theirs may move."""
            new = self.source / "images" / "PHANTOM_0000000a.jpg"
            cv2.imwrite(str(new), cv2.flip(cv2.imread(str(self.images[0])), 0))
            return new

        def run(self, **options):
            here = {"store": self.store.uri, "source": f"file://{self.source}", "metadata": (f"file://{self.source / 'metadata.csv'}",)}
            summary = full_run(context.model_copy(update=here | options | {"run_id": "release-2"}))
            assert summary.version == 2
            return {stage["name"]: stage["in"] - stage["reused"] for stage in summary.stages}

    return Release()


def test_a_withdrawn_image_leaves_the_next_version_and_stays_in_the_old(release):
    rows = {row["image_id"]: row for row in read_rows(release.store, read_outputs(release.store, 1)["manifest"])}
    gone = next(
        image for image in release.images if "same_lesion" not in rows[image.stem]["flags"]
    )  # nobody else's row says anything of it
    gone.unlink()
    for mask in (release.source / "masks").glob(f"{gone.stem}.*"):
        mask.unlink()
    worked = release.run()
    assert {name: worked[name] for name in ROW_STAGES} == dict.fromkeys(ROW_STAGES, 0)
    for number, expected in ((1, True), (2, False)):
        outputs = read_outputs(release.store, number)
        held = {name: gone.stem in {row["image_id"] for row in read_rows(release.store, outputs[name])} for name in PER_IMAGE}
        assert held == dict.fromkeys(PER_IMAGE, expected)
    assert compare_stored(release.store, "1", "2").images.removed == (gone.stem,)


def test_one_label_re_makes_training_and_what_follows(release):
    def relabel(rows):
        row = next(row for row in rows if row["diagnosis"] == "nevus")
        row["diagnosis"] = "melanoma"
        relabel.image_id = row["isic_id"]
        return rows

    release.rewrite(relabel)
    worked = release.run()
    assert {name: worked[name] for name in ROW_STAGES if name != "build_manifest"} == dict.fromkeys(ROW_STAGES[1:], 0)
    assert worked["train_alignment"] > 0 and worked["evaluate_alignment"] > 0
    changes = compare_stored(release.store, "1", "2")
    assert {(v.image_id, v.column) for v in changes.labels} == {(relabel.image_id, "diagnosis"), (relabel.image_id, "target")}


def test_an_added_image_costs_one_row_of_each_stage(release):
    new = release.add()
    worked = release.run()
    assert {name: worked[name] for name in ROW_STAGES} == dict.fromkeys(ROW_STAGES, 1)
    assert compare_stored(release.store, "1", "2").images.added == (new.stem,)
    page = release.store.read("runs/release-2/changes.html").decode()
    assert new.stem in page and "data:image/jpeg;base64," in page


def test_a_kept_model_scores_the_new_image_and_leaves_the_others_as_they_are(release):
    new = release.add()
    worked = release.run(keep_model=True)
    assert {name: worked[name] for name in ("train_alignment", "write_reports")} == {"train_alignment": 0, "write_reports": 1}
    before, after = (read_outputs(release.store, number) for number in (1, 2))
    assert before["checkpoint"] == after["checkpoint"]
    tables = [read_rows(release.store, outputs["predictions"]) for outputs in (before, after)]
    scored = [{row["image_id"]: row["p_melanoma"] for row in table} for table in tables]
    assert scored[1].pop(new.stem) is not None
    assert scored[0] == scored[1]


def test_on_the_same_images_there_is_nothing_to_keep(release, finished):
    context, _ = finished
    here = {"store": release.store.uri, "keep_model": True, "run_id": "release-1-again"}
    assert full_run(context.model_copy(update=here)).version == 1  # sources left out and all: the version stands


@pytest.mark.parametrize("changed", [("alignment", "epochs", 1), ("abc", "working_side_px", 64)])
def test_a_model_of_other_settings_or_measurements_is_not_kept(release, finished, changed):
    context, _ = finished
    stage, name, more = changed
    settings = getattr(context.config, stage)
    config = context.config.model_copy(update={stage: settings.model_copy(update={name: getattr(settings, name) + more})})
    assert release.run(keep_model=True, config=config)["train_alignment"] > 0
