"""Asymmetry, border, colour and structure, measured inside a mask."""
