"""Rendering with a fitted model: the inpainter, masks of what it painted, optimizations."""
