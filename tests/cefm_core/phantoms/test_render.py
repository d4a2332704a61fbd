"""Phantoms: what the truth says is in the pixels, and nothing but the arguments decides them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cefm_core.imaging.artefacts import find_artefacts
from cefm_core.phantoms.render import render_phantom
from cefm_core.phantoms.spec import PhantomSpec, photographed_again

PLAIN = PhantomSpec(seed=5, view_seed=5, melanoma=False, skin_lab=(75.0, 9.0, 10.0), structures=("structureless",))
SIZE = (300, 400)


def lab_of(rgb):
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def mirror_difference(mask, axis):
    ys, xs = np.nonzero(mask)
    centre = round(xs.mean()) if axis == 1 else round(ys.mean())
    shifted = np.roll(mask, mask.shape[axis] // 2 - centre, axis)
    mirrored = np.flip(shifted, axis)
    return (shifted ^ mirrored).sum() / mask.sum()


def test_equal_specifications_give_equal_bytes_and_other_seeds_do_not():
    first, again = render_phantom(11, SIZE), render_phantom(11, SIZE)
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.mask, again.mask)
    assert first.truth == again.truth
    assert not np.array_equal(first.rgb, render_phantom(12, SIZE).rgb)


def test_the_number_of_threads_does_not_matter():
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        single = render_phantom(13, SIZE).rgb
        cv2.setNumThreads(4)
        assert np.array_equal(single, render_phantom(13, SIZE).rgb)
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_one_lesion_of_the_stated_area(seed):
    phantom = render_phantom(seed, SIZE)
    assert phantom.rgb.shape == (*SIZE, 3)
    assert phantom.rgb.dtype == np.uint8
    assert phantom.mask.shape == SIZE
    assert phantom.mask.dtype == np.bool_
    assert phantom.truth["mask_area_px"] == phantom.mask.sum() > 500
    assert cv2.connectedComponents(phantom.mask.view(np.uint8), connectivity=4)[0] == 2
    assert cv2.connectedComponents((~phantom.mask).view(np.uint8), connectivity=8)[0] >= 2


def test_the_lesion_is_darker_than_its_surroundings():
    phantom = render_phantom(PLAIN, SIZE)
    lightness = lab_of(phantom.rgb)[..., 0]
    assert lightness[phantom.mask].mean() < lightness[~phantom.mask].mean() - 8


def test_another_size_shows_the_same_lesion():
    small, large = render_phantom(PLAIN, (300, 400)), render_phantom(PLAIN, (600, 800))
    reduced = cv2.resize(large.mask.view(np.uint8), (400, 300), interpolation=cv2.INTER_AREA) > 0
    assert (reduced & small.mask).sum() / (reduced | small.mask).sum() > 0.95
    assert large.mask.sum() / small.mask.sum() == pytest.approx(4, rel=0.03)
    difference = lab_of(cv2.resize(large.rgb, (400, 300), interpolation=cv2.INTER_AREA)) - lab_of(small.rgb)
    assert np.abs(difference[small.mask].mean(axis=0)).max() < 2.5


EXPECTED = {
    "dark_brown": lambda plain, shown: shown[0] < plain[0] - 6,
    "black": lambda plain, shown: shown[0] < 32,
    "red": lambda plain, shown: shown[1] > plain[1] + 6,
    "white": lambda plain, shown: shown[0] > plain[0] + 5,
    "blue_gray": lambda plain, shown: shown[2] < plain[2] - 8,
}


@pytest.mark.parametrize("colour", EXPECTED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_colour_of_the_specification_is_in_the_pixels(colour, seed):
    spec = replace(PLAIN, seed=seed, view_seed=seed, asymmetric_axes=2)
    plain, shown = render_phantom(spec, SIZE), render_phantom(replace(spec, colours=("light_brown", colour)), SIZE)
    before, after = lab_of(plain.rgb), lab_of(shown.rgb)
    changed = (np.linalg.norm(after - before, axis=2) > 8) & plain.mask
    assert changed.sum() > 0.03 * plain.mask.sum()
    core = cv2.erode(changed.view(np.uint8), np.ones((5, 5))) > 0
    assert EXPECTED[colour](np.median(before[core], axis=0), np.median(after[core], axis=0))
    shares = [shown.truth[f"colour_share_{name}"] for name in shown.truth["colours"]]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert shares[1] > 0.03


def test_asymmetric_axes_order_the_mirror_differences():
    def differences(axes):
        masks = [render_phantom(replace(PLAIN, seed=s, asymmetric_axes=axes, irregularity=0.4), SIZE).mask for s in range(8)]
        return np.mean([[mirror_difference(m, 0), mirror_difference(m, 1)] for m in masks], axis=0)

    none, one, two = differences(0), differences(1), differences(2)
    assert max(none) < 0.11
    assert one[0] < 0.11 < one[1]
    assert min(two) > max(none) * 1.3


def test_colour_patches_follow_the_axes_too():
    def unlike(axes):
        values = []
        for seed in range(6):
            spec = replace(PLAIN, seed=seed, asymmetric_axes=axes, irregularity=0.05, colours=("light_brown", "black"), elongation=1.0)
            phantom = render_phantom(spec, SIZE)
            lightness = cv2.GaussianBlur(lab_of(phantom.rgb)[..., 0], (0, 0), 6)
            values.append(np.abs(lightness - lightness[:, ::-1])[phantom.mask].mean())
        return np.mean(values)

    assert unlike(2) > 1.5 * unlike(0)


def test_abrupt_sectors_have_steeper_edges():
    def steepness(abrupt):
        phantom = render_phantom(replace(PLAIN, abrupt_sectors=(abrupt,) * 8, colours=("dark_brown",)), SIZE)
        lightness = cv2.GaussianBlur(lab_of(phantom.rgb)[..., 0], (0, 0), 1.5)
        slope = np.hypot(cv2.Sobel(lightness, cv2.CV_32F, 1, 0), cv2.Sobel(lightness, cv2.CV_32F, 0, 1))
        mask = phantom.mask.view(np.uint8)
        rim = cv2.dilate(mask, np.ones((5, 5))) != cv2.erode(mask, np.ones((5, 5)))
        return slope[rim].mean(), phantom.truth["border_abrupt_count"]

    (steep, eight), (gentle, none) = steepness(True), steepness(False)
    assert (eight, none) == (8, 0)
    assert steep > 1.5 * gentle


def test_irregularity_lengthens_the_contour():
    def compactness(irregularity):
        values = []
        for seed in range(4):
            mask = render_phantom(replace(PLAIN, seed=seed, irregularity=irregularity, asymmetric_axes=2), SIZE).mask
            contour = max(cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
            values.append(cv2.arcLength(contour, True) ** 2 / mask.sum())
        return np.mean(values)

    assert compactness(0.1) < compactness(0.5) < compactness(0.9)


def test_structures_roughen_the_lesion():
    def roughness(*structures):
        phantom = render_phantom(replace(PLAIN, structures=structures, blur_px=0.4), (450, 600))
        lightness = lab_of(phantom.rgb)[..., 0]
        return (lightness - cv2.GaussianBlur(lightness, (0, 0), 4))[phantom.mask].std()

    plain = roughness("structureless")
    assert roughness("network") > 1.15 * plain
    assert roughness("dots") > 1.15 * plain
    assert roughness("globules") > 1.15 * plain


def test_artefacts_of_the_specification_can_be_found_and_leave_the_mask_alone():
    plain = render_phantom(PLAIN, (450, 600))
    hairy = render_phantom(replace(PLAIN, hairs=25), (450, 600))
    assert hairy.truth["hair_share"] > 0.005
    assert plain.truth["hair_share"] == 0
    assert find_artefacts(hairy.rgb).hair.mean() > find_artefacts(plain.rgb).hair.mean() + 0.003
    framed = render_phantom(replace(PLAIN, vignette="circle"), (450, 600))
    found = find_artefacts(framed.rgb).vignette
    assert found.mean() > 0.02
    assert not (found & framed.mask).any()
    ruled = render_phantom(replace(PLAIN, ruler=True), (450, 600))
    assert find_artefacts(ruled.rgb).ink_or_ruler.mean() > 0.0005
    for other in (hairy, framed, ruled):
        assert np.array_equal(other.mask, plain.mask)


def test_darker_skin_has_a_smaller_ita():
    angles = [render_phantom(replace(PLAIN, skin_melanin=m), (120, 160)).truth["skin_ita_deg"] for m in (0.0, 0.4, 0.8, 1.2)]
    assert angles == sorted(angles, reverse=True)
    assert angles[0] > 55
    assert angles[-1] < 10


def test_a_second_photograph_shows_the_same_lesion_elsewhere():
    first = replace(PLAIN, radius_share=0.22)
    second = photographed_again(first, 99)
    assert second.rotation_deg != first.rotation_deg
    a, b = render_phantom(first, SIZE), render_phantom(second, SIZE)
    assert b.mask.sum() == pytest.approx(a.mask.sum(), rel=0.02)
    assert a.truth["colours"] == b.truth["colours"]
    assert not np.array_equal(a.mask, b.mask)
