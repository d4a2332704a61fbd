"""The shipped probes: their table, their choice, and what they say of real images."""

import csv

import cv2
import numpy as np
import pytest

from cefm_core.alignment.encoder import Encoder
from cefm_core.config import DescriptorConfig
from cefm_core.descriptors.probe_training import FLOOR
from cefm_core.descriptors.probes import Probe, ProbeScorer, encoder_settings, load_probes, present
from cefm_core.descriptors.vocabulary import find_descriptor
from cefm_core.errors import ConfigurationError
from cefm_core.tables.descriptors import TABLE


def probe(phrase: str, cut: float) -> Probe:
    return Probe(phrase, "made", 10, 5, 0.9, 0.8, 1.0, None, True, "", cut)


@pytest.fixture(scope="module")
def scorer():
    return ProbeScorer.load(DescriptorConfig())


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rgb = np.full((120, 160, 3), (214, 170, 150), np.uint8)
    cv2.ellipse(rgb, (80, 60), (40, 30), 10.0 * seed, 0, 360, (90, 60, 50), -1)
    return np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)


def test_only_probes_above_the_floor_are_in_use_and_the_others_say_why():
    for each in load_probes():
        assert each.used == (each.why == "") and each.low <= each.auc <= each.high
        if each.used:
            assert each.low >= FLOOR and find_descriptor(each.phrase).scorer == "probes"
        if each.why == "below_floor":
            assert each.low < FLOOR
    assert {"pigment network", "streaks", "blue-white veil", "regression structures"} == {p.phrase for p in load_probes() if p.used}


def test_findings_at_or_above_their_cut_are_present_the_farthest_first():
    probes = [probe("streaks", 0.0), probe("blue-white veil", -1.0), probe("regression structures", 0.5), probe("pigment network", 0.0)]
    assert present(np.array([0.0, 1.0, 0.4, -0.1]), probes, 3) == [1, 0]
    assert present(np.array([0.0, 1.0, 0.4, -0.1]), probes, 1) == [1]
    assert present(np.array([-9.0, -9.0, -9.0, -9.0]), probes, 3) == []
    assert present(np.array([1.0, 1.0]), [probe("streaks", 0.0), probe("no phrase of the vocabulary", 0.0)], 3) == [0]


def test_rows_fit_the_table_and_do_not_depend_on_batch_mates(scorer):
    images = [picture(seed) for seed in range(3)]
    masks = [None, np.pad(np.ones((60, 80), bool), ((30, 30), (40, 40))), np.zeros((120, 160), bool)]
    rows = [scorer.rank(scorer.embed(rgb, mask)) for rgb, mask in zip(images, masks, strict=True)]
    together = Encoder.load(encoder_settings()).embed(images, masks)
    assert rows == [scorer.rank(vector) for vector in together], "an embedding that was stored says the same"
    lineage = {"image_sha256": "0", "row_key": "0"}
    assert TABLE.to_arrow([{"image_id": str(i), **row, **lineage} for i, row in enumerate(rows)]).num_rows == 3
    for row in rows:
        assert len(row["vocabulary_scores"]) == sum(each.used for each in load_probes())
        assert all(0 <= score <= 1 for score in row["vocabulary_scores"]) and row["scorer"] == "probes"
    assert rows[0]["vocabulary_scores"] != rows[1]["vocabulary_scores"], "the lesion's crop is looked at"


def test_probes_of_another_encoder_are_refused(monkeypatch):
    from cefm_core.config import EmbedConfig

    monkeypatch.setattr("cefm_core.descriptors.probes.encoder_settings", lambda: EmbedConfig(view="frame"))
    with pytest.raises(ConfigurationError, match="belong to another encoder"):
        ProbeScorer.load(DescriptorConfig())


@pytest.mark.shared
def test_a_veil_that_experts_saw_scores_higher_than_where_they_saw_none(scorer, shared):
    folder = shared / "data" / "dermoscopy"
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        records = [row for row in csv.DictReader(file) if row["ph2_blue_whitish_veil"]]
    position = [each.phrase for each in load_probes() if each.used].index("blue-white veil")
    scores = {}
    for answer in ("P", "A"):
        chosen = [record for record in records if record["ph2_blue_whitish_veil"] == answer][:6]
        pictures = [cv2.cvtColor(cv2.imread(str(folder / record["filename"])), cv2.COLOR_BGR2RGB) for record in chosen]
        masks = [cv2.imread(str(folder / record["mask_filename"]), cv2.IMREAD_GRAYSCALE) > 127 for record in chosen]
        rows = [scorer.rank(scorer.embed(rgb, mask)) for rgb, mask in zip(pictures, masks, strict=True)]
        scores[answer] = [row["vocabulary_scores"][position] for row in rows]
    assert np.mean(scores["P"]) > np.mean(scores["A"]) + 0.2
