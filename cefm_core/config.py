"""Every setting of a run: one frozen, closed class per stage, its unit in the field's description.

A setting that decides an output belongs to the stage's own class, because that class enters the cache key. What must not
decide an output (device, batch size, workers, shard size) belongs to :class:`RuntimeConfig`, which never enters a key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# What a failed rule of a gate does: stops the run, is only reported, or makes the run wait for an operator.
Severity = Literal["stop", "warn", "ask"]
# Servers and forms keep no much larger number whole; generators take no negative seed.
LARGEST = 2**31 - 1
Whole = Annotated[int, Field(le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ManifestConfig(Settings):
    """build_manifest: what is an image, and which images are for what."""

    max_pixels: Whole = Field(100_000_000, ge=1, description="Largest image accepted, in pixels, read from the header before decoding")
    min_side_px: Whole = Field(64, ge=8, description="Shortest side accepted, in pixels")
    tune_share: float = Field(0.12, gt=0, lt=0.5, description="Share of train groups kept apart to choose epochs and temperatures")
    val_share: float = Field(0.15, gt=0, lt=0.5, description="Share of groups that become val where the metadata names no split")
    split_seed: Seed = Field(999, description="Seed of the group split")
    near_duplicate_bits: Whole = Field(8, ge=0, le=8, description="Most of 64 hash bits in which near duplicates differ")
    near_duplicate_correlation: float = Field(0.985, gt=0, le=1, description="Least correlation of the 8 x 8 thumbnails of near duplicates")
    least_matches: Whole = Field(8, ge=0, description="Fewest local features in one arrangement that make two images one lesion; 0: off")
    unspecific_benign: Literal["unknown", "nevus"] = Field("unknown", description="Diagnosis of what is only `benign` or `target = 0`")


class QualityConfig(Settings):
    """assess_images: thresholds of the quality flags."""

    working_side_px: Whole = Field(256, ge=64, description="Long side at which quality is measured, in pixels")
    blur_threshold: float = Field(2.0, description="Variance of the Laplacian of L at working size below which an image is flagged blurred")
    hair_share_threshold: float = Field(0.02, description="Share of pixels under hair above which an image is flagged, 0..1")
    vignette_share_threshold: float = Field(0.02, description="Share of pixels in a dark frame or corner that flags an image, 0..1")
    ink_share_threshold: float = Field(0.001, description="Share of pixels under ink, stickers or a ruler that flags an image, 0..1")
    glare_share_threshold: float = Field(0.01, description="Share of pixels in glare above which an image is flagged, 0..1")
    dark_threshold: float = Field(30.0, description="Mean CIELAB L below which an image is flagged too dark, 0..100")
    bright_threshold: float = Field(88.0, description="Mean CIELAB L above which an image is flagged too bright, 0..100")
    contrast_threshold: float = Field(8.5, description="Spread of CIELAB L (5th to 95th percentile) below which an image is flagged")
    skin_hue_share_threshold: float = Field(0.85, description="Share of skin-like hues below which colour is unusual (cast, or no skin)")


class CoarseConfig(Settings):
    """segment_coarse: UltraLight VM-UNet, a second network where it is unsure, and the clean-up of the masks."""

    weights: str = Field("builtin", description="`builtin`, or the path of a safetensors file")
    second: Literal["auto", "litemedsam", "none"] = Field("auto", description="Second network, see refinement; auto = where installed")
    second_weights: str = Field("builtin", description="Weights of that decoder: `builtin`, or the path of a safetensors file")
    second_below: float = Field(0.95, ge=0, le=1, description="Confidence of the first network below which the second is asked; 1 = always")
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability at which a pixel is lesion")
    test_time_augmentation: bool = Field(False, description="Average over four flips")
    min_component_share: float = Field(0.002, ge=0, lt=1, description="Components below this share of the image are removed")
    min_component_of_largest: float = Field(0.25, ge=0, le=1, description="Components below this share of the largest are removed")
    max_hole_share: float = Field(0.005, ge=0, lt=1, description="Holes below this share of the image are filled")


class RefineConfig(Settings):
    """refine_masks: backend, prompts and the acceptance gate."""

    refiner: Literal["auto", "sam2", "medsam-lite", "classical", "none"] = Field(
        "auto", description="Backend; auto = sam2 if its checkpoint is configured, else medsam-lite if installed, else none"
    )
    sam2_size: Literal["tiny", "small", "base_plus", "large"] = Field("tiny", description="SAM 2.1 model size")
    sam2_checkpoint: str | None = Field(None, description="Checkpoint file, or a hub name such as facebook/sam2.1-hiera-tiny")
    sam2_checkpoint_sha256: str | None = Field(None, description="Expected digest of the checkpoint file, hex")
    positive_grid: Whole = Field(3, ge=1, le=7, description="Positive points on an n x n grid inside the lesion")
    negative_points: Whole = Field(4, ge=0, le=16, description="Negative points outside the lesion")
    negative_margin: float = Field(0.15, ge=0, description="Distance of negative points from the lesion, as a share of its box diagonal")
    max_coarse_confidence: float = Field(
        0.92, ge=0, le=1, description="Coarse masks surer than this are kept without asking the backend; 1 = every mask is refined"
    )
    min_agreement: float = Field(0.8, ge=0, le=1, description="Least Dice between refined and coarse mask for acceptance")
    max_area_ratio: float = Field(1.3, ge=1, description="Largest ratio of refined to coarse area, either way")
    max_components: Whole = Field(3, ge=1, description="Most components of a proposal, before clean-up")
    max_border_contact_gain: float = Field(0.25, ge=0, le=1, description="Most that the share of contour on the image's edge may grow")
    min_edge_contrast_gain: float = Field(-4.0, description="Least gain in colour difference across the contour, in units of Lab")
    min_predicted_iou: float = Field(0.5, description="Least intersection over union that the model predicts for its own mask")
    sam2_prompts: tuple[Literal["points", "box", "mask"], ...] = Field(
        ("points",), min_length=1, description="Prompts that SAM 2 is given (LiteMedSAM takes the box alone)"
    )
    sam2_prior_weight: float = Field(
        20.0,
        ge=0,
        description="Weight of the coarse mask in SAM 2's answer: logits per signed distance of one equivalent radius; "
        "0 = the model alone, as in the paper",
    )
    prompt_samples: Whole = Field(
        8, ge=0, le=64, description="Prompts moved a little, from whose masks the outline's stability is measured; 0 = not measured"
    )
    medsam_side_px: Whole = Field(96, ge=64, le=256, multiple_of=32, description="Side of LiteMedSAM's view in pixels (its own: 256)")
    medsam_crop_margin: float | None = Field(
        0.1, ge=0, description="Margin of LiteMedSAM's view around the coarse box, as a share of its diagonal; none = the whole image"
    )
    medsam_prior_weight: float = Field(
        60.0,
        ge=0,
        description="Weight of the coarse mask in LiteMedSAM's answer: logits per signed distance of one equivalent radius; "
        "0 = the model alone",
    )
    medsam_logit_threshold: float = Field(-1.0, description="Logit at which a pixel of LiteMedSAM's answer is lesion")
    min_component_share: float = Field(0.002, ge=0, lt=1, description="Components of a proposal below this share of the image are removed")
    min_component_of_largest: float = Field(0.25, ge=0, le=1, description="Components below this share of the largest are removed")
    max_hole_share: float = Field(0.005, ge=0, lt=1, description="Holes of a proposal below this share of the image are filled")


class AbcConfig(Settings):
    """measure_abc: working scale and cut-points."""

    working_side_px: Whole = Field(
        512,
        ge=128,
        description="Working scale of the clinical profile: the disc of the lesion's area gets 0.4 of this as its diameter, in pixels",
    )
    min_area_px: Whole = Field(64, ge=1, description="Smallest lesion measured, in pixels of the mask")
    min_thickness_px: float = Field(4.0, ge=0, description="Smallest lesion thickness measured, in pixels of the mask")
    mask_samples: Whole = Field(10, ge=0, le=100, description="Perturbed masks per image from which intervals are made; 0 = no intervals")


class EmbedConfig(Settings):
    """embed_images: the frozen vision transformer."""

    model: str = Field("builtin", description="`builtin` (the small ViT shipped), or any timm model name")
    weights: str = Field("hub", description="For a timm model: `hub`, or the path of a safetensors file, or `random` (needs allow_random)")
    img_size: Whole | None = Field(None, description="Input side in pixels where it differs from the model's own")
    allow_random: bool = Field(False, description="Allow a random backbone; it is stamped on every row")
    view: Literal["frame", "lesion", "both"] = Field("both", description="Whole frame, crop around the lesion, or both concatenated")
    tokens: Literal["class", "class_mean", "class_mean_spread"] = Field(
        "class_mean_spread",
        description="Class token; with the mean of the patch tokens; with their spread too, after the last and a middle block",
    )


class AlignmentConfig(Settings):
    """train_alignment: heads, NT-Xent and classifiers."""

    profile: Literal["clinical", "paper"] = Field("clinical", description="Clinical vector: clinical features, or the paper's five")
    components: Whole = Field(
        256, ge=0, description="Principal components of a longer embedding that enter the models; 0 = the whole embedding"
    )
    temperature: float = Field(0.05, gt=0, description="NT-Xent temperature")
    loss: Literal["cross_modal", "paper"] = Field(
        "cross_modal", description="NT-Xent with every pair once, or as the authors wrote it, with the positive twice"
    )
    standardise: bool = Field(True, description="Scale the clinical vector to unit variance; the authors did not")
    learning_rate: float = Field(1e-3, gt=0, description="Adam learning rate")
    weight_decay: float = Field(1e-5, ge=0, description="Adam weight decay")
    training_batch: Whole = Field(64, ge=2, description="Pairs per step (decides the result, unlike an inference batch)")
    epochs: Whole = Field(15, ge=1, description="Most epochs of alignment")
    patience: Whole = Field(5, ge=1, description="Epochs without gain on `tune` before stopping")
    balance: Literal["none", "label", "source"] = Field(
        "source", description="What weighs the same in the classifiers: every image, both labels, or every source and label"
    )
    classifier_epochs: Whole = Field(10, ge=1, description="Epochs of each classifier")
    coverage: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        description="Share of nevi, and of melanomas, whose prediction set shall hold their class; a set of both abstains",
    )
    seeds: tuple[Seed, ...] = Field(
        (999, 1000, 1001, 1002, 1003),
        min_length=1,
        max_length=100,
        description="One model a seed; the mean of their probabilities is the prediction",
    )


class EvaluationConfig(Settings):
    """evaluate_alignment: intervals, operating points, the shortcut sentinel."""

    bootstrap_samples: Whole = Field(1000, ge=100, description="Bootstrap resamples by group")
    bootstrap_seed: Seed = Field(999, description="Seed of the bootstrap")
    shortcut_margin: float = Field(0.05, ge=0, description="A shortcut within this AUC of the model raises the alarm")
    leave_one_source_out: bool = Field(
        True, description="Also train once without each source, and score that source (about one training each)"
    )
    min_stratum: Whole = Field(20, ge=2, description="Strata with fewer images of either class say `too few`")


class DescriptorConfig(Settings):
    """rank_descriptors: who scores the descriptors; CLIP and its vocabulary."""

    scorer: Literal["auto", "clip", "probes", "none"] = Field(
        "auto",
        description="`clip`; `probes` on the embedding of the shipped encoder; `none` = the stage is skipped and says so; "
        "auto = clip where weights are configured, else probes",
    )
    model: str = Field("ViT-B-16", description="open_clip model name")
    weights: str | None = Field(None, description="Checkpoint file, or an open_clip pretrained tag; none = no CLIP")
    weights_sha256: str | None = Field(None, description="Expected digest of the checkpoint file, hex")
    activation: Literal["auto", "gelu", "quickgelu"] = Field(
        "auto", description="Activation the weights were trained with; auto = as the tag or a `-quickgelu` model name says"
    )
    top_k: Whole = Field(3, ge=1, description="Descriptors kept per image")


class ReportConfig(Settings):
    """write_reports: the writer and its endpoint."""

    writer: Literal["template", "openai"] = Field("template", description="`template` (offline) or `openai` (any compatible endpoint)")
    language: Literal["en", "de"] = Field("en", description="Language of the report")
    base_url: str = Field("https://api.deepseek.com", description="OpenAI-compatible endpoint of the `openai` writer")
    llm_model: str = Field("deepseek-chat", description="Model name at that endpoint")
    api_key_env: str = Field("CEFM_LLM_API_KEY", description="Environment variable that holds the key; the key itself is never a setting")
    max_tokens: Whole = Field(1200, ge=100, description="Longest answer, in tokens")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature")
    attempts: Whole = Field(2, ge=1, le=5, description="Answers asked for before the template text stands")
    max_total_tokens: Whole = Field(0, ge=0, description="Tokens a run may use; then the template text stands. 0 sets no limit")
    batch: bool = Field(False, description="Ask through the provider's batch interface: cheaper, answers come within a day")


class GatesConfig(Settings):
    """check_table: what a failed rule does, and the limits against the version before; never part of a cache key of a stage."""

    contract: Severity = Field("stop", description="A table breaks its own declaration (type, range, nulls, keys, number of rows)")
    reject_share: Severity = Field("stop", description="More than `runtime.max_reject_share` of a stage's items were rejected")
    reject_rise: Severity = Field("warn", description="The share of rejects rose by more than `max_reject_rise`")
    vanished: Severity = Field("warn", description="More than `max_vanished_share` of the images of the version before are gone")
    drift: Severity = Field("warn", description="New rows are distributed otherwise than the version before, by more than `max_drift`")
    null_share: Severity = Field("warn", description="The share of missing values in new rows rose by more than `max_null_rise`")
    class_balance: Severity = Field("warn", description="The share of melanoma in new rows differs by more than `max_class_shift`")
    max_reject_rise: float = Field(0.05, ge=0, le=1, description="Largest rise of the share of rejects, 0..1")
    max_vanished_share: float = Field(0.05, ge=0, le=1, description="Largest share of images that may go, 0..1")
    max_drift: float = Field(0.25, gt=0, le=1, description="Largest distance of two distributions (Kolmogorov-Smirnov, total variation)")
    max_null_rise: float = Field(0.1, ge=0, le=1, description="Largest rise of the share of missing values, 0..1")
    max_class_shift: float = Field(0.2, ge=0, le=1, description="Largest change of the share of melanoma, 0..1")
    least_rows: Whole = Field(50, ge=10, description="Fewer rows than this, new or old, are not compared")
    ask_timeout_s: Whole = Field(86_400, ge=1, description="How long a run waits for an operator's decision, in seconds; then it stops")


class RuntimeConfig(Settings):
    """What may change without changing any output; never part of a cache key."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N; cuda without a GPU is an error, not a fall-back")
    workers: Whole = Field(2, ge=1, description="Shards in flight")
    dask: str | None = Field(None, description="Dask instead of threads: `local` for `workers` processes here, or a scheduler's address")
    concurrency_limit: str | None = Field(None, description="Prefect limit: each shard with a network holds a slot; none: `gpu`, on GPUs")
    shard_size: Whole = Field(256, ge=1, description="Most images per task run; little work is shared evenly among the workers")
    batch_size: Whole = Field(8, ge=1, description="Images per network call")
    max_reject_share: float = Field(0.5, ge=0, le=1, description="Share of rejects above which a gate stops the run")
    llm_concurrency: Whole = Field(4, ge=1, description="LLM requests in flight")
    llm_timeout_s: float = Field(120, gt=0, description="Total deadline of one LLM request, in seconds")
    llm_batch_poll_s: float = Field(30, gt=0, description="Time between two looks at a batch of LLM requests, in seconds")
    llm_batch_wait_s: float = Field(90_000, gt=0, description="Longest wait for batches, in seconds; then the run stops; again: waits on")


class CefmConfig(Settings):
    """All settings of a run."""

    manifest: ManifestConfig = ManifestConfig()
    quality: QualityConfig = QualityConfig()
    coarse: CoarseConfig = CoarseConfig()
    refine: RefineConfig = RefineConfig()
    abc: AbcConfig = AbcConfig()
    embed: EmbedConfig = EmbedConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    descriptors: DescriptorConfig = DescriptorConfig()
    reports: ReportConfig = ReportConfig()
    gates: GatesConfig = GatesConfig()
    runtime: RuntimeConfig = RuntimeConfig()
