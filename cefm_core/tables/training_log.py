"""Table `training_log`: every epoch of every model that a training run made."""

from cefm_core.tables.schema import Column, Table

PHASES = ("align", "image_classifier", "clinical_classifier", "linear", "fusion")

REASONS = ("no_tune_images", "fitted_in_one_go", "too_few_tune_labels")

TABLE = Table(
    name="training_log",
    stage="train_alignment",
    description="One row per model, seed and epoch: losses on train and tune, and which epoch was kept.",
    columns=(
        Column("model", "string", "Model: `heads`, `image`, `clinical`, `linear`, or a candidate of the fusion"),
        Column("seed", "int", "Seed of the model"),
        Column("phase", "string", "Phase of the training", allowed=PHASES),
        Column("epoch", "int", "Epoch, counted from 1", minimum=1),
        Column("loss", "float", "Mean loss of the training batches of this epoch", nullable=True, reason_column="reason"),
        Column("tune_loss", "float", "Loss on the tune images after this epoch, in evaluation mode", nullable=True, reason_column="reason"),
        Column("kept", "bool", "Whether the weights after this epoch are those of the checkpoint"),
        Column("skipped_batches", "int", "Batches without a pair to learn from", minimum=0),
        Column("reason", "string", "Why a loss is missing", nullable=True, allowed=REASONS),
    ),
    primary_key=("model", "seed", "phase", "epoch"),
    per_image=False,
)
