"""The data part of the model card, counted from the tables."""

from __future__ import annotations

import pandas as pd

from cefm_core.evaluation.frame import HELD_OUT, shared_groups
from cefm_core.evaluation.markdown import table
from cefm_core.evaluation.strata import strata

SPLIT_ORDER = ("train", "tune", "val", "test", "external")


def _text(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as text with ``not stated`` for null; a missing column is all null."""
    column = frame[name] if name in frame.columns else pd.Series([None] * len(frame), index=frame.index, dtype="object")
    return column.astype("object").where(column.notna(), "not stated").astype(str)


def _counts(frame: pd.DataFrame, by: pd.Series) -> list[list[object]]:
    lines: list[list[object]] = []
    order = sorted(by.unique(), key=lambda v: (SPLIT_ORDER.index(v) if v in SPLIT_ORDER else len(SPLIT_ORDER), v))
    for value in order:
        target = frame.loc[by == value, "target"]
        lines.append([value, len(target), int((target == 1).sum()), int((target == 0).sum()), int(target.isna().sum())])
    return lines


def _composition(frame: pd.DataFrame) -> list[list[object]]:
    """Count every stratum over all images, labelled or not."""
    lines: list[list[object]] = []
    for name, inside in strata(frame):
        if not name.startswith("source="):
            target = frame.loc[inside, "target"]
            lines.append([name.replace("=", ": ").replace("_", " "), int(inside.sum()), int((target == 1).sum()), int((target == 0).sum())])
    return lines


def data_section(frame: pd.DataFrame) -> str:
    """Write image type, partitions, sources with their licences, class balance, composition and what is not known.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame`.
    """
    header = ["images", "melanoma", "nevus", "other or no label"]
    source, split, licence = _text(frame, "source"), _text(frame, "split"), _text(frame, "manifest.licence")
    credit = _text(frame, "manifest.attribution")
    licences = [[*named, int(n)] for named, n in frame.groupby([source, licence, credit]).size().items()] if len(frame) else []
    grouped = int(frame["group_id"].notna().sum())
    shared = {s: shared_groups(frame, s) for s in HELD_OUT}
    crossing = ", ".join(f"{n} of {s}" for s, n in shared.items() if n)
    known = f"{grouped} of {len(frame)} images carry a group (patient, lesion or duplicates). "
    known += f"Groups also found in train or tune: {crossing}." if crossing else "No group of val, test or external is in train or tune."
    if grouped == 0:
        known = "No image carries a patient, lesion or duplicate group; images are taken as independent, which narrows intervals."
    parts = [
        "**Image type.** Dermoscopic images. Capture devices and settings are not recorded. Labels are those of the sources; whether "
        "histopathology confirmed them is not recorded here.",
        "### Partitions and class balance\n\n" + table(["split", *header], _counts(frame, split)) + "\n\n" + known,
        "### Sources\n\n" + table(["source", *header], _counts(frame, source)),
        "### Licences and credits\n\n" + table(["source", "licence as stated", "credit as stated", "images"], licences),
        "### Patients, skin tone, artefacts\n\nSkin tone is a band of the individual typology angle measured on the skin around "
        "the lesion, which light and camera shift; it is no person's own statement.\n\n"
        + table(["stratum", *header[:3]], _composition(frame)),
    ]
    return "\n\n".join(parts)
