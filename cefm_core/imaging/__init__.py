"""Bytes to pixels and back, image quality and artefacts."""
