"""SAM 2.1 exercised for real: its package, configurations, builder, predictor and checkpoint format, with random weights."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cefm_core.config import RefineConfig
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation import sam2_backend
from cefm_core.segmentation.prompts import jittered, make_prompts
from cefm_core.segmentation.refine import MaskRefiner, RefinedMask, clean_proposal, resolve_refiner
from cefm_core.segmentation.sam2_backend import Sam2Backend, build_model
from cefm_core.segmentation.sam2_checkpoint import SIZES, sam2_location
from cefm_core.tables import refined_masks

CPU = torch.device("cpu")
KEYS = {"image_id": "a", "mask_key": "k", "mask_sha256": "0" * 64, "image_sha256": "0" * 64, "row_key": "r"}


def _scene() -> tuple[np.ndarray, np.ndarray]:
    mask = cv2.ellipse(np.zeros((300, 400), np.uint8), (220, 140), (90, 60), 25, 0, 360, 1, -1) > 0
    rgb = np.full((300, 400, 3), (222, 180, 165), np.uint8)
    rgb[mask] = (105, 70, 60)
    return cv2.GaussianBlur(rgb, (0, 0), 2), mask


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the published format, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": build_model("tiny", None, CPU).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def refiner(checkpoint: Path) -> MaskRefiner:
    return MaskRefiner.load(RefineConfig(sam2_checkpoint=str(checkpoint), sam2_checkpoint_sha256=file_sha256(checkpoint), prompt_samples=2))


@pytest.fixture(scope="module")
def first(refiner: MaskRefiner) -> RefinedMask:
    """The answer of the first call, shared because embedding an image takes seconds."""
    return refiner.refine(*_scene(), 0.9)


def test_auto_takes_the_checkpoint_and_the_row_says_so(refiner: MaskRefiner, first: RefinedMask, checkpoint: Path) -> None:
    result = first
    assert refiner.resolved.weights_sha256 == file_sha256(checkpoint)
    assert result.row["refiner"] == "sam2" and result.row["refiner_reason"].startswith("auto")
    assert (result.row["device"], result.row["precision"]) == ("cpu", "float32")
    assert result.row["candidates"] == 3 and result.row["prompt_kinds"] == ["points"]
    assert len(result.row["positive_points"]) == 18 and len(result.row["negative_points"]) == 8
    assert isinstance(result.row["predicted_iou"], float)
    assert 0 <= result.row["stability"] <= 1
    assert (result.row["mask_confidence"], result.row["mask_confidence_reason"]) == (None, "not_fitted_for_refiner")
    refined_masks.TABLE.to_arrow([{**KEYS, **result.row}])


def test_what_the_gate_says_is_what_is_returned(first: RefinedMask) -> None:
    rgb, mask = _scene()
    assert first.proposal is not None
    wanted = first.proposal if first.row["decision"] == "accepted" else mask
    assert np.array_equal(first.mask, wanted)


def test_state_is_released_and_nothing_leaks(refiner: MaskRefiner, first: RefinedMask) -> None:
    predictor = refiner._backend._predictor
    assert predictor._features is None and not predictor._is_image_set
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and not torch.is_inference_mode_enabled()


def test_a_batch_inside_an_outer_autocast_gives_the_same_answer(refiner: MaskRefiner, first: RefinedMask) -> None:
    """The path that a GPU takes: one embedding call for images of two sizes; autocast around us does not reach in."""
    rgb, mask = _scene()
    small = cv2.resize(rgb, (200, 150))
    small_mask = cv2.resize(mask.astype(np.uint8), (200, 150)) > 0
    backend = refiner._backend
    prompts = [make_prompts(m, refiner.config) for m in (small_mask, mask)]
    scenes = zip((small, rgb), (small_mask, mask), prompts, strict=True)
    inputs = [[backend._inputs(i.shape, m, variant) for variant in (p, *jittered(p, 2))] for i, m, p in scenes]
    with torch.autocast("cpu", dtype=torch.bfloat16), backend._inference():
        answers = backend._predict_batch([small, rgb], inputs)
    backend._predictor.reset_predictor()
    proposal = sam2_backend._proposal(answers[1], mask, refiner.config.sam2_prior_weight)
    assert [len(found) for found in answers] == [3, 3]
    assert answers[1][0][0].dtype == np.float32 and answers[0][0][0].shape == (3, 150, 200)
    assert proposal.predicted_iou == pytest.approx(first.row["predicted_iou"], abs=1e-4)
    cleaned, _ = clean_proposal(proposal.mask, mask, refiner.config)
    assert first.proposal is not None and (cleaned == first.proposal).mean() > 0.999
    assert proposal.votes is not None and first.votes is not None and np.abs(proposal.votes - first.votes).mean() < 1e-3


def test_the_best_candidate_is_the_one_of_highest_predicted_iou() -> None:
    logits = np.stack([np.full((4, 4), -1.0), np.full((4, 4), 1.0), np.full((4, 4), -1.0)]).astype(np.float32)
    proposal = sam2_backend._proposal([(logits, np.array([0.2, 0.9, 0.5]))], np.zeros((8, 8), bool), 0.0)
    assert proposal.votes is None
    assert proposal.mask.all() and proposal.mask.shape == (8, 8) and proposal.predicted_iou == pytest.approx(0.9)


def test_prompts_follow_the_image_when_it_is_reduced(refiner: MaskRefiner) -> None:
    mask = cv2.circle(np.zeros((1500, 2000), np.uint8), (1500, 500), 300, 1, -1) > 0
    view = sam2_backend._reduced(np.zeros((1500, 2000, 3), np.uint8))
    assert view.shape == (768, 1024, 3)
    inputs = refiner._backend._inputs(view.shape, mask, make_prompts(mask, refiner.config))
    small = cv2.resize(mask.astype(np.uint8), (1024, 768), interpolation=cv2.INTER_AREA) > 0
    for (x, y), label in zip(inputs["point_coords"], inputs["point_labels"], strict=True):
        assert small[int(y), int(x)] == bool(label)


@pytest.mark.parametrize("kinds", [("box",), ("points", "box", "mask")])
def test_every_kind_of_prompt_reaches_the_predictor(refiner: MaskRefiner, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    _, mask = _scene()
    monkeypatch.setattr(refiner._backend, "prompt_kinds", kinds)
    inputs = refiner._backend._inputs((300, 400, 3), mask, make_prompts(mask, refiner.config))
    given = {name for name, value in inputs.items() if value is not None}
    assert given == {"point_coords", "point_labels", "box", "mask_input"} if len(kinds) == 3 else given == {"box"}
    if "mask" in kinds:
        assert inputs["mask_input"].shape == (1, 256, 256) and inputs["mask_input"].min() < 0 < inputs["mask_input"].max()


def test_the_names_are_those_of_the_package() -> None:
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    for size in SIZES.values():
        assert HF_MODEL_ID_TO_FILENAMES[size.hub_name] == (size.config_name, size.filename)
        assert (sam2_location() / size.config_name).is_file()


def test_an_earlier_user_of_hydra_and_a_foreign_folder_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four configurations are found while Hydra's one global search path belongs to somebody else, who has it back afterwards."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("answer: 42\n")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        with sam2_backend._sam2_search_path():
            found = [compose(config_name=size.config_name).model._target_ for size in SIZES.values()]
        assert compose(config_name="mine").answer == 42
    assert found == ["sam2.modeling.sam2_base.SAM2Base"] * 4


def test_an_unknown_size_names_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match="tiny, small, base_plus, large"):
        build_model("huge", None, CPU)


@pytest.mark.parametrize("inner", [True, False])
def test_a_folder_that_hides_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: bool) -> None:
    """A clone's parent folder as working directory, and a package of the same name from elsewhere."""
    shadow = tmp_path / "sam2"
    (shadow / "sam2" if inner else shadow).mkdir(parents=True)
    (shadow / "__init__.py").touch()
    if inner:
        (shadow / "sam2" / "build_sam.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "sam2" or name.startswith("sam2.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match="shadowed by the folder") as caught:
        sam2_location()
    assert str(shadow.resolve()) in str(caught.value)


def test_a_wrong_digest_is_refused_before_anything_is_loaded(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="sam2_checkpoint_sha256"):
        resolve_refiner(RefineConfig(sam2_checkpoint=str(checkpoint), sam2_checkpoint_sha256="0" * 64))


def test_a_missing_file_and_a_hub_name_of_another_size() -> None:
    with pytest.raises(ConfigurationError, match="neither a file nor one of facebook/sam2.1-hiera-base-plus"):
        resolve_refiner(RefineConfig(sam2_checkpoint="no/such/file.pt"))
    with pytest.raises(ConfigurationError, match="sam2_size=large"):
        resolve_refiner(RefineConfig(sam2_checkpoint="facebook/sam2.1-hiera-large"))


def test_a_file_that_is_no_checkpoint_or_of_another_size(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"this is no checkpoint")
    with pytest.raises(ConfigurationError, match="broken.pt is not a SAM 2.1 checkpoint"):
        Sam2Backend.load(RefineConfig(sam2_checkpoint=str(broken)))
    with pytest.raises(ConfigurationError, match="of size small"):
        Sam2Backend.load(RefineConfig(sam2_checkpoint=str(checkpoint), sam2_size="small"))
