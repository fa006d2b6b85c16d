"""Whether a change can be seen: contrast to noise, and which pixels of a mask visibly changed."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.synthesis.intensity import Bools, Floats, plain, spread

#: Noise counts as at least this many tones: no eye sees less, and a flat background has none at all.
_LEAST_NOISE = 2.0
#: A pixel changed visibly when it did by this many times the noise.
_SEEN = 2.0
#: Share of a mask that must have changed visibly.
LEAST_VISIBLE = 0.4


def visible(before: Floats, after: Floats, mask: Bools, least: float = 0.0) -> tuple[Bools, float]:
    """Which pixels of the mask changed visibly, and the contrast-to-noise ratio of the change within it.

    Noise is what a small blur takes from the background; contrast is the change's root mean square.

    Args:
        before, after: the window's tones [h, w, c].
        mask: the concept's pixels [h, w], at least one.
        least: a change of fewer tones than this is not visible either.
    """
    noise = max(spread(before - cv2.blur(before, (5, 5)).reshape(before.shape)), _LEAST_NOISE)
    change = np.sqrt(plain(np.square(after - before)))
    smooth = cv2.blur(change, (3, 3))
    contrast = float(np.sqrt(np.square(change[mask]).mean())) / noise
    return np.asarray((np.maximum(change, smooth) > max(_SEEN * noise, least)) & mask), contrast
