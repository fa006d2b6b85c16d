"""The fixtures of ``export_samples`` for these tests."""

from __future__ import annotations

from export_samples import difficult, export_to, labels, mask, sample, shelf

__all__ = ["difficult", "export_to", "labels", "mask", "sample", "shelf"]
