"""A second photograph is found whatever its turn, scale and light; what many pictures share, such as a printed scale, pairs nothing."""

import cv2
import numpy as np
import pytest

from cefm_core.manifest.local_features import MOST, local_features, unpack
from cefm_core.manifest.same_lesion import same_lesion_pairs
from cefm_core.phantoms.render import render_phantom

LEAST = 8


def grey_of(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


@pytest.fixture(scope="module")
def lesions():
    return [grey_of(render_phantom(seed, (300, 400)).rgb) for seed in range(12)]


def turned(grey, degrees, scale=1.0, shift=(0, 0)):
    height, width = grey.shape
    change = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    change[:, 2] += shift
    return cv2.warpAffine(grey, change, (width, height), borderMode=cv2.BORDER_REFLECT)


def in_other_light(grey):
    return np.clip(grey.astype(float) * 0.7 + 40 + np.linspace(-15, 15, grey.shape[1]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda grey: turned(grey, 35),
        lambda grey: np.rot90(grey).copy(),
        lambda grey: turned(grey, 10, 1.5, (20, -15)),
        lambda grey: in_other_light(turned(grey, -70, 0.8)),
        lambda grey: cv2.resize(grey, None, fx=2.5, fy=2.5),
        lambda grey: cv2.GaussianBlur(grey, (0, 0), 1.0)[30:280, 50:350],
    ],
)
def test_another_view_of_a_lesion_is_found_and_no_other_lesion(lesions, change):
    packed = [local_features(grey) for grey in [*lesions, change(lesions[3])]]
    assert same_lesion_pairs(packed, LEAST) == [(3, 12)]


def test_pairs_do_not_depend_on_the_order(lesions):
    pictures = [*lesions, turned(lesions[1], 20), turned(lesions[7], 200)]
    order = np.random.default_rng(1).permutation(len(pictures))
    packed = [local_features(grey) for grey in pictures]
    found = {frozenset((int(order[a]), int(order[b]))) for a, b in same_lesion_pairs([packed[i] for i in order], LEAST)}
    assert found == {frozenset(pair) for pair in same_lesion_pairs(packed, LEAST)} == {frozenset((1, 12)), frozenset((7, 13))}


def test_a_printed_scale_on_two_lesions_makes_no_pair(lesions):
    scaled = []
    for grey, place in ((lesions[0].copy(), 40), (lesions[5].copy(), 250)):
        for tick in range(30):
            cv2.line(grey, (50 + 10 * tick, place), (50 + 10 * tick, place - (14 if tick % 5 else 24)), 10, 2)
        cv2.line(grey, (50, place), (340, place), 10, 2)
        cv2.putText(grey, "mm", (345, place), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 10, 2)
        scaled.append(grey)
    assert same_lesion_pairs([local_features(grey) for grey in [*scaled, *lesions[6:]]], LEAST) == []


def test_pictures_without_features_pair_with_nothing(lesions):
    blank = np.full((200, 200), 120, np.uint8)
    assert local_features(blank) == ""
    assert same_lesion_pairs(["", "", local_features(lesions[0]), ""], LEAST) == []
    assert same_lesion_pairs([], LEAST) == []


@pytest.mark.parametrize("shape", [(64, 12_000), (12_000, 64), (64, 64), (1, 500)])
def test_odd_shapes_cost_no_more_than_others(lesions, shape):
    grey = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    grey[: min(shape[0], 200), : min(shape[1], 200)] = lesions[0][: min(shape[0], 200), : min(shape[1], 200)]
    bits, places = unpack(local_features(grey))
    assert len(bits) <= MOST and (len(places) == 0 or places.max() <= 255)


def test_what_is_packed_can_be_unpacked(lesions):
    bits, places = unpack(local_features(lesions[2]))
    assert bits.shape == (len(places), 2) and bits.dtype == np.uint64 and 50 < len(bits) <= MOST
    assert places.max() <= 255 and np.ptp(places[:, 0]) > 100 and places[:, 1].max() <= 255 * 300 / 400 + 1
    assert 0.3 < np.unpackbits(bits.view(np.uint8)).mean() < 0.7
    assert local_features(lesions[2]) == local_features(lesions[2].copy())
