"""Rendered dermoscopic phantoms with known truth."""
