"""What a phantom is to show, as plain numbers and words, and how such specifications are drawn at random.

Rendering does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cefm_core.phantoms.palette import COLOURS, SKIN_LAB, SKIN_WEIGHTS

STRUCTURES: tuple[str, ...] = ("network", "dots", "globules", "streaks", "structureless")
MELANOMA_SHARE = 0.35


@dataclass(frozen=True)
class PhantomSpec:
    """All that decides a phantom; equal specifications give equal bytes.

    Attributes:
        seed: Seed of everything in the lesion's own frame.
        view_seed: Seed of everything that differs between two photographs of one lesion (skin detail, hair, noise).
        melanoma: The diagnosis the phantom stands for.
        skin_lab: CIELAB colour of the skin before extra tan.
        skin_melanin: Extra melanin of the skin, 0 (as ``skin_lab``) to about 1.2 (dark skin).
        radius_share: Mean lesion radius as a share of the picture's short side.
        offset: Lesion centre relative to the picture's centre, (x, y), in shares of the short side.
        rotation_deg: Rotation of the lesion's frame in the picture, in degrees.
        elongation: Ratio of the lesion's axes, 1 or more.
        asymmetric_axes: Number of axes, 0-2, about which shape, colour and structure are unlike.
        irregularity: Raggedness of the contour, 0 (smooth) to 1.
        abrupt_sectors: For each of eight sectors in the lesion's frame, whether pigment ends abruptly there.
        colours: Names out of ``palette.COLOURS``, the ground colour first.
        structures: Names out of ``STRUCTURES``.
        darkness: Factor on pigment thickness.
        redness: Blood throughout the lesion, -0.06 (greyish brown) to about 0.6 (reddish brown).
        warmth: Hue of the melanin, 0.88 (greyish brown) to 1.4 (golden brown).
        hairs: Number of hairs.
        vignette: ``none``, ``corners`` or ``circle``.
        ruler: Whether a printed scale lies on the skin.
        bubbles: Number of gel bubbles.
        glare: Whether specular reflections occur.
        ink: Whether marker strokes lie beside the lesion.
        blur_px: Softness of the optics at 600 px width, standard deviation in pixels.
        exposure: Factor on linear light.
    """

    seed: int
    view_seed: int
    melanoma: bool
    skin_lab: tuple[float, float, float]
    skin_melanin: float = 0.0
    radius_share: float = 0.28
    offset: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    elongation: float = 1.2
    asymmetric_axes: int = 0
    irregularity: float = 0.2
    abrupt_sectors: tuple[bool, ...] = (False,) * 8
    colours: tuple[str, ...] = ("light_brown",)
    structures: tuple[str, ...] = ("network",)
    darkness: float = 1.0
    redness: float = 0.1
    warmth: float = 1.0
    hairs: int = 0
    vignette: str = "none"
    ruler: bool = False
    bubbles: int = 0
    glare: bool = False
    ink: bool = False
    blur_px: float = 0.8
    exposure: float = 1.0


def sample_spec(seed: int, melanoma: bool | None = None) -> PhantomSpec:
    """Draw a specification; melanoma-like ones are more severe on average, with overlap.

    A latent severity (mean +1 for melanoma, -1 otherwise, standard deviation 1) moves asymmetry, border, colours, structures
    and size; each also has noise of its own, so that no rule separates the classes completely.

    Args:
        seed: Any non-negative integer.
        melanoma: The diagnosis, or None to draw it too (``MELANOMA_SHARE`` melanoma).
    """
    rng = np.random.default_rng([seed, 1])
    drawn = bool(rng.random() < MELANOMA_SHARE)
    melanoma = drawn if melanoma is None else melanoma
    severity = float(rng.normal(1.0 if melanoma else -1.0, 1.0))
    irregularity = float(np.clip(0.36 + 0.15 * severity + rng.normal(0, 0.12), 0.05, 1.0))
    abrupt = _abrupt_sectors(rng, severity)
    lesion = PhantomSpec(
        seed=seed,
        view_seed=0,
        melanoma=melanoma,
        skin_lab=_skin(rng),
        skin_melanin=float(max(rng.normal(-0.1, 0.25), 0.0) if rng.random() < 0.85 else rng.uniform(0.4, 1.2)),
        radius_share=float(np.clip(rng.normal(0.30 + 0.02 * severity, 0.08), 0.13, 0.46)),
        elongation=float(min(1 + abs(rng.normal(0.14, 0.18)), 1.6)),
        asymmetric_axes=int(np.clip(round(1.0 + 0.55 * severity + rng.normal(0, 0.45)), 0, 2)),
        irregularity=irregularity,
        abrupt_sectors=abrupt,
        colours=_colours(rng, severity),
        structures=_structures(rng, severity),
        warmth=float(np.clip(rng.normal(1.08, 0.13), 0.88, 1.4)),
        redness=float(np.clip(rng.normal(0.05, 0.13), -0.06, 0.6)),
        darkness=float(np.clip(rng.normal(1.02 + 0.05 * severity, 0.25), 0.55, 1.7)),
    )
    return photographed_again(lesion, seed)


def photographed_again(spec: PhantomSpec, view_seed: int) -> PhantomSpec:
    """Return the same lesion under other viewing conditions: position, rotation, hair, light and artefacts."""
    rng = np.random.default_rng([view_seed, 2])
    room = max(0.42 - spec.radius_share, 0.015)
    return replace(
        spec,
        view_seed=view_seed,
        rotation_deg=float(rng.uniform(0, 360)),
        offset=(float(np.clip(rng.normal(0, 0.09), -room * 1.5, room * 1.5)), float(np.clip(rng.normal(0, 0.06), -room, room))),
        hairs=int(rng.choice([0, 0, 0, int(rng.integers(1, 5)), int(rng.integers(4, 16)), int(rng.integers(12, 32))])),
        vignette=str(rng.choice(["none", "corners", "circle"], p=[0.55, 0.33, 0.12])),
        ruler=bool(rng.random() < 0.12),
        bubbles=int(rng.choice([0, int(rng.integers(1, 12))], p=[0.72, 0.28])),
        glare=bool(rng.random() < 0.14),
        ink=bool(rng.random() < 0.05),
        blur_px=float(rng.uniform(0.4, 1.05)),
        exposure=float(np.exp(rng.normal(0.09, 0.09))),
    )


def _skin(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a skin colour near one of the measured centres."""
    weights = np.array(SKIN_WEIGHTS, float)
    centre = SKIN_LAB[int(rng.choice(len(SKIN_LAB), p=weights / weights.sum()))]
    lightness, a, b = np.array(centre) + rng.normal(0, (2.0, 1.5, 1.8))
    return float(min(lightness, 93.0)), float(a), float(b)


