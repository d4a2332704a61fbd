"""What the alignment costs, and what an encoder is worth.

    python tests/benchmarks/bench_alignment.py heads
    python tests/benchmarks/bench_alignment.py encoders METADATA.csv --encoder builtin --encoder MODEL=FILE@SIDE [--images N]

`heads` trains on random pairs of the usual number and compares with encoding them again every epoch, as one would without
stored embeddings. `encoders` embeds labelled images (melanoma, nevus) of split `train`, fits a logistic regression, and scores it
on split `val`: every encoder on the same images, masks and folds. METADATA has the columns id, filename, mask_filename, split, diagnosis.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from cefm_core.alignment.clinical_vector import clinical_names
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.encoder import Encoder
from cefm_core.alignment.encoder_training import read_mask
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig, EmbedConfig
from cefm_core.imaging.decode import decode_image

PAIRS, RESAMPLES, STRENGTHS = 6_500, 1_000, (1e-3, 3e-3, 1e-2, 3e-2)


def random_pairs(n: int, d: int) -> AlignmentData:
    """Random embeddings and measurements with shared causes: what they hold does not change what training costs."""
    random = np.random.default_rng(0)
    causes, names = random.normal(size=(n, 8)), clinical_names("clinical")
    return AlignmentData(
        image_ids=[f"i{i}" for i in range(n)],
        embeddings=(causes @ random.normal(size=(8, d)) + random.normal(size=(n, d))).astype(np.float32),
        clinical=causes @ random.normal(size=(8, len(names))),
        clinical_names=names,
        target=(causes[:, 0] > 0.5).astype(int).tolist(),
        split=["train"] * n,
        group_id=[None] * n,
    )


def run(quick: bool) -> str:
    """Time alignment and classifiers beside encoding the same images again every epoch; ``quick`` takes a tenth of the pairs."""
    pairs, epochs = (PAIRS // 10 if quick else PAIRS), 15
    encoder = Encoder.load(EmbedConfig())
    rgb, mask = np.full((450, 600, 3), 120, np.uint8), np.zeros((450, 600), np.bool_)
    mask[100:300, 200:400] = True
    encoder.embed([rgb], [mask])
    start = time.perf_counter()
    encoder.embed([rgb] * 20, [mask] * 20)
    encode = (time.perf_counter() - start) / 20
    lines = ["| what | width | seeds | heads s | everything s | CPU s |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for d, seeds in ((384, 1), (384, 5), (encoder.dimension, 1), (encoder.dimension, 5)):
        config = AlignmentConfig(seeds=tuple(range(seeds)), patience=epochs)
        ends: dict[str, float] = {}
        wall, cpu = time.perf_counter(), time.process_time()
        train_alignment(random_pairs(pairs, d), config, lambda told, ends=ends: ends.update({told["phase"]: time.perf_counter()}))
        total, used = time.perf_counter() - wall, time.process_time() - cpu
        lines.append(f"| stored embeddings | {d} | {seeds} | {ends['align'] - wall:.1f} | {total:.1f} | {used:.1f} |")
    lines.append(f"| encoding again every epoch, computed from one encoding | {encoder.dimension} | | {encode * pairs * epochs:.0f} | | |")
    return "\n".join([*lines, "", f"{pairs} pairs, {epochs} epochs; encoding one image in both views takes {encode * 1e3:.1f} ms."])


def read_labelled(metadata: Path, split: str, limit: int | None) -> tuple[list[dict[str, str]], np.ndarray]:
    """Return rows and labels of the melanomas and nevi of a split, at most ``limit``, in a fixed order by chance."""
    with metadata.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["diagnosis"] in ("melanoma", "nevus")]
    rows.sort(key=lambda row: row["id"])
    rows = [rows[i] for i in np.random.default_rng(999).permutation(len(rows))][:limit]
    return rows, np.array([row["diagnosis"] == "melanoma" for row in rows], int)


def embed_rows(encoder: Encoder, folder: Path, rows: list[dict[str, str]]) -> tuple[np.ndarray, float]:
    """Return embeddings (n, d) and processor seconds an image, decoding left out."""
    vectors, spent = [], 0.0
    for row in rows:
        rgb = decode_image((folder / row["filename"]).read_bytes(), max_pixels=10**8).rgb
        mask = read_mask(folder / row["mask_filename"], rgb.shape[:2]) if row["mask_filename"] else None
        start = time.process_time()
        vectors.append(encoder.embed([rgb], [mask])[0])
        spent += time.process_time() - start
    return np.stack(vectors), spent / len(rows)


def auc_with_interval(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Return ROC AUC and its 95 % bootstrap interval by image."""
    from sklearn.metrics import roc_auc_score

    random, drawn = np.random.default_rng(999), []
    while len(drawn) < RESAMPLES:
        rows = random.integers(0, len(labels), len(labels))
        if 0 < labels[rows].sum() < len(rows):
            drawn.append(roc_auc_score(labels[rows], scores[rows]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(roc_auc_score(labels, scores)), float(low), float(high)


def scores_of(train: np.ndarray, labels: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Return logits of val by a logistic regression whose strength five folds of train have chosen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    mean, std = train.mean(axis=0), train.std(axis=0)
    x, y = (train - mean) / std, (val - mean) / std
    scored = [cross_val_score(LogisticRegression(C=c, max_iter=300), x, labels, cv=5, scoring="roc_auc").mean() for c in STRENGTHS]
    return LogisticRegression(C=STRENGTHS[int(np.argmax(scored))], max_iter=300).fit(x, labels).decision_function(y)


def report(name: str, sets: dict[str, np.ndarray], labels: dict[str, np.ndarray], cost_s: float | None) -> None:
    """Print AUC of frame, lesion and both for embeddings that hold the frame's half first."""
    half = sets["train"].shape[1] // 2
    cost = "" if cost_s is None else f", {cost_s * 1e3:.1f} ms an image (both views, one core)"
    print(f"{name}: {len(labels['train'])} train, {len(labels['val'])} val images{cost}")
    for view, part in (("frame", slice(0, half)), ("lesion", slice(half, None)), ("both", slice(None))):
        scores = scores_of(sets["train"][:, part], labels["train"], sets["val"][:, part])
        auc, low, high = auc_with_interval(labels["val"], scores)
        print(f"  {view:7s} AUC {auc:.3f} ({low:.3f} - {high:.3f})")


def settings_of(text: str) -> EmbedConfig:
    """Read `builtin` or MODEL=FILE@SIDE."""
    if text == "builtin":
        return EmbedConfig()
    model, _, rest = text.partition("=")
    file, _, side = rest.partition("@")
    return EmbedConfig(model=model, weights=file, img_size=int(side) if side else None)


def bench_encoders(metadata: Path, encoders: list[str], limit: int | None) -> None:
    """Embed, fit and score with every encoder."""
    rows = {split: read_labelled(metadata, split, limit if split == "train" else None) for split in ("train", "val")}
    labels = {split: found[1] for split, found in rows.items()}
    for text in encoders:
        encoder = Encoder.load(settings_of(text))
        embedded: dict[str, Any] = {split: embed_rows(encoder, metadata.parent, found[0]) for split, found in rows.items()}
        report(text.partition("=")[0], {split: found[0] for split, found in embedded.items()}, labels, embedded["val"][1])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("heads")
    encoders = commands.add_parser("encoders")
    encoders.add_argument("metadata", type=Path)
    encoders.add_argument("--encoder", action="append", required=True, help="`builtin`, or MODEL=FILE@SIDE")
    encoders.add_argument("--images", type=int, help="train on at most this many images")
    arguments = parser.parse_args()
    if arguments.command == "heads":
        print(run(quick=False))
    else:
        bench_encoders(arguments.metadata, arguments.encoder, arguments.images)


if __name__ == "__main__":
    main()
