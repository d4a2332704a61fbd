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

from cefm_core.alignment.distillation import DistillationConfig
from cefm_core.alignment.encoder_training import compute_targets, read_training_images, train_student

LICENCE = "Apache-2.0"


@flow(name="train_encoder")
def train_encoder(
    metadata: str, teacher: str, work: str, out: str, split: str = "train", settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Compute the teacher's features, then train the student and write its weight file.

    Args:
        metadata: CSV of the data set; see :func:`cefm_core.alignment.encoder_training.read_training_images`.
        teacher: Teacher's weights, safetensors.
        work: Working folder; keeps features and the last whole epoch.
        out: Weight file to write.
        split: Split of the images to learn from; no other is read.
        settings: Fields of :class:`DistillationConfig` that differ from their defaults.
    """
    config = DistillationConfig(**(settings or {}))
    images = read_training_images(Path(metadata), split, config.seed)
    # Paths and results stay on this machine: nothing of them is worth keeping in the result store.
    targets = task(persist_result=False)(compute_targets)(images, Path(teacher), Path(work), config)
    student = task(persist_result=False)(train_student)(images, Path(teacher), Path(work), config, Path(out), LICENCE)
    return {**targets, **student}


def main() -> None:
    """Read the command line and run the flow."""
    parser = argparse.ArgumentParser(prog="python -m flows.train_encoder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("metadata", help="CSV with columns id, filename, mask_filename, split")
    parser.add_argument("teacher", help="weights of the teacher, safetensors")
    parser.add_argument("--work", required=True, help="working folder")
    parser.add_argument("--out", required=True, help="weight file to write")
    parser.add_argument("--split", default="train", help="split of the images to learn from")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(train_encoder(**vars(arguments)))


if __name__ == "__main__":
    main()
