"""Promptable segmentation models (SAM, SAM 2) for all engines: a mask for each box that is drawn on a picture.

Engines ask ``loading``. Only ``sam`` imports torch."""
