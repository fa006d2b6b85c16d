"""Conversion of picture windows to tones: float32 [h, w, c] from 0 to 255, whatever the bit depth.

Full frames must not be converted: an 8k × 8k photo would take 768 MB. Callers crop the region of interest first.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: float32 by convention; OpenCV's type stubs are too general, and casts at every call would add nothing
Floats = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

#: uint16 value / this = tone
_DEPTH = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 257.0}
#: A picture counts as two-level when this share of its tones is near its darkest or brightest tone.
_TWO_LEVEL_SHARE = 0.93
#: A tone is near a level if it is within this share of the distance between the two levels.
NEAR_A_LEVEL = 0.12
#: luminance of R, G, B (ITU-R BT.601)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_tones(window: npt.NDArray[Any]) -> Floats:
    """Convert a window of a picture ([h, w] or [h, w, 3], uint8 or uint16) to tones [h, w, c]."""
    tones = window.astype(np.float32)
    if window.dtype != np.uint8:
        tones /= _DEPTH[window.dtype]
    return np.asarray(tones.reshape(*tones.shape[:2], -1))


def from_tones(tones: Floats, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert tones [h, w, c] to the bit depth and shape of the window ``like``, rounded."""
    top = float(np.iinfo(like.dtype).max)
    scaled = tones if like.dtype == np.uint8 else tones * np.float32(_DEPTH[like.dtype])
    rounded = np.asarray(np.clip(np.rint(scaled), 0, top), like.dtype)
    return np.asarray(rounded[:, :, 0]) if like.ndim == 2 else rounded


def channels_as(tones: Floats, channels: int) -> Floats:
    """Convert tones to 1 or 3 channels: grey is repeated, colour becomes its luminance."""
    if tones.shape[2] == channels:
        return tones
    if channels == 1:
        return np.asarray(tones @ _LUMA, np.float32)[:, :, None]
    return np.repeat(tones, 3, axis=2)


def plain(tones: Floats) -> Floats:
    """Return the mean over the channels of tones [h, w, c], as a contiguous [h, w].

    The planes are added one by one: numpy's mean over such a short axis takes six times as long.
    """
    if tones.shape[2] == 1:
        return np.ascontiguousarray(tones[:, :, 0])
    return np.asarray((tones[:, :, 0] + tones[:, :, 1] + tones[:, :, 2]) / np.float32(3))


def grey(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert a picture to grey [h, w] of the same bit depth; a grey picture is returned unchanged."""
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def spread(values: Floats) -> float:
    """Return a robust standard deviation: 1.4826 times the median absolute deviation (0 for no values)."""
    if values.size == 0:
        return 0.0
    return float(1.4826 * _median(np.abs(values - _median(values))))


def is_two_level(tones: Floats) -> bool:
    """Return whether tones [n, c] have only two levels, and both occur."""
    plain = tones.mean(axis=1)
    if not plain.size:
        return False
    low, high = (float(v) for v in np.quantile(plain, (0.03, 0.97)))
    reach = NEAR_A_LEVEL * (high - low)
    near = (np.abs(plain - low) < reach) | (np.abs(plain - high) < reach)
    return high - low > 64 and float(near.mean()) > _TWO_LEVEL_SHARE


def _median(values: Floats) -> Any:
    """Return ``np.median`` of at least one number, without its checks, which dominate the time on small windows."""
    half, odd = divmod(values.size, 2)
    if odd:
        return np.partition(values, half, axis=None)[half]
    low, high = np.partition(values, (half - 1, half), axis=None)[half - 1 : half + 1]
    return (low + high) / values.dtype.type(2)
