"""Rendering with a fitted model: the inpainter, the measurement of masks, and optimizations."""
