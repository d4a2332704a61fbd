"""Table `predictions`: the probability of melanoma of every image, with its spread and its parts."""

from cefm_core.tables.schema import Column, Table

REASONS = (
    "no_clinical_classifier",
    "no_classifier_single_class",
    "no_classifier_too_few_labels",
    "no_clinical_features",
)
LEFT_OUT_REASONS = ("not_asked", "no_source", "single_source", "no_classifier")
CONFORMAL_REASONS = ("no_prediction", "too_few_tune_labels")
NEAREST_REASONS = ("not_asked", "no_training_case")
SPLITS = ("train", "tune", "val", "test", "external")


def _log_odds(name: str, description: str) -> Column:
    return Column(name, "float", description, "natural log odds", nullable=True, reason_column="reason")


def _probability(name: str, description: str) -> Column:
    return Column(name, "float", description, "", 0, 1, nullable=True, reason_column="reason")


TABLE = Table(
    name="predictions",
    stage="evaluate_alignment",
    description="One row per embedded image, training images included (see split): calibrated probability of melanoma against nevus.",
    columns=(
        Column("image_id", "string", "Image"),
        Column("split", "string", "Split of the image in the manifest", allowed=SPLITS, nullable=True),
        Column("target", "int", "1 melanoma, 0 nevus, null where neither or unknown", minimum=0, maximum=1, nullable=True),
        _probability("p_melanoma", "Probability of melanoma: mean over the seeds, calibrated on tune"),
        _probability("p_low", "Least probability of any seed"),
        _probability("p_high", "Greatest probability of any seed"),
        _probability("p_image", "Probability by the classifier on the aligned image embedding alone"),
        _probability("p_clinical", "Probability by the classifier on the aligned clinical vector alone"),
        _probability("p_linear", "Probability by a logistic regression on the frozen embedding, without any alignment"),
        Column(
            "p_left_out",
            "float",
            "Probability by models trained with the same settings on all other sources",
            "",
            0,
            1,
            nullable=True,
            reason_column="left_out_reason",
        ),
        Column("left_out_reason", "string", "Why there is no p_left_out", nullable=True, allowed=LEFT_OUT_REASONS),
        Column(
            "conformal_set",
            "strings",
            "Classes (nevus, melanoma) that the image may belong to at the coverage stated in the settings; one class is an answer",
            nullable=True,
            reason_column="conformal_reason",
        ),
        Column("conformal_reason", "string", "Why there is no conformal_set", nullable=True, allowed=CONFORMAL_REASONS),
        _log_odds("shift_asymmetry", "What the asymmetry measurements add to the log odds of p_clinical (exact Shapley value)"),
        _log_odds("shift_border", "What the border measurements add"),
        _log_odds("shift_colour", "What the colour measurements add"),
        _log_odds("shift_structure", "What the measurements of structures add; 0 in profile paper, which has none"),
        _log_odds("clinical_reference_log_odds", "Log odds of a lesion with the median measurements of train; the four shifts add to it"),
        Column(
            "nearest_cases",
            "strings",
            "Nearest labelled train images of other lesions, by aligned embedding",
            "",
            nullable=True,
            reason_column="nearest_reason",
        ),
        Column("nearest_cosines", "floats", "Their cosines, mean over seeds, -1 to 1", "", nullable=True, reason_column="nearest_reason"),
        Column("nearest_reason", "string", "Why there is no nearest case", nullable=True, allowed=NEAREST_REASONS),
        Column("ood_score", "float", "Distance from the training embeddings; 1 is the limit of 99.5 % of tune images", minimum=0),
        Column("abstain", "bool", "Whether the prediction should not be relied on"),
        Column(
            "abstain_reasons",
            "strings",
            "undecided (conformal_set holds both classes), unlike_both (it holds none), seeds_disagree (threshold between p_low and "
            "p_high), out_of_distribution, no_prediction",
        ),
        Column("reason", "string", "Why a probability is missing", nullable=True, allowed=REASONS),
    ),
)
