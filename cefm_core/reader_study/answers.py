"""The raters' answers: files of ratings, read strictly, and a study's results."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cefm_core.reader_study.design import CRITERIA, Item, Study
from cefm_core.reports.estimates import SAMPLES, SEED, Estimate, ratio

PAPER = {"interpretability": 4.6, "usefulness": 4.4, "applicability": 4.0}
"""Mean ratings by three dermatologists of the paper's whole pipeline (arXiv 2512.06105)."""
LOWEST, HIGHEST = 1, 5
COLUMNS = ("rater", "item", *CRITERIA)
Ratings = dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class ArmResult:
    """What the raters said of one arm.

    Attributes:
        arm: Name of the arm.
        means: Mean rating by criterion, with its interval by bootstrap of images.
        counts: Ratings by criterion.
        agreement: Krippendorff's alpha by criterion, within this arm.
    """

    arm: str
    means: dict[str, Estimate]
    counts: dict[str, int]
    agreement: dict[str, Estimate]


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        arms: One entry an arm.
        agreement: Krippendorff's alpha by criterion, over all arms.
        raters: Raters with at least one rating.
        images: Images.
        expected: Ratings asked for.
        given: Ratings given.
    """

    arms: tuple[ArmResult, ...]
    agreement: dict[str, Estimate]
    raters: tuple[str, ...]
    images: int
    expected: int
    given: int


def read_answers(study: Study, files: Mapping[str, str]) -> Ratings:
    """Read files of ratings.

    Args:
        study: The study.
        files: Content by name: CSV with the columns rater, item, interpretability, usefulness, applicability; an empty cell is no rating.

    Returns:
        The rating 1-5 by rater, item code and criterion.

    Raises:
        ValueError: A file has other columns, or an entry is none of this study; every fault is named.
    """
    codes = {item.code for item in study.items}
    ratings: Ratings = {}
    faults: list[str] = []
    for name, text in files.items():
        reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            faults.append(f"{name}: the columns are not {', '.join(COLUMNS)}")
            continue
        for line, row in enumerate(reader, start=2):
            faults += [f"{name}, line {line}: {fault}" for fault in _take(row, study, codes, ratings)]
    if faults:
        raise ValueError("\n".join(faults[:20]) + (f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""))
    return ratings


def _take(row: Mapping[str, str | None], study: Study, codes: set[str], ratings: Ratings) -> list[str]:
    """Add the ratings of one line and return what is wrong with it."""
    rater, item = (row["rater"] or "").strip(), (row["item"] or "").strip()
    if rater not in study.raters or item not in codes:
        return [f"no rater {rater!r} with an item {item!r} in this study"]
    faults = []
    for criterion in CRITERIA:
        text = (row[criterion] or "").strip()
        if not text:
            continue
        if text not in {str(value) for value in range(LOWEST, HIGHEST + 1)}:
            faults.append(f"{criterion} is {text!r}, not {LOWEST} to {HIGHEST}")
        elif ratings.get((rater, item, criterion), int(text)) != int(text):
            faults.append(f"{criterion} of {item} is rated twice by {rater}, and differently")
        else:
            ratings[rater, item, criterion] = int(text)
    return faults


def score_study(study: Study, ratings: Ratings) -> StudyResult:
    """Return means by arm and the agreement of the raters."""
    raters = tuple(rater for rater in study.raters if any(key[0] == rater for key in ratings))
    return StudyResult(
        arms=tuple(_arm(study, ratings, raters, arm) for arm in study.arms),
        agreement={criterion: _agreement(study.items, ratings, raters, criterion) for criterion in CRITERIA},
        raters=raters,
        images=len({item.image_id for item in study.items}),
        expected=len(study.raters) * len(study.items) * len(CRITERIA),
        given=len(ratings),
    )


def _arm(study: Study, ratings: Ratings, raters: Sequence[str], arm: str) -> ArmResult:
    """Mean of all ratings of an arm; whole images are drawn, since ratings of one report by several raters hang together."""
    items = [item for item in study.items if item.arm == arm]
    means, counts = {}, {}
    for criterion in CRITERIA:
        given = [[ratings[key] for rater in study.raters if (key := (rater, item.code, criterion)) in ratings] for item in items]
        means[criterion] = ratio([sum(each) for each in given], [len(each) for each in given])
        counts[criterion] = sum(map(len, given))
    return ArmResult(arm, means, counts, {criterion: _agreement(items, ratings, raters, criterion) for criterion in CRITERIA})


def _agreement(items: Sequence[Item], ratings: Ratings, raters: Sequence[str], criterion: str) -> Estimate:
    """Krippendorff's alpha of the ordinal ratings, with its interval by bootstrap of images."""
    import numpy as np

    from cefm_core.evaluation.bootstrap import group_resamples, percentile_interval

    images = sorted({item.image_id for item in items})
    table = np.array([[ratings.get((rater, item.code, criterion), np.nan) for item in items] for rater in raters], np.float64)
    value = alpha(table)
    if value is None:
        return Estimate(None, n=len(images), reason="one_rater_or_one_value")
    number = np.array([images.index(item.image_id) for item in items], np.int64)
    drawn = group_resamples(number, SAMPLES // 10, SEED)
    values = [alpha(np.repeat(table, counts, axis=1)) for counts in drawn]
    found = np.array([np.nan if each is None else each for each in values])
    interval = percentile_interval(found, len(images))
    return Estimate(value, interval.low, interval.high, len(images), interval.reason)


def alpha(table: object) -> float | None:
    """Return Krippendorff's alpha with the ordinal difference function.

    1 - D_o / D_e, the observed over the expected disagreement (Krippendorff 2019, Content Analysis, 4th ed., chapter 12): 1 where raters
    agree, 0 where they agree as by chance. Missing ratings are allowed.

    Args:
        table: float (raters, items), NaN where there is no rating.

    Returns:
        Alpha, or None where no item has two ratings or all ratings are the same.
    """
    import krippendorff
    import numpy as np

    values = np.asarray(table, np.float64)
    paired = values[:, np.isfinite(values).sum(axis=0) >= 2] if values.size else values
    if paired.size == 0 or len(np.unique(paired[np.isfinite(paired)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=paired, level_of_measurement="ordinal"))


def empty_answers(rater: str, codes: Iterable[str]) -> str:
    """Return the table for a rater to fill in, as CSV."""
    lines = [",".join(COLUMNS), *(f"{rater},{code}{',' * len(CRITERIA)}" for code in codes)]
    return "\n".join(lines) + "\n"
