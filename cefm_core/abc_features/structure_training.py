"""Learns from image-level labels which filter responses speak for a structure, and says how well on held-out images.

python -m cefm_core.abc_features.structure_training METADATA.csv --images 560 --out structure_model.toml

METADATA.csv as in ``dataset``, with columns ``isic2018t2_*`` (0, 1 or empty) and optionally ``ph2_*``. Every image with
streaks is taken, and a sample of the others. Nothing of PH2 enters the models of network, streaks and globules; the cut of
the dots, for which no other label exists, is the one number taken from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cefm_core.abc_features.dataset import load_lesions, read_records, sample_records
from cefm_core.abc_features.lesion import find_lesion
from cefm_core.abc_features.structure import DOT_FEATURE
from cefm_core.abc_features.texture import texture_features
from cefm_core.abc_features.view import make_view
from cefm_core.config import AbcConfig
from cefm_core.evaluation.delong import delong_interval
from cefm_core.imaging.artefacts import find_artefacts

REGULARISATION, FOLDS = 0.02, 5
LABELS = {
    "network": ("isic2018t2_pigment_network", "isic2018t2_negative_network"),
    "streaks": ("isic2018t2_streaks",),
    "globules": ("isic2018t2_globules",),
}
PH2_LABELS = {"streaks": ("ph2_streaks", "P"), "globules": ("ph2_dots_globules", "AT T"), "dots": ("ph2_dots_globules", "AT T")}


def collect(records: list[dict[str, str]], folder: Path) -> tuple[list[dict[str, str]], list[dict[str, float]]]:
    """Return the records whose lesion can be measured, with their filter statistics."""
    kept, features = [], []
    for record, rgb, mask in load_lesions(records, folder):
        lesion, _ = find_lesion(mask, AbcConfig(mask_samples=0))
        if lesion is not None:
            kept.append(record)
            features.append(texture_features(make_view(rgb, lesion, find_artefacts(rgb).any & ~mask, AbcConfig(mask_samples=0))))
    return kept, features


def label(record: dict[str, str], structure: str) -> bool:
    """Return whether one of the columns of a structure says that it is present."""
    return any(float(record[column] or 0) == 1 for column in LABELS[structure])


def out_of_fold(x: np.ndarray, y: np.ndarray, groups: list[str], regularisation: float = REGULARISATION) -> np.ndarray:
    """Return scores of every image from a model that saw no image of its lesion."""
    from sklearn.model_selection import GroupKFold

    scores = np.zeros(len(y))
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, groups):
        weights, intercept = fit(x[train], y[train], regularisation)
        scores[test] = x[test] @ weights + intercept
    return scores


def fit(x: np.ndarray, y: np.ndarray, regularisation: float = REGULARISATION) -> tuple[np.ndarray, float]:
    """Return weights and intercept, on unscaled features, of a balanced logistic regression; less is tighter."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    model = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=2000).fit((x - mean) / spread, y)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - weights @ mean)


def auc(y: np.ndarray, scores: np.ndarray) -> str:
    """Return the AUC with its 95 % interval and the counts, as text."""
    value, error = delong_interval(y, scores)
    return f"{value:.2f} +- {error:.2f} (n {len(y)}, present {int(y.sum())})"


def dot_cut(features: list[dict[str, float]], present: np.ndarray) -> float:
    """Return the cut of the dot response with the highest balanced accuracy."""
    values = np.array([f[DOT_FEATURE] for f in features])
    cuts = np.unique(values)
    accuracy = [((values >= c)[present].mean() + (values < c)[~present].mean()) / 2 for c in cuts]
    return float(cuts[int(np.argmax(accuracy))])


def train(metadata: Path, images: int) -> tuple[str, list[str]]:
    """Return the text of ``structure_model.toml`` and the lines of the report."""
    records = read_records(metadata)
    labelled = [r for r in records if r.get("isic2018t2_streaks")]
    others = sample_records([r for r in labelled if not label(r, "streaks")], images)
    kept, features = collect([r for r in labelled if label(r, "streaks")] + others, metadata.parent)
    seen, ph2 = collect([r for r in records if r.get("ph2_streaks")], metadata.parent)
    names = sorted(features[0])
    x, outside = (np.array([[f[n] for n in names] for f in rows]) for rows in (features, ph2))
    groups = [r.get("lesion_id") or r.get("dup_group") or r["id"] for r in kept]
    lines = [f"features = {names!r}".replace("'", '"')]
    report = []
    for structure in LABELS:
        y = np.array([label(r, structure) for r in kept])
        report.append(f"{structure}: held-out folds AUC {auc(y, out_of_fold(x, y, groups))}")
        weights, intercept = fit(x, y)
        share = float(np.mean([label(r, structure) for r in labelled]))
        plain = np.array([not label(r, "streaks") for r in kept]) if structure != "streaks" else np.ones(len(y), bool)
        odds = np.where(y, share / y.mean(), (1 - share) / (1 - y.mean()))
        cut = prevalence_cut((x @ weights + intercept)[plain], odds[plain], share)
        lines += [
            "",
            f"[{structure}]",
            f"cut = {cut:.6g}",
            f"intercept = {intercept:.6g}",
            f"weights = {[float(f'{w:.6g}') for w in weights]}",
        ]
        if structure in PH2_LABELS and seen:
            column, codes = PH2_LABELS[structure]
            truth = np.array([r[column] in codes.split() for r in seen])
            report.append(f"{structure}: PH2 AUC {auc(truth, outside @ weights + intercept)}")
    truth = np.array([r["ph2_dots_globules"] in ("AT", "T") for r in seen])
    report.append(f"dots: PH2 AUC of the response {auc(truth, np.array([f[DOT_FEATURE] for f in ph2]))}; cut fitted there")
    return "\n".join([*lines, "", "[dots]", f"cut = {dot_cut(ph2, truth):.6g}", ""]), report


def prevalence_cut(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Return the score above which a share of the weighted images lies, so that a structure is called as often as labelled."""
    order = np.argsort(-scores)
    above = np.cumsum(weight[order]) / weight.sum()
    return float(scores[order][min(int(np.searchsorted(above, share)), len(scores) - 1)])


def main() -> None:
    """Train, print the report and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--images", type=int, default=560)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text, report = train(arguments.metadata, arguments.images)
    arguments.out.write_text(text, encoding="utf-8")
    print("\n".join(report))


if __name__ == "__main__":
    main()
