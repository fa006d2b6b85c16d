"""Masks as PNG: the instance mask as it was stored, and a semantic one where it is asked for.

In ``masks/`` a pixel says which instance it belongs to (0 none, i + 1 instance i of the manifest's list), in
``semantic/`` which label (0 none, else the COCO category's number).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from datagen.domain.sample import Sample
from datagen.errors import StoreError
from datagen.export.consistency_check import Mask

#: Labels that fit into a semantic mask of eight bits.
MOST_LABELS = 255


def instance_mask(data: bytes, name: str) -> Mask:
    """The stored mask's pixels, [h, w] uint8.

    Raises:
        StoreError: it is no PNG of one channel with eight bits; ``name`` says whose mask.
    """
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise StoreError(f"the mask of sample {name} is not a grey PNG with 8 bits; generate the run again")
    return cast("Mask", mask)


def semantic_png(sample: Sample, mask: Mask, labels: Sequence[str]) -> bytes:
    """The mask with every instance's number replaced by its label's, as PNG; at most 255 labels."""
    numbers = np.zeros(256, np.uint8)
    for i, instance in enumerate(sample.instances):
        numbers[i + 1] = labels.index(instance.label) + 1
    written, data = cv2.imencode(".png", numbers[mask], (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not written:
        raise ValueError(f"OpenCV cannot encode a mask of {list(mask.shape)}")
    return data.tobytes()
