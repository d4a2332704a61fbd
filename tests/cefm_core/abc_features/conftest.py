"""A drawn lesion without any symmetry."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def blob():
    """Image (H, W, 3) and mask of an irregular lesion with three tones and texture."""
    y, x = np.mgrid[:360, :480].astype(np.float32)
    angle, radius = np.arctan2(y - 170, x - 230), np.hypot(y - 170, x - 230)
    mask = radius < 95 + 22 * np.cos(2 * angle + 0.5) + 12 * np.sin(3 * angle) + 6 * np.cos(7 * angle)
    image = np.full((360, 480, 3), (224, 182, 160), np.float32)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3)[..., None]
    tone = np.where((x < 200)[..., None], (105, 66, 50), (160, 105, 75)).astype(np.float32)
    tone[(x > 270) & (y > 180)] = (70, 45, 40)
    noise = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 40, (360, 480)).astype(np.float32), (0, 0), 3)
    image = image * (1 - alpha) + (cv2.GaussianBlur(tone, (0, 0), 4) + noise[..., None]) * alpha
    return image.clip(0, 255).round().astype(np.uint8), mask
