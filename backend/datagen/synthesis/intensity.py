"""Conversion of picture windows to tones: float32 [h, w, c] from 0 to 255, for any bit depth.

Full frames must not be converted: an 8k × 8k photo would take 768 MB. Callers first crop the region that they need."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: Array of float32 by convention. OpenCV's type stubs are too general for a narrower type without a cast at every call.
Floats = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

#: divisor of a pixel's value that gives its tone, by data type
_DEPTH = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 257.0}
#: A picture is two-level if more than this share of its tones is near one of its two levels.
_TWO_LEVEL_SHARE = 0.93
#: A tone is near a level if it is within this share of the distance between the two levels.
NEAR_A_LEVEL = 0.12
#: weights of R, G and B in the luminance (ITU-R BT.601)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_tones(window: npt.NDArray[Any]) -> Floats:
    """Return a window of a picture ([h, w] or [h, w, 3], uint8 or uint16) as tones [h, w, c]."""
    tones = window.astype(np.float32)
    if window.dtype != np.uint8:
        tones /= _DEPTH[window.dtype]
    return np.asarray(tones.reshape(*tones.shape[:2], -1))


def from_tones(tones: Floats, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return tones [h, w, c], rounded, in the data type and number of dimensions of the window ``like``."""
    top = float(np.iinfo(like.dtype).max)
    scaled = tones if like.dtype == np.uint8 else tones * np.float32(_DEPTH[like.dtype])
    rounded = np.asarray(np.clip(np.rint(scaled), 0, top), like.dtype)
    return np.asarray(rounded[:, :, 0]) if like.ndim == 2 else rounded


def channels_as(tones: Floats, channels: int) -> Floats:
    """Return tones with 1 or 3 channels. Grey is repeated; colour becomes its luminance."""
    if tones.shape[2] == channels:
        return tones
    if channels == 1:
        return np.asarray(tones @ _LUMA, np.float32)[:, :, None]
    return np.repeat(tones, 3, axis=2)


def plain(tones: Floats) -> Floats:
    """Return the mean over the channels of tones [h, w, c], as a contiguous array [h, w].

    The channels are added one by one, because numpy's mean over such a short axis takes six times as long.
    """
    if tones.shape[2] == 1:
        return np.ascontiguousarray(tones[:, :, 0])
    return np.asarray((tones[:, :, 0] + tones[:, :, 1] + tones[:, :, 2]) / np.float32(3))


def lengths(differences: Floats) -> Floats:
    """Return the Euclidean length of each pixel of differences in tones [h, w, c], [h, w].

    The channels are added one by one, because numpy's sum over such a short axis takes five times as long.
    """
    squares = differences * differences
    total = squares[:, :, 0]
    for channel in range(1, squares.shape[2]):
        total = total + squares[:, :, channel]
    return np.asarray(np.sqrt(total))


def grey(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a picture as grey [h, w] of the same bit depth; a grey picture is returned unchanged."""
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def spread(values: Floats) -> float:
    """Return a robust standard deviation: 1.4826 times the median absolute deviation; 0 for an empty array."""
    if values.size == 0:
        return 0.0
    return float(1.4826 * _median(np.abs(values - _median(values))))


def is_two_level(tones: Floats) -> bool:
    """Return whether tones [n, c] have two levels that differ clearly, and hardly any tone in between."""
    plain = tones.mean(axis=1)
    if not plain.size:
        return False
    low, high = (float(v) for v in np.quantile(plain, (0.03, 0.97)))
    reach = NEAR_A_LEVEL * (high - low)
    near = (np.abs(plain - low) < reach) | (np.abs(plain - high) < reach)
    return high - low > 64 and float(near.mean()) > _TWO_LEVEL_SHARE


def _median(values: Floats) -> Any:
    """Return the median of at least one number.

    It omits the checks of ``np.median``, which take most of the time on small windows.
    """
    half, odd = divmod(values.size, 2)
    if odd:
        return np.partition(values, half, axis=None)[half]
    low, high = np.partition(values, (half - 1, half), axis=None)[half - 1 : half + 1]
    return (low + high) / values.dtype.type(2)
