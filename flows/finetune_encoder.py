"""finetune_encoder: teach an encoder melanoma against nevus before it is frozen.

Optional. A GPU makes it fast; two CPU cores make it possible, with fewer images, epochs and learning blocks.

    python -m flows.finetune_encoder METADATA.csv --work DIR --out FILE.safetensors [--images 400] [--set epochs=2 ...]
    cefm run ... --set embed.model=MODEL --set embed.weights=FILE.safetensors

Cut off, the same command goes on after its last whole epoch. Only split `train` is read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from cefm_core.config import EmbedConfig
from cefm_core.device import resolve_device
from flows.server import ensure_server

logger = logging.getLogger(__name__)


@flow(name="finetune_encoder")
def finetune_encoder(
    metadata: str,
    work: str,
    out: str,
    split: str = "train",
    images: int | None = None,
    embed: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    device: str = "auto",
    licence: str = "not stated",
) -> dict[str, Any]:
    """Fine-tune and write the weight file.

    Args:
        metadata: CSV of the data set; see :func:`cefm_core.alignment.labelled_crops.read_labelled`.
        work: Working folder; keeps the last whole epoch.
        out: Weight file to write.
        split: Split to learn from; no other is read.
        images: Most images; None for all.
        embed: Fields of :class:`EmbedConfig` that name the encoder to start from.
        settings: Fields of :class:`cefm_core.alignment.finetuning.FinetuneConfig` that differ from their defaults.
        device: auto, cpu, cuda.
        licence: Licence of the weights, as the file will state it.
    """
    run = task(persist_result=False, cache_policy=NO_CACHE)
    return run(_finetune)(metadata, Path(work), Path(out), split, images, EmbedConfig(**(embed or {})), settings or {}, device, licence)


def _finetune(
    metadata: str,
    work: Path,
    out: Path,
    split: str,
    images: int | None,
    embed: EmbedConfig,
    settings: dict[str, Any],
    device: str,
    licence: str,
) -> dict[str, Any]:
    from cefm_core.alignment.encoder import Encoder
    from cefm_core.alignment.encoder_training import encoder_bytes
    from cefm_core.alignment.finetuning import FinetuneConfig, Finetuning, split_tune
    from cefm_core.alignment.labelled_crops import read_labelled

    config = FinetuneConfig(**settings)
    train, tune = split_tune(read_labelled(Path(metadata), split, images, config.seed), config)
    work.mkdir(parents=True, exist_ok=True)
    encoder = Encoder.load(embed, resolve_device(device))
    tuning = Finetuning(encoder, train, tune, config, work / "finetune.pt")
    network = tuning.run(lambda told: logger.info("fine-tuning: %s", json.dumps(told)))
    made = {
        "started_from": encoder.source.weights_sha256,
        "settings": config.model_dump(mode="json"),
        "images": len(train),
        "tune_images": len(tune),
        "log": tuning.log,
        "licence": licence,
    }
    arguments = {"img_size": encoder.spec.side_px, "depth": len(network.blocks)}  # type: ignore[arg-type]
    data = encoder_bytes(network.cpu(), encoder.spec, arguments, made)
    out.write_bytes(data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "train": len(train), "tune": len(tune), "log": tuning.log}


def main() -> None:
    """Read the command line and run the flow."""
    parser = argparse.ArgumentParser(prog="python -m flows.finetune_encoder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("metadata", help="CSV with columns id, filename, mask_filename, split, diagnosis")
    parser.add_argument("--work", required=True, help="working folder")
    parser.add_argument("--out", required=True, help="weight file to write")
    parser.add_argument("--split", default="train", help="split to learn from")
    parser.add_argument("--images", type=int, help="most images, by chance")
    parser.add_argument("--model", default="builtin", help="encoder to start from, as embed.model")
    parser.add_argument("--weights", help="its weights, as embed.weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--licence", default="not stated", help="licence of the weights, as the file will state it")
    parser.add_argument("--set", action="append", default=[], help="one setting of the fine-tuning, name=value; may be given again")
    asked = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    embed = {"model": asked.pop("model")} | ({"weights": weights} if (weights := asked.pop("weights")) else {})
    settings = dict(pair.split("=", 1) for pair in asked.pop("set"))
    ensure_server()
    print(json.dumps(finetune_encoder(**asked, embed=embed, settings=settings)))


if __name__ == "__main__":
    main()
