"""Closed-form matting: extends the core of a concept to where its tones end.

Method: A. Levin, D. Lischinski and Y. Weiss, A Closed-Form Solution to Natural Image Matting (PAMI 2008). In every
window of 3 × 3 pixels, the opacity is taken to be a linear function of the tones; the opacities of the unknown pixels
minimize the error of that model. Written here on scipy, because pymatting compiles itself with numba, which adds 50 MB
and seconds at the start of every worker.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.line_segmentation import round_the
from datagen.synthesis.intensity import Bools, Floats

#: Longest side in pixels of the window that is solved; larger ones are reduced, because the time grows with the area.
_LONGEST_PX = 110
#: Regularization of a window's covariance, in squared tones of 0 to 1. It is larger than in the paper, because photos
#: have noise.
_EPSILON = 1e-5
#: Added to the diagonal, so that the equations have one solution.
_RIDGE = 1e-9
#: The core is the deeper half of a matte.
_CORE = 0.5


def closed_form(tones: Floats, hole: Bools, matte: Bools) -> Bools | None:
    """Return the pixels whose opacity is above one half; None if the core or the surroundings are empty.

    The core of ``matte`` is opaque and everything outside ``hole`` is not; the tones decide about the rest.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        hole: true inside the box, [h, w].
        matte: the pixels of the concept by another method, [h, w].
    """
    near, found = round_the(hole), np.zeros(hole.shape, bool)
    tones, inside, matte = tones[near], hole[near], matte[near]
    if inside.all() or not matte.any():
        return None
    depth = np.asarray(cv2.distanceTransform(matte.astype(np.uint8), cv2.DIST_L2, 3), np.float32)
    core = inside & matte & (depth >= max(1.0, float(np.quantile(depth[matte], _CORE))))
    rows, columns = inside.shape
    shrink = min(1.0, _LONGEST_PX / max(rows, columns))
    size = (max(3, round(columns * shrink)), max(3, round(rows * shrink)))
    small = np.asarray(cv2.resize(tones, size, interpolation=cv2.INTER_AREA), np.float32).reshape(size[1], size[0], -1)
    opaque, possible = (_resized(mask, size) >= 0.5 for mask in (core, inside))
    if not opaque.any():
        return None
    opacity = _opacity(small / np.float32(255), opaque, possible & ~opaque)
    found[near] = inside & (cv2.resize(opacity, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5)
    return found


def _resized(mask: Bools, size: tuple[int, int]) -> Floats:
    """Return the share of each pixel of a picture of ``size`` (width, height) that the mask covers."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _opacity(tones: Floats, opaque: Bools, unknown: Bools) -> Floats:
    """Return the opacity [h, w]: 1 where ``opaque``, solved where ``unknown``, else 0; tones [h, w, c] are 0 to 1."""
    from scipy import sparse  # a heavy package, which the web process does not need
    from scipy.sparse.linalg import splu

    opacity = opaque.astype(np.float32)
    chosen = unknown.ravel()
    if not chosen.any():
        return opacity
    equations = _laplacian(tones.astype(np.float64))[chosen]
    by_known = equations[:, ~chosen] @ opaque.ravel()[~chosen].astype(np.float64)
    inner = (equations[:, chosen] + _RIDGE * sparse.identity(int(chosen.sum()))).tocsc()
    factors = splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    opacity[unknown] = np.clip(factors.solve(-by_known), 0, 1)
    return opacity


def _laplacian(tones: Floats) -> Any:
    """Return the matting Laplacian of tones [h, w, c]: a sparse array [h·w, h·w], summed over all 3 × 3 windows."""
    from scipy import sparse

    rows, columns, channels = tones.shape
    numbers = np.arange(rows * columns).reshape(rows, columns)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, (3, 3)).reshape(-1, 9)
    values = tones.reshape(-1, channels)[windows]
    centred = values - values.mean(axis=1, keepdims=True)
    covariance = np.einsum("nij,nik->njk", centred, centred) / 9
    inverse = np.linalg.inv(covariance + _EPSILON / 9 * np.eye(channels))
    affinity = (1 + np.einsum("nij,njk,nlk->nil", centred, inverse, centred, optimize=True)) / 9
    weights = np.eye(9) - affinity
    row = np.repeat(windows, 9, axis=1).ravel()
    column = np.tile(windows, (1, 9)).ravel()
    return sparse.csr_array((weights.ravel(), (row, column)), shape=(rows * columns,) * 2)
