"""Total dermoscopy score of the ABCD rule: 1.3 A + 0.1 B + 0.5 C + 0.5 D, with the literature's cut-offs."""

from __future__ import annotations

#: Weights of the rule (Stolz and others 1994; Nachbar and others 1994).
WEIGHTS = {"asymmetry_score": 1.3, "border_score": 0.1, "colour_count": 0.5, "structure_count": 0.5}
LOW_CUT, HIGH_CUT = 4.75, 5.45
BANDS = ("below_4_75", "4_75_to_5_45", "above_5_45")


def weighted_sum(row: dict, features: tuple[str, ...]) -> float | None:
    """Return the weighted sum of some features of a row, or None where one of them is missing."""
    if any(row.get(name) is None for name in features):
        return None
    return float(sum(WEIGHTS[name] * row[name] for name in features))


def band(tds: float) -> str:
    """Return the band of a score: below 4.75, 4.75 to 5.45, above 5.45."""
    return BANDS[0] if tds < LOW_CUT else BANDS[1] if tds <= HIGH_CUT else BANDS[2]


def measure_tds(row: dict) -> dict:
    """Return the score, its part without structures, its band, and why it is missing."""
    features = tuple(WEIGHTS)
    tds = weighted_sum(row, features)
    reasons = [row.get(f"{name.split('_')[0]}_reason") for name in features if row.get(name) is None]
    return {
        "tds": tds,
        "tds_without_structures": weighted_sum(row, features[:3]),
        "tds_band": None if tds is None else band(tds),
        "tds_reason": next((r for r in reasons if r), None),
    }
