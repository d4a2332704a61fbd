"""Promises that must hold on real lesions of the development data set."""

import cv2
import numpy as np
import pytest

from cefm_core.abc_features.dataset import load_lesions, read_records, sample_records
from cefm_core.abc_features.measure import measure_abc
from cefm_core.abc_features.parity import compare
from cefm_core.config import AbcConfig
from cefm_core.imaging.artefacts import Artefacts

pytestmark = pytest.mark.shared
FEATURES = ("asymmetry_shape", "asymmetry_colour", "border_compactness", "border_convexity", "border_fractal_dimension", "colour_variety")


@pytest.fixture(scope="module")
def lesions(shared):
    folder = shared / "data" / "dermoscopy"
    records = [r for r in read_records(folder / "metadata.csv") if r["split"] == "train" and r["mask_touches_border"] == "0.0"]
    return [(rgb, mask) for _, rgb, mask in load_lesions(sample_records(records, 8), folder)]


def measured(rgb, mask):
    none = np.zeros(mask.shape, bool)
    return measure_abc(np.ascontiguousarray(rgb), np.ascontiguousarray(mask), AbcConfig(), Artefacts(none, none, none, none))


def test_turn_and_mirror_change_nothing(lesions):
    assert len(lesions) >= 5
    for rgb, mask in lesions:
        first = measured(rgb, mask)
        for second in (measured(np.rot90(rgb), np.rot90(mask)), measured(rgb[:, ::-1], mask[:, ::-1])):
            assert second["asymmetry_score"] == pytest.approx(first["asymmetry_score"], abs=0.02)
            assert second["border_score"] == pytest.approx(first["border_score"], abs=0.15)
            assert second["colour_count"] == first["colour_count"]
            for name in FEATURES:
                assert second[name] == pytest.approx(first[name], rel=0.02), name


def test_double_resolution_changes_features_by_less_than_three_percent_in_the_median(lesions):
    changes = {name: [] for name in FEATURES}
    for rgb, mask in lesions:
        size = (2 * mask.shape[1], 2 * mask.shape[0])
        larger = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), cv2.resize(mask.astype(np.float32), size) > 0.5
        first, second = measured(rgb, mask), measured(*larger)
        for name in FEATURES:
            changes[name].append(abs(second[name] / first[name] - 1))
    assert {name: float(np.median(c)) for name, c in changes.items() if np.median(c) >= 0.03} == {}


def test_released_colour_columns_are_reproduced(shared, tmp_path):
    folder, paper = shared / "data" / "dermoscopy", shared / "data" / "paper"
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    names = {row.split(",")[0].removesuffix(".jpg") for row in (paper / "test.csv").read_text(encoding="utf-8").splitlines()}
    chosen = [line for line in lines[1:] if line.split(",")[0] in names][:60]
    (tmp_path / "metadata.csv").write_text("\n".join([lines[0], *chosen]) + "\n", encoding="utf-8")
    for part in ("images", "masks"):
        (tmp_path / part).symlink_to(folder / part)
    rows = [line.split(" | ") for line in compare(tmp_path / "metadata.csv", [paper / "test.csv"], 4 / 3).splitlines()]
    released = {row[0].strip("| "): float(row[3]) for row in rows if "(released)" in row[1]}
    assert set(released) == {"A", "B2", "H", "S", "V"}
    assert min(released["S"], released["V"]) > 0.98
    assert released["H"] > 0.9
    assert released["A"] > 0.4
