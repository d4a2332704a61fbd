"""A versioned vocabulary of descriptors, ranked by CLIP."""
