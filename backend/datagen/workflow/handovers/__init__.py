"""Handovers: generated images that are handed over in the background, as a download or into a project."""
