"""The stored instance mask of a sample: 0 outside, i + 1 inside instance i of the sample's list."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from datagen.errors import StoreError
from datagen.export.writer import Mask


def instance_mask(data: bytes, name: str) -> Mask:
    """Return the stored mask's pixels, [h, w] uint8.

    Raises:
        StoreError: the mask is not an 8-bit PNG with one channel; the sentence contains the sample's ``name``.
    """
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise StoreError(f"the mask of sample {name} is not a grey PNG with 8 bits; generate the run again")
    return cast("Mask", mask)
