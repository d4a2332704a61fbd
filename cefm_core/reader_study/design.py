"""Who rates what under which code, in which order: the plan of a study and the key that undoes the blinding.

Every rater sees every image with every arm once, in blocks: within a block each image comes once and the arms take turns (a Latin
square), so that two reports on one image seldom stand close together. Codes and orders come from the seed, which only the key holds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

CRITERIA = ("interpretability", "usefulness", "applicability")
FORMAT = "cefm-reader-study"
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without those that are taken for one another


@dataclass(frozen=True)
class Item:
    """One report to be rated.

    Attributes:
        code: What stands on the sheets.
        image_id: The image.
        arm: How the report came about.
    """

    code: str
    image_id: str
    arm: str


@dataclass(frozen=True)
class Study:
    """The plan of a study, which is its key.

    Attributes:
        seed: Seed of codes and orders.
        arms: Names of the arms.
        raters: Codes of the raters.
        items: Every item.
    """

    seed: int
    arms: tuple[str, ...]
    raters: tuple[str, ...]
    items: tuple[Item, ...]

    def order(self, rater: str) -> tuple[Item, ...]:
        """Return the items in the order in which a rater sees them."""
        rng = random.Random(f"{self.seed}:{rater}")
        images = sorted({item.image_id for item in self.items})
        turn = {image_id: number for number, image_id in enumerate(rng.sample(images, len(images)))}
        found = {(item.image_id, item.arm): item for item in self.items}
        ordered: list[Item] = []
        for block in range(len(self.arms)):
            for image_id in rng.sample(images, len(images)):
                arm = self.arms[(turn[image_id] + block) % len(self.arms)]
                ordered.append(found[image_id, arm])
        return tuple(ordered)

    def to_json(self) -> str:
        """Return the key as JSON; :meth:`from_json` is its inverse."""
        return json.dumps({"format": FORMAT, "version": 1, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Read a key.

        Raises:
            ValueError: The text is none.
        """
        data = json.loads(text)
        try:
            if data["format"] != FORMAT or data["version"] != 1:
                raise ValueError(f"not a key of a reader study: format {FORMAT}, version 1, is wanted")
            items = tuple(Item(**item) for item in data["items"])
            return cls(int(data["seed"]), tuple(data["arms"]), tuple(data["raters"]), items)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a key of a reader study: {error}") from error


def plan_study(image_ids: Sequence[str], arms: Sequence[str], raters: int, seed: int) -> Study:
    """Give every image and arm a code.

    Args:
        image_ids: The images.
        arms: Names of the arms.
        raters: How many raters there are; they are called R1, R2 and so on.
        seed: Seed of codes and orders.
    """
    rng = random.Random(seed)
    codes: list[str] = []
    while len(codes) < len(image_ids) * len(arms):
        code = "".join(rng.choice(_LETTERS) for _ in range(5))
        codes += [code] if code not in codes else []
    pairs = [(image_id, arm) for image_id in sorted(image_ids) for arm in arms]
    items = tuple(Item(code, *pair) for code, pair in zip(codes, pairs, strict=True))
    return Study(seed, tuple(arms), tuple(f"R{number}" for number in range(1, raters + 1)), items)
