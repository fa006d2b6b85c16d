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
    near, mask = round_the(hole), np.zeros(hole.shape, bool)
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
    mask[near] = inside & (cv2.resize(opacity, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5)
    return mask


def _resized(mask: Bools, size: tuple[int, int]) -> Floats:
    """Return the share of each pixel of a picture of ``size`` (width, height) that the mask covers."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _opacity(tones: Floats, opaque: Bools, unknown: Bools) -> Floats:
    """Return the opacity [h, w]: 1 where ``opaque``, solved where ``unknown``, else 0; tones [h, w, c] are 0 to 1."""
    from scipy import sparse  # a heavy package, which the web process does not need
    from scipy.sparse.linalg import splu

    opacity = opaque.astype(np.float32)
    count = int(np.count_nonzero(unknown))
    if not count:
        return opacity
    neighbours = _laplacian(tones.astype(np.float64))[:, unknown].T
    by_known = (neighbours * _of_neighbours(opaque.astype(np.float64), unknown)).sum(axis=1)
    numbers = np.full(unknown.shape, -1, np.int32)
    numbers[unknown] = np.arange(count)
    columns = _of_neighbours(numbers, unknown, beyond=-1)
    kept = columns >= 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    # the equations are symmetric, so that their rows are their columns
    equations = sparse.csc_array((neighbours[kept], columns[kept], starts), shape=(count, count))
    equations.setdiag(equations.diagonal() + _RIDGE)
    factors = splu(equations, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    opacity[unknown] = np.clip(factors.solve(-by_known), 0, 1)
    return opacity


def _of_neighbours(values: Any, chosen: Bools, *, beyond: float = 0) -> Any:
    """Return the values [n, 25] of the 5 × 5 neighbours of each chosen pixel, ``beyond`` outside ``values`` [h, w]."""
    padded = np.pad(values, 2, constant_values=beyond)
    return np.lib.stride_tricks.sliding_window_view(padded, (5, 5))[chosen].reshape(-1, 25)


def _laplacian(tones: Floats) -> Floats:
    """Return the matting Laplacian of tones [h, w, c], summed over all 3 × 3 windows, [25, h, w].

    A pixel's 25 values are its entries with its 5 × 5 neighbours, row by row; those beyond the picture are 0. All
    windows are computed together, one pair of pixels at a time.
    """
    rows, columns, channels = tones.shape
    pixels = [(y, x) for y in range(3) for x in range(3)]
    views = [(slice(y, y + rows - 2), slice(x, x + columns - 2)) for y, x in pixels]
    centred = np.stack([[tones[view][:, :, channel] for view in views] for channel in range(channels)])
    centred -= centred.mean(axis=1, keepdims=True)
    covariance = np.stack([[(channel * other).sum(axis=0) for other in centred] for channel in centred], axis=-1) / 9
    inverse = np.linalg.inv(np.moveaxis(covariance, 0, -1) + _EPSILON / 9 * np.eye(channels))
    weighted = [sum(centred[c] * inverse[:, :, c, channel] for c in range(channels)) for channel in range(channels)]
    entries = np.zeros((5, 5, rows, columns))
    for a in range(9):
        for b in range(a, 9):
            affinity = (1 + sum(centred[c, a] * weighted[c][b] for c in range(channels))) / 9
            y, x = pixels[b][0] - pixels[a][0], pixels[b][1] - pixels[a][1]
            entries[2 + y, 2 + x][views[a]] += (a == b) - affinity
            if a != b:
                entries[2 - y, 2 - x][views[b]] -= affinity
    return entries.reshape(25, rows, columns)
