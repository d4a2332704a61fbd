"""`cefm fetch` against a local archive: what is here is checked, what is missing is fetched, what went is taken away."""

import json

import cv2
import numpy as np
import pytest

from cefm_core.errors import CefmError, ConfigurationError
from cefm_core.manifest.metadata import read_metadata
from cefm_core.manifest.names import classify_names
from flows.commands.fetch import Wanted, fetch
from storage import isic_archive
from storage.source import Source
from tests.storage.isic_server import FakeArchive, served

IDS = [f"ISIC_{k:07d}" for k in range(5)]


def picture(seed):
    return cv2.imencode(".jpg", np.random.default_rng(seed).integers(0, 255, (80, 90, 3), np.uint8))[1].tobytes()


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(isic_archive.IsicArchive.__init__, "__kwdefaults__", {"pause_s": 0, "first_wait_s": 0.01, "timeout_s": 10.0})
    with served(FakeArchive({i: picture(k) for k, i in enumerate(IDS)})) as running:
        yield running


@pytest.fixture
def run(archive, tmp_path, capsys):
    def run(**wanted):
        fetch(tmp_path / "isic", Wanted(**{"collections": (65,)} | wanted), f"{archive.url}/api/v2", True)
        return json.loads(capsys.readouterr().out)

    run.folder = tmp_path / "isic"
    return run


def files_asked(archive):
    return sorted(path.split("/")[-1].removesuffix(".jpg") for path in archive.asked if path.startswith("/files/"))


def test_images_and_a_metadata_table_that_a_run_reads(run, archive):
    assert run()["fetched"] == 5
    assert {p.name for p in (run.folder / "images").iterdir()} == {f"{i}.jpg" for i in IDS}
    table = read_metadata((run.folder / "metadata.csv").read_bytes(), "metadata.csv")
    assert sorted(table.rows) == IDS and not table.problems
    row = table.rows[IDS[0]]
    assert (row.resolution.diagnosis, row.fields["licence"], row.fields["attribution"]) == ("nevus", "CC-0", "Anonymous, Hospital")
    assert row.fields["age_years"] == 55 and "patient_key" in row.fields and not row.flags
    assert [image.image_id for image in classify_names(Source(str(run.folder / "images")).names()).images] == IDS
    assert "5 images: Anonymous, Hospital, licence CC-0" in (run.folder / "attribution.txt").read_text()


def test_again_nothing_is_fetched(run, archive):
    run()
    archive.asked.clear()
    found = run()
    assert (found["fetched"], found["already_here"], found["added"]) == (0, 5, 0)
    assert files_asked(archive) == []


@pytest.mark.parametrize("harm", ["missing", "short", "altered", "journal"])
def test_only_what_is_not_whole_is_fetched_again(run, archive, harm):
    run()
    archive.asked.clear()
    path = run.folder / "images" / f"{IDS[2]}.jpg"
    if harm == "missing":
        path.unlink()
    elif harm == "short":
        path.write_bytes(path.read_bytes()[:50])
    elif harm == "altered":
        path.write_bytes(path.read_bytes()[:-3] + b"abc")
    else:
        journal = run.folder / "fetched.jsonl"
        kept = [line for line in journal.read_text().splitlines() if IDS[2] not in line]
        journal.write_text("\n".join(kept) + '\n{"isic_id": "ISIC_00')
    assert run()["fetched"] == 1
    assert files_asked(archive) == [IDS[2]]
    assert path.read_bytes() == archive.images[IDS[2]]


def test_one_failure_costs_one_image_and_the_same_command_completes(run, archive, capsys):
    archive.faults[f"/files/{IDS[1]}.jpg"] = [404]
    with pytest.raises(CefmError, match="1 of 5 images could not be fetched"):
        run()
    capsys.readouterr()
    assert IDS[1] not in (run.folder / "metadata.csv").read_text()
    archive.asked.clear()
    assert run()["fetched"] == 1 and files_asked(archive) == [IDS[1]]


def test_another_licence_is_left_out_and_counted(run, archive):
    archive.licences[IDS[0]] = "CC-BY-NC"
    found = run(licences=("cc-0",))
    assert (found["listed"], found["other_licence"], found["fetched"]) == (5, 1, 4)
    assert IDS[0] not in files_asked(archive)
    with pytest.raises(ConfigurationError, match="another licence"):
        run(licences=("CC-BY",))


def test_a_new_release_is_added_changed_and_withdrawn(run, archive):
    run()
    del archive.images[IDS[4]]
    archive.images["ISIC_0000009"], archive.licences["ISIC_0000009"] = picture(9), "CC-BY"
    archive.clinical[IDS[3]] = {"diagnosis_3": "Melanoma Invasive", "diagnosis_1": "Malignant"}
    archive.images[IDS[0]] = picture(10) + b"\0"
    found = run()
    assert {name: found[name] for name in ("added", "changed", "withdrawn", "fetched")} == {
        "added": 1,
        "changed": 2,
        "withdrawn": 1,
        "fetched": 2,
    }
    assert (run.folder / "withdrawn" / f"{IDS[4]}.jpg").exists() and not (run.folder / "images" / f"{IDS[4]}.jpg").exists()


def test_the_whole_archive_is_not_fetched_by_accident(run):
    with pytest.raises(ConfigurationError, match="whole archive"):
        run(collections=())
    assert run()["fetched"] == 5
    assert run(collections=(), limit=2)["withdrawn"] == 0
