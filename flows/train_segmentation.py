"""train_segmentation: train the coarse network, or score its weights on held-out images.

    python -m flows.train_segmentation train METADATA.csv --out WEIGHTS.safetensors --checkpoint FILE.pt [--cache FILE.npz]
    python -m flows.train_segmentation decoder METADATA.csv --out WEIGHTS.safetensors --work FOLDER
    python -m flows.train_segmentation evaluate METADATA.csv --split val [--weights WEIGHTS.safetensors]

An interrupted training goes on from its checkpoint when the same command is given again. The loop itself is in the core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.server import ensure_server

cli = typer.Typer(add_completion=False, no_args_is_help=True, help="Train the coarse network, or score it on held-out images.")


@task(name="train_segmenter", persist_result=False, cache_policy=NO_CACHE)
def train_weights(
    metadata: Path, out: Path, checkpoint: Path, cache: Path | None, recipe: dict[str, Any], start: Path | None
) -> dict[str, Any]:
    """Train to the end of the recipe and write the weights; return facts and the learning curve."""
    import numpy as np

    from cefm_core.segmentation.training import TrainingRecipe, train_segmenter
    from cefm_core.segmentation.training_data import is_tuning, load_arrays, read_rows
    from cefm_core.segmentation.ultralight_vmunet import INPUT_SIDE_PX, UltraLightVMUNet
    from cefm_core.segmentation.weights_io import load_weights, save_weights

    logger = get_run_logger()
    chosen = TrainingRecipe(**recipe)
    rows = read_rows(metadata, ("train",))
    images, masks = load_arrays(rows, INPUT_SIDE_PX, cache)
    tune = np.array([is_tuning(row.group, chosen.tune_share) for row in rows])
    origin: dict[str, Any] = {}
    if start is not None:
        network = UltraLightVMUNet()
        origin = {"started_from_sha256": load_weights(start, network).sha256}
    trained = train_segmenter(
        images,
        masks,
        rows,
        chosen,
        tune=tune,
        start=network.state_dict() if start is not None else None,
        checkpoint=checkpoint,
        progress=lambda row: logger.info("%s", json.dumps(row)),
    )
    digest = save_weights(out, trained.tensors, trained.facts | origin, UltraLightVMUNet)
    return {"sha256": digest, "facts": trained.facts, "learning_curve": trained.log_rows}


@task(name="train_decoder", persist_result=False, cache_policy=NO_CACHE)
def train_decoder_weights(metadata: Path, out: Path, work: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Encode the images once, train the decoder on their features and write its weights; return facts and the learning curve."""
    import numpy as np

    from cefm_core.segmentation.decoder_training import DecoderData, DecoderRecipe, encode_images, train_decoder
    from cefm_core.segmentation.feature_decoder import FeatureDecoder
    from cefm_core.segmentation.training_data import is_tuning, load_arrays, read_rows
    from cefm_core.segmentation.ultralight_vmunet import INPUT_SIDE_PX
    from cefm_core.segmentation.weights_io import save_weights

    logger = get_run_logger()
    chosen = DecoderRecipe(**recipe)
    work.mkdir(parents=True, exist_ok=True)
    rows = read_rows(metadata, ("train",))
    images, masks = load_arrays(rows, INPUT_SIDE_PX, work / "images.npz")
    data = DecoderData(encode_images(images, work / "features.npy"), images, masks)
    tune = np.array([is_tuning(row.group, chosen.tune_share) for row in rows])
    trained = train_decoder(
        data, rows, chosen, tune=tune, checkpoint=work / "decoder.pt", progress=lambda row: logger.info("%s", json.dumps(row))
    )
    digest = save_weights(out, trained.tensors, trained.facts, FeatureDecoder)
    return {"sha256": digest, "facts": trained.facts, "learning_curve": trained.log_rows}


