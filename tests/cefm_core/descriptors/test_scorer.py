"""Who scores the descriptors follows from the settings, and only what decides the scores enters the key."""

import pytest

from cefm_core.config import DescriptorConfig
from cefm_core.descriptors import chosen_scorer, deciding_settings, skipped_row, weights_digests
from cefm_core.errors import ConfigurationError
from cefm_core.tables.descriptors import TABLE


def test_auto_takes_clip_where_weights_are_configured_and_else_the_probes():
    assert chosen_scorer(DescriptorConfig()) == "probes"
    assert chosen_scorer(DescriptorConfig(weights="openai")) == "clip"
    assert chosen_scorer(DescriptorConfig(weights="openai", scorer="probes")) == "probes"
    assert chosen_scorer(DescriptorConfig(weights="openai", scorer="none")) == "none"


def test_settings_of_the_other_scorer_decide_nothing():
    assert deciding_settings(DescriptorConfig(model="ViT-L-14")) == deciding_settings(DescriptorConfig(activation="gelu"))
    assert deciding_settings(DescriptorConfig(top_k=2)) != deciding_settings(DescriptorConfig(top_k=3))
    clip = DescriptorConfig(weights="openai")
    assert deciding_settings(clip) != deciding_settings(clip.model_copy(update={"model": "ViT-L-14"}))
    assert deciding_settings(DescriptorConfig(scorer="none", top_k=1)) == {"scorer": "none"}


def test_the_probes_need_their_weights_and_the_encoders():
    found = weights_digests(DescriptorConfig())
    assert set(found) == {"probes", "encoder"} and all(len(digest) == 64 for digest in found.values())
    assert weights_digests(DescriptorConfig(scorer="none")) == {}


def test_clip_without_weights_is_an_error_that_names_the_remedy():
    with pytest.raises(ConfigurationError, match="descriptors.weights: .*descriptors.scorer"):
        weights_digests(DescriptorConfig(scorer="clip"))


def test_where_nobody_scores_the_row_says_so():
    row = skipped_row()
    assert row["reason"] == "descriptors.scorer is none" and row["phrases"] is None
    assert TABLE.to_arrow([{"image_id": "a", **row, "image_sha256": "0", "row_key": "0"}]).num_rows == 1
