"""The training flow on a few drawn images: weights come out, load again, and are scored."""

import cv2
import numpy as np
import pytest

from cefm_core.segmentation.training_data import REQUIRED


@pytest.fixture
def data_set(tmp_path):
    lines = [",".join(REQUIRED)]
    y, x = np.mgrid[:64, :64]
    for i in range(60):
        inside = np.hypot(y - 32, x - 30 - i % 5) < 12
        cv2.imwrite(str(tmp_path / f"i{i}.png"), np.where(inside[..., None], (40, 50, 90), (160, 180, 220)).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"m{i}.png"), inside.astype(np.uint8) * 255)
        lines.append(f"i{i},i{i}.png,m{i}.png,S,nevus,{'train' if i < 55 else 'val'},,")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "metadata.csv"


@pytest.mark.flow
def test_trained_weights_load_and_are_scored(prefect, data_set, tmp_path):
    from flows.train_segmentation import evaluate_segmentation, train_segmentation

    recipe = {"steps": 2, "batch": 2, "tune_every": 2, "tune_share": 0.1, "sides": [[0.0, [64], [1.0]]]}
    weights = tmp_path / "w.safetensors"
    digest = train_segmentation(data_set, weights, tmp_path / "c.pt", recipe=recipe)
    again = train_segmentation(data_set, weights, tmp_path / "c.pt", recipe=recipe)
    assert digest == again
    result = evaluate_segmentation(data_set, "val", str(weights))
    assert result["sha256"] == digest
    assert "| all | 5 |" in result["table"]
    assert len(result["worst"]) == 5
