"""Contract of the metrics table: every score of a run, each with its interval or the reason why there is none."""

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="metrics",
    stage="evaluate_alignment",
    description="One score of one model (or shortcut, or mask) on one split and stratum",
    per_image=False,
    primary_key=("model", "split", "stratum", "metric"),
    columns=(
        Column(
            "model",
            "string",
            "What is scored: combined (p_melanoma of predictions) or another of its p_<name>, e.g. image or clinical; shortcut:<name>, "
            "baseline:abc, coarse_mask, refined_mask, alignment, or <a>_minus_<b> for a comparison",
        ),
        Column(
            "split",
            "string",
            "Split on which it is scored: val, test, external, tune or train; left_out: models trained without the source",
        ),
        Column("role", "string", "held_out, or fitted_on for rows that decided the model", allowed=("held_out", "fitted_on")),
        Column("stratum", "string", "all, or <family>=<value>, e.g. source=PH2"),
        Column("metric", "string", "Name of the metric, as in docs/evaluation.md"),
        Column("value", "float", "The score; null where it is undefined", nullable=True, reason_column="reason"),
        Column("low", "float", "Lower end of the 95 % interval", nullable=True, reason_column="reason"),
        Column("high", "float", "Upper end of the 95 % interval", nullable=True, reason_column="reason"),
        Column("n", "int", "Images that entered", unit="images", minimum=0),
        Column("n_positive", "int", "Melanomas among them; null for masks", unit="images", minimum=0, nullable=True),
        Column("reason", "string", "Why value, or low and high, are null; see cefm_core.evaluation.rows.REASONS", nullable=True),
    ),
)
