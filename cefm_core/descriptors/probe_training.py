"""Learns the probes from image-level labels, says how well each does on held-out images, and writes those that do well enough.

python -m cefm_core.descriptors.probe_training METADATA.csv --cache probe_data.npz

METADATA.csv as in ``abc_features.dataset``, with columns ``isic2018t2_*`` and ``ph2_*``. The cache keeps embeddings and measurements,
which take minutes; without it they are made each time. Table and weights are written beside this module; the table of the docs is printed.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cefm_core.abc_features.dataset import load_lesions, read_records
from cefm_core.abc_features.lesion import find_lesion
from cefm_core.abc_features.measure import measure_abc
from cefm_core.abc_features.structure_training import fit, out_of_fold, prevalence_cut
from cefm_core.abc_features.texture import texture_features
from cefm_core.abc_features.view import make_view
from cefm_core.config import AbcConfig
from cefm_core.descriptors.probes import TABLE, WEIGHTS, Probe, encoder_settings
from cefm_core.evaluation.delong import delong_interval
from cefm_core.imaging.artefacts import find_artefacts

REGULARISATION = 1e-3
FLOOR = 0.65
"""Lowest lower end of the interval of the AUC with which a probe is used."""
ISIC, PH2 = "isic2018t2_streaks", "ph2_streaks"
"""Columns that are filled where a data set is labelled."""


@dataclass(frozen=True)
class Finding:
    """What a probe is to tell.

    Attributes:
        phrase: The finding.
        known: Column that is filled where images are labelled.
        column: Column of the label.
        values: Its values that mean present.
        measured: Column of the pipeline's own measurement of the same thing; ``filters`` where it is learned from filter responses; or "".
        alone: Whether the measurement stands alone unless the probe's whole interval lies above the measurement's AUC.
    """

    phrase: str
    known: str
    column: str
    values: tuple[str, ...]
    measured: str = ""
    alone: bool = False


FINDINGS = (
    Finding("pigment network", ISIC, "isic2018t2_pigment_network", ("1.0",), "filters"),
    Finding("streaks", ISIC, "isic2018t2_streaks", ("1.0",), "filters"),
    Finding("globules", ISIC, "isic2018t2_globules", ("1.0",), "filters"),
    Finding("milia-like cysts", ISIC, "isic2018t2_milia_like_cyst", ("1.0",)),
    Finding("blue-white veil", PH2, "ph2_blue_whitish_veil", ("P",)),
    Finding("regression structures", PH2, "ph2_regression", ("P",)),
    Finding("asymmetric shape", PH2, "ph2_asymmetry", ("1.0", "2.0"), "asymmetry_score", alone=True),
    *(
        Finding(phrase, PH2, f"ph2_color_{colour}", ("1.0",), f"colour_{colour}_share", alone=True)
        for phrase, colour in (
            ("white areas", "white"),
            ("red areas", "red"),
            ("light brown color", "light_brown"),
            ("dark brown areas", "dark_brown"),
            ("blue-gray areas", "blue_gray"),
            ("black areas", "black"),
        )
    ),
)
MEASURED = tuple(finding.measured for finding in FINDINGS if finding.alone)


@dataclass(frozen=True)
class Sample:
    """Labelled images.

    Attributes:
        records: Their records.
        vectors: Embeddings, (n, d).
        filters: Filter responses, (n, f).
        measured: Columns ``MEASURED``, (n, c); NaN where not measured, and in all but PH2.
    """

    records: list[dict[str, str]]
    vectors: np.ndarray
    filters: np.ndarray
    measured: np.ndarray


def gather(metadata: Path, cache: Path | None) -> Sample:
    """Embed and measure every labelled image, or read what the cache holds of it."""
    from cefm_core.alignment.encoder_source import encoder_digest

    records = {r["id"]: r for r in read_records(metadata) if r.get(ISIC) or r.get(PH2)}
    digest = encoder_digest(encoder_settings())
    if cache is not None and cache.is_file():
        data = np.load(cache)
        if str(data["encoder_sha256"]) == digest:
            return Sample([records[name] for name in data["ids"]], data["vectors"], data["filters"], data["measured"])
    sample = _measure(list(records.values()), metadata.parent)
    if cache is not None:
        ids = [record["id"] for record in sample.records]
        np.savez(cache, ids=ids, vectors=sample.vectors, filters=sample.filters, measured=sample.measured, encoder_sha256=digest)
    return sample


def _measure(records: list[dict[str, str]], folder: Path) -> Sample:
    from cefm_core.alignment.encoder import Encoder

    encoder, config = Encoder.load(encoder_settings()), AbcConfig(mask_samples=0)
    kept, vectors, filters, measured = [], [], [], []
    for record, rgb, mask in load_lesions(records, folder):
        lesion, _ = find_lesion(mask, config)
        if lesion is None:
            continue
        responses = texture_features(make_view(rgb, lesion, find_artefacts(rgb).any & ~mask, config))
        row = measure_abc(rgb, mask, config) if record[PH2] else {}
        kept.append(record)
        vectors.append(encoder.embed([rgb], [mask])[0])
        filters.append([responses[name] for name in sorted(responses)])
        measured.append([np.nan if row.get(name) is None else float(row[name]) for name in MEASURED])
    return Sample(kept, np.array(vectors), np.array(filters), np.array(measured))


def learn(sample: Sample, finding: Finding) -> tuple[Probe, np.ndarray, float, str]:
    """Learn one probe.

    Returns:
        Its line of the table, its weights and intercept (log odds of the label, on unscaled embeddings), and its line of the docs.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.array([i for i, record in enumerate(sample.records) if record[finding.known]])
    records = [sample.records[i] for i in rows]
    x, y = sample.vectors[rows].astype(np.float64), np.array([record[finding.column] in finding.values for record in records])
    groups = [r.get("lesion_id") or r.get("dup_group") or r["id"] for r in records]
    held_out = out_of_fold(x, y, groups, REGULARISATION)
    value, half = delong_interval(y, held_out)
    other = _measurement(sample, finding, rows, y, groups)
    why = _why_not(value - half, other, finding)
    weights, intercept = fit(x, y, REGULARISATION)
    # Platt 1999: the held-out scores say what a score means; weights of a balanced fit do not.
    platt = LogisticRegression(C=1e6).fit(held_out[:, None], y)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    cut = prevalence_cut(slope * held_out + offset, np.ones(len(y)), float(y.mean()))
    low, high = max(0.0, value - half), min(1.0, value + half)
    data = f"{'ISIC 2018 task 2' if finding.known == ISIC else 'PH2'}: {finding.column}"
    counts = len(y), int(y.sum())
    probe = Probe(finding.phrase, data, *counts, value, low, high, None if other is None else other[0], not why, why, cut)
    return probe, slope * weights, slope * intercept + offset, _line(probe, other, _outside(sample, finding, weights))


