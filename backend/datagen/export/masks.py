"""Masks as PNG: the stored instance mask, and a semantic mask if requested.

In ``masks/``, the value of a pixel identifies its instance: 0 is none, i + 1 is instance i in the manifest's list. In
``semantic/``, it identifies the label: 0 is none, any other value is the id of the COCO category.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from datagen.domain.sample import Sample
from datagen.errors import StoreError
from datagen.export.consistency_check import Mask

#: Largest number of labels that an 8-bit semantic mask can distinguish.
MAX_LABELS = 255


def instance_mask(data: bytes, name: str) -> Mask:
    """Return the stored mask's pixels, [h, w] uint8.

    Raises:
        StoreError: the mask is not an 8-bit PNG with one channel; the sentence contains the sample's ``name``.
    """
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise StoreError(f"the mask of sample {name} is not a grey PNG with 8 bits; generate the run again")
    return cast("Mask", mask)


def semantic_png(sample: Sample, mask: Mask, labels: Sequence[str]) -> bytes:
    """Return the semantic mask as PNG: each instance's number in ``mask`` is replaced by the number of its label.

    There may be at most ``MAX_LABELS`` labels.
    """
    numbers = np.zeros(256, np.uint8)
    for i, instance in enumerate(sample.instances):
        numbers[i + 1] = labels.index(instance.label) + 1
    written, data = cv2.imencode(".png", numbers[mask], (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not written:
        raise ValueError(f"OpenCV cannot encode a mask of {list(mask.shape)}")
    return data.tobytes()
