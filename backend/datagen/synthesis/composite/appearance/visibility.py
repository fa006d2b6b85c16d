"""Visibility of a change: its contrast-to-noise ratio, and the pixels of a mask that changed visibly."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.synthesis.intensity import Bools, Floats, plain, spread

#: Minimum noise in tones: people cannot see smaller changes, and a flat background has no noise of its own.
_MIN_NOISE = 2.0
#: Smallest visible change of a pixel, in multiples of the background's noise.
_SEEN = 2.0
#: Minimum share of a mask that must change visibly.
MIN_VISIBLE = 0.4


def visible(before: Floats, after: Floats, mask: Bools, least: float = 0.0) -> tuple[Bools, float]:
    """Return which pixels [h, w] of the mask changed visibly, and the contrast-to-noise ratio in the mask.

    Noise is the part of the background that a small blur removes. Contrast is the root mean square of the change.

    Args:
        before, after: the window's tones [h, w, c] without and with the concept.
        mask: the concept's pixels [h, w], at least one.
        least: smallest visible change in tones, even if the noise is smaller.
    """
    noise = max(spread(before - cv2.blur(before, (5, 5)).reshape(before.shape)), _MIN_NOISE)
    change = np.sqrt(plain(np.square(after - before)))
    smooth = cv2.blur(change, (3, 3))
    contrast = float(np.sqrt(np.square(change[mask]).mean())) / noise
    return np.asarray((np.maximum(change, smooth) > max(_SEEN * noise, least)) & mask), contrast