def _measurement(sample: Sample, finding: Finding, rows: np.ndarray, y: np.ndarray, groups: list[str]) -> tuple[float, float] | None:
    """Return AUC and half interval of the pipeline's own measurement, learned on the same folds where it is learned."""
    if finding.measured == "filters":
        return delong_interval(y, out_of_fold(sample.filters[rows], y, groups))
    if not finding.measured:
        return None
    values = sample.measured[rows, MEASURED.index(finding.measured)]
    return delong_interval(y[np.isfinite(values)], values[np.isfinite(values)])


def _why_not(low: float, other: tuple[float, float] | None, finding: Finding) -> str:
    if low < FLOOR:
        return "below_floor"
    return "not_beyond_measurement" if finding.alone and other is not None and low <= other[0] else ""


def _outside(sample: Sample, finding: Finding, weights: np.ndarray) -> str:
    """Return the AUC on PH2 of a probe that saw nothing of it, as text, or ""."""
    labels = {"streaks": ("ph2_streaks", ("P",)), "globules": ("ph2_dots_globules", ("AT", "T"))}
    if finding.phrase not in labels:
        return ""
    column, values = labels[finding.phrase]
    rows = np.array([i for i, record in enumerate(sample.records) if record[PH2]])
    y = np.array([sample.records[i][column] in values for i in rows])
    return _said(*delong_interval(y, sample.vectors[rows] @ weights))


def _said(value: float, half: float) -> str:
    return f"{value:.2f} ({max(0.0, value - half):.2f}–{min(1.0, value + half):.2f})"


def _line(probe: Probe, other: tuple[float, float] | None, outside: str) -> str:
    decided = "yes" if probe.used else f"no, {probe.why.replace('_', ' ')}"
    own = _said(probe.auc, (probe.high - probe.low) / 2)
    cells = (probe.phrase, probe.labels, f"{probe.present} / {probe.n}", own, _said(*other) if other else "—", outside or "—", decided)
    return f"| {' | '.join(cells)} |"


def write(learned: list[tuple[Probe, np.ndarray, float, str]]) -> None:
    """Write the table of all probes, and the weights of those in use."""
    from safetensors.numpy import save_file

    from cefm_core.alignment.encoder_source import encoder_digest

    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["phrase", "labels", "n", "present", "auc", "low", "high", "measured_auc", "used", "why", "cut"])
        for probe, *_ in learned:
            numbers = [f"{number:.3f}" for number in (probe.auc, probe.low, probe.high)]
            measured = "" if probe.measured_auc is None else f"{probe.measured_auc:.3f}"
            used = "yes" if probe.used else "no"
            writer.writerow([probe.phrase, probe.labels, probe.n, probe.present, *numbers, measured, used, probe.why, f"{probe.cut:.5f}"])
    used_ones = [entry for entry in learned if entry[0].used]
    tensors = {
        "weights": np.stack([weights for _, weights, _, _ in used_ones]).astype(np.float32),
        "intercepts": np.array([intercept for _, _, intercept, _ in used_ones]),
    }
    facts = {"encoder_sha256": encoder_digest(encoder_settings()), "phrases": [probe.phrase for probe, *_ in used_ones]}
    save_file(tensors, WEIGHTS, metadata={"cefm_probes": json.dumps(facts)})
    WEIGHTS.chmod(0o644)


def main() -> None:
    """Learn, print and write the probes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    sample = gather(arguments.metadata, arguments.cache)
    learned = [learn(sample, finding) for finding in FINDINGS]
    write(learned)
    print("| finding | labels | present / images | AUC, held-out folds | the pipeline's measurement | PH2, never seen | in use |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(line for *_, line in learned))


if __name__ == "__main__":
    main()
