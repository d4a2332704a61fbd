"""A versioned vocabulary of descriptors, scored by CLIP or by probes learned from labels."""

from cefm_core.descriptors.scorer import chosen_scorer, deciding_settings, skipped_row, weights_digests
from cefm_core.descriptors.vocabulary import Descriptor, load_vocabulary

__all__ = ["Descriptor", "chosen_scorer", "deciding_settings", "load_vocabulary", "skipped_row", "weights_digests"]
