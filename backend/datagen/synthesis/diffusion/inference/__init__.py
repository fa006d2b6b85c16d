"""Rendering with a fitted model: the inpainter, measured masks, and optimizations."""