def _abrupt_sectors(rng: np.random.Generator, severity: float) -> tuple[bool, ...]:
    """Draw a run of abrupt sectors, longer with severity."""
    count = int(np.clip(round(2.2 + 1.3 * severity + rng.normal(0, 1.3)), 0, 8))
    first = int(rng.integers(8))
    return tuple((index - first) % 8 < count for index in range(8))


def _colours(rng: np.random.Generator, severity: float) -> tuple[str, ...]:
    """Draw one to five colours, brown first; rare ones come with severity."""
    count = int(np.clip(round(2.1 + 0.75 * severity + rng.normal(0, 0.6)), 1, 5))
    ground = "light_brown" if rng.random() < 0.72 else "dark_brown"
    others = [name for name in COLOURS if name != ground]
    liking = {"light_brown": 2.0, "dark_brown": 5.0, "black": 1.3, "red": 1.0, "white": 0.8, "blue_gray": 0.7}
    weights = np.array([liking[name] * (1.0 if "brown" in name else np.exp(0.5 * severity)) for name in others])
    chosen = rng.choice(others, size=count - 1, replace=False, p=weights / weights.sum())
    return (ground, *(str(name) for name in sorted(chosen, key=COLOURS.index)))


def _structures(rng: np.random.Generator, severity: float) -> tuple[str, ...]:
    """Draw one to four structures; streaks and structureless areas come with severity."""
    chance = {
        "network": 0.62,
        "dots": 0.35 + 0.06 * severity,
        "globules": 0.38,
        "streaks": 0.12 + 0.09 * severity,
        "structureless": 0.35 + 0.15 * severity,
    }
    chosen = tuple(name for name in STRUCTURES if rng.random() < chance[name])
    return chosen or ("structureless",)
