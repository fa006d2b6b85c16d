"""One range of tones for pictures of every kind: float32 [h, w, c], 0 to 255 whatever the depth, of small windows only.

A full frame is never turned into floats: an 8k × 8k photo would take 768 MB. Callers cut the region of interest first.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: float32 by convention; OpenCV's stubs promise less than it does, and casts at every call would say nothing
Floats = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

#: uint16 value / this = tone
_DEPTH = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 257.0}
#: A picture counts as two-level when this share of its tones lies near its darkest or brightest.
_TWO_LEVEL_SHARE = 0.93
#: Near is this share of the way from one to the other.
NEAR_A_LEVEL = 0.12
#: luminance of R, G, B (ITU-R BT.601)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_tones(window: npt.NDArray[Any]) -> Floats:
    """A window of a picture ([h, w] or [h, w, 3], uint8 or uint16) as tones [h, w, c]."""
    tones = window.astype(np.float32)
    if window.dtype != np.uint8:
        tones /= _DEPTH[window.dtype]
    return np.asarray(tones.reshape(*tones.shape[:2], -1))


def from_tones(tones: Floats, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Tones [h, w, c] rounded into the depth and shape of the window ``like``."""
    top = float(np.iinfo(like.dtype).max)
    scaled = tones if like.dtype == np.uint8 else tones * np.float32(_DEPTH[like.dtype])
    rounded = np.asarray(np.clip(np.rint(scaled), 0, top), like.dtype)
    return np.asarray(rounded[:, :, 0]) if like.ndim == 2 else rounded


def channels_as(tones: Floats, channels: int) -> Floats:
    """Tones with 1 or 3 channels: grey is repeated, colour becomes its luminance."""
    if tones.shape[2] == channels:
        return tones
    if channels == 1:
        return np.asarray(tones @ _LUMA, np.float32)[:, :, None]
    return np.repeat(tones, 3, axis=2)


def plain(tones: Floats) -> Floats:
    """The mean over the channels of tones [h, w, c] as [h, w], contiguous.

    Added plane by plane: numpy's mean over an axis this short takes six times as long.
    """
    if tones.shape[2] == 1:
        return np.ascontiguousarray(tones[:, :, 0])
    return np.asarray((tones[:, :, 0] + tones[:, :, 1] + tones[:, :, 2]) / np.float32(3))


def grey(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A picture's grey version in its own depth, [h, w]; a grey one is returned as it is."""
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def spread(values: Floats) -> float:
    """A robust standard deviation: 1.4826 times the median absolute deviation (0 for no values)."""
    if values.size == 0:
        return 0.0
    return float(1.4826 * _median(np.abs(values - _median(values))))


def is_two_level(tones: Floats) -> bool:
    """Whether tones [n, c] are of two kinds only, and both are there."""
    plain = tones.mean(axis=1)
    if not plain.size:
        return False
    low, high = (float(v) for v in np.quantile(plain, (0.03, 0.97)))
    reach = NEAR_A_LEVEL * (high - low)
    near = (np.abs(plain - low) < reach) | (np.abs(plain - high) < reach)
    return high - low > 64 and float(near.mean()) > _TWO_LEVEL_SHARE


def _median(values: Floats) -> Any:
    """``np.median`` of at least one number, without its checks: on small windows they take longer than the median."""
    half, odd = divmod(values.size, 2)
    if odd:
        return np.partition(values, half, axis=None)[half]
    low, high = np.partition(values, (half - 1, half), axis=None)[half - 1 : half + 1]
    return (low + high) / values.dtype.type(2)
