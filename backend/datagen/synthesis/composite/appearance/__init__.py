"""Appearance of a placed instance: contrast, blending, pose and visibility."""
