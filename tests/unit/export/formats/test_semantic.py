"""Semantic masks: a pixel's value is its label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datagen.domain.sample import Sample


def test_two_instances_of_one_label_have_its_number(shelf: Any, mask: Any, export_to: Callable[..., Path]) -> None:
    sample: Sample = shelf.sample(mask, ("scratch", "dent"))
    folder = export_to([sample], "semantic", labels=("dent", "other", "scratch"))
    with Image.open(folder / "semantic" / "5bec5bec_0000000.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.array([0, 3, 1], np.uint8)[mask])
