"""A versioned vocabulary of descriptors, ranked by CLIP."""

from cefm_core.descriptors.ranker import DescriptorRanker, rank_scores, skipped_row
from cefm_core.descriptors.vocabulary import Descriptor, load_vocabulary
from cefm_core.descriptors.weights import availability, weights_digest

__all__ = ["Descriptor", "DescriptorRanker", "availability", "load_vocabulary", "rank_scores", "skipped_row", "weights_digest"]