@task(name="score_segmenter", persist_result=False, cache_policy=NO_CACHE)
def score_weights(metadata: Path, split: str, weights: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run the coarse stage on one split; return the summary as Markdown and the worst images."""
    from cefm_core.config import CoarseConfig
    from cefm_core.segmentation.coarse import CoarseSegmenter
    from cefm_core.segmentation.held_out import score_rows, summaries, summary_table, worst
    from cefm_core.segmentation.training_data import read_rows

    segmenter = CoarseSegmenter.load(CoarseConfig(**{**settings, "weights": weights}))
    rows = read_rows(metadata, (split,))
    scores = score_rows(segmenter, rows)
    return {"sha256": segmenter.facts.sha256, "table": summary_table(summaries(scores, rows)), "worst": worst(scores, 20)}


@flow(name="train_segmentation")
def train_segmentation(
    metadata: Path,
    out: Path,
    checkpoint: Path,
    cache: Path | None = None,
    recipe: dict[str, Any] | None = None,
    start: Path | None = None,
) -> str:
    """Train the coarse network on the rows of split ``train`` that have a mask.

    Args:
        metadata: CSV of the data set; see :func:`cefm_core.segmentation.training_data.read_rows`.
        out: Where the weights are written.
        checkpoint: Where the state is kept, and resumed from.
        cache: File for the decoded images, or None.
        recipe: Fields of :class:`cefm_core.segmentation.training.TrainingRecipe` that differ from its defaults.
        start: Weights to begin with, for a second training; None begins from the recipe's seed.

    Returns:
        SHA-256 of the weights.
    """
    result = train_weights(metadata, out, checkpoint, cache, recipe or {}, start)
    create_table_artifact(result["learning_curve"][-100:], key="segmentation-learning-curve", description="Loss and Dice on tune by step")
    return str(result["sha256"])


@flow(name="train_mask_decoder")
def train_mask_decoder(metadata: Path, out: Path, work: Path, recipe: dict[str, Any] | None = None) -> str:
    """Train the second network, a decoder on LiteMedSAM's frozen features, on the rows of split ``train`` that have a mask.

    Args:
        metadata: CSV of the data set; see :func:`cefm_core.segmentation.training_data.read_rows`.
        out: Where the weights are written.
        work: Folder of the features (1.2 MB an image) and of the checkpoint; the same command goes on from there.
        recipe: Fields of :class:`cefm_core.segmentation.decoder_training.DecoderRecipe` that differ from its defaults.

    Returns:
        SHA-256 of the weights.
    """
    result = train_decoder_weights(metadata, out, work, recipe or {})
    create_table_artifact(result["learning_curve"], key="decoder-learning-curve", description="Loss and Dice on tune by step")
    return str(result["sha256"])


@flow(name="evaluate_segmentation")
def evaluate_segmentation(metadata: Path, split: str, weights: str = "builtin", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Score weights on the rows of one split, with the whole coarse stage at each image's own size.

    Args:
        metadata: CSV of the data set.
        split: Value of its column ``split``.
        weights: ``builtin``, or the path of a safetensors file.
        settings: Fields of :class:`cefm_core.config.CoarseConfig` that differ from its defaults.

    Returns:
        ``sha256`` of the weights, ``table`` (Markdown) and ``worst`` (the 20 images of lowest Dice).
    """
    result = score_weights(metadata, split, weights, settings or {})
    create_markdown_artifact(f"Weights {result['sha256']}, split {split}\n\n{result['table']}", key="segmentation-scores")
    return dict(result)


@cli.command()
def train(
    metadata: Path,
    out: Annotated[Path, typer.Option()],
    checkpoint: Annotated[Path, typer.Option()],
    cache: Path | None = None,
    recipe: str = "{}",
    start: Path | None = None,
) -> None:
    """Train, or go on from the checkpoint; prints the digest of the weights. --recipe takes JSON."""
    print(train_segmentation(metadata, out, checkpoint, cache, json.loads(recipe), start))


@cli.command()
def decoder(metadata: Path, out: Annotated[Path, typer.Option()], work: Annotated[Path, typer.Option()], recipe: str = "{}") -> None:
    """Train the second network, or go on; prints the digest of the weights. --recipe takes JSON."""
    print(train_mask_decoder(metadata, out, work, json.loads(recipe)))


@cli.command()
def evaluate(metadata: Path, split: str = "val", weights: str = "builtin", settings: str = "{}") -> None:
    """Print a table of scores by source and diagnosis, and the worst images. --settings takes JSON."""
    result = evaluate_segmentation(metadata, split, weights, json.loads(settings))
    print(f"weights {result['sha256']}, split {split}\n\n{result['table']}")
    for row in result["worst"]:
        print(f"{row['image_id']}: Dice {row['dice']:.3f}, sensitivity {row['sensitivity']:.3f}, specificity {row['specificity']:.3f}")


def main() -> None:
    """Run the command against the configured Prefect server, or one of its own."""
    from prefect.context import refresh_global_settings_context

    ensure_server()
    refresh_global_settings_context()
    cli()


if __name__ == "__main__":
    main()
