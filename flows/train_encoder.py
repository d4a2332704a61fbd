"""train_encoder: the small vision transformer that CEFM ships, distilled from a large one.

    python -m flows.train_encoder METADATA.csv TEACHER.safetensors --work DIR --out FILE.safetensors

Cut off, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from cefm_core.alignment.distillation import DistillationConfig
from cefm_core.alignment.encoder_training import compute_targets, read_training_images, train_student
from flows.server import ensure_server


@flow(name="train_encoder")
def train_encoder(
    metadata: str,
    teacher: str,
    work: str,
    out: str,
    split: str = "train",
    licence: str = "not stated",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compute the teacher's features, then train the student and write its weight file.

    Args:
        metadata: CSV of the data set; see :func:`cefm_core.alignment.encoder_training.read_training_images`.
        teacher: Teacher's weights, safetensors.
        work: Working folder; keeps features and the last whole epoch.
        out: Weight file to write.
        split: Split of the images to learn from; no other is read.
        licence: Licence of the weights, as the file will state it.
        settings: Fields of :class:`DistillationConfig` that differ from their defaults.
    """
    config = DistillationConfig(**(settings or {}))
    images = read_training_images(Path(metadata), split, config.seed)
    # What was computed lies in the working folder; a cache or a result store would hold it a second time.
    run = task(persist_result=False, cache_policy=NO_CACHE)
    targets = run(compute_targets)(images, Path(teacher), Path(work), config)
    student = run(train_student)(images, Path(teacher), Path(work), config, Path(out), licence)
    return {**targets, **student}


def main() -> None:
    """Read the command line and run the flow."""
    parser = argparse.ArgumentParser(prog="python -m flows.train_encoder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("metadata", help="CSV with columns id, filename, mask_filename, split")
    parser.add_argument("teacher", help="weights of the teacher, safetensors")
    parser.add_argument("--work", required=True, help="working folder")
    parser.add_argument("--out", required=True, help="weight file to write")
    parser.add_argument("--split", default="train", help="split of the images to learn from")
    parser.add_argument("--licence", default="not stated", help="licence of the weights, as the file will state it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ensure_server()
    print(train_encoder(**vars(arguments)))


if __name__ == "__main__":
    main()
