"""Frozen image embeddings, aligned with the clinical measurements."""
