"""Cutting an example out of its photo: mattes, outlines, the background behind it."""
