"""Draws the loss curve of a fit: each step as a dot, the running mean as a line. Uses numpy and OpenCV only."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 48
_INK, _DOT, _LINE = (90, 90, 90), (205, 205, 205), (176, 86, 26)


def draw_curve(losses: Sequence[float], steps: int) -> npt.NDArray[np.uint8]:
    """Return a picture [h, w, 3] (BGR) of the losses of a fit; ``steps`` is the number of planned steps."""
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    values = np.asarray(losses, np.float64)
    top = float(np.quantile(values, 0.98)) * 1.1 + 1e-9
    wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    xs = _MARGIN + (np.arange(len(values)) * wide / max(steps - 1, 1)).astype(int)

    def heights(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        return (_MARGIN + high * (1 - np.clip(losses / top, 0, 1))).astype(np.int64)

    for x, y in zip(xs, heights(values), strict=True):
        cv2.circle(canvas, (int(x), int(y)), 1, _DOT, -1)
    window = max(1, len(values) // 20)
    # each point is the mean of up to ``window`` steps that end there
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    mean = (sums[ends] - sums[starts]) / (ends - starts)
    points = np.stack([xs, heights(mean)], axis=1).astype(np.int32)
    cv2.polylines(canvas, [points], False, _LINE, 2, cv2.LINE_AA)
    cv2.rectangle(canvas, (_MARGIN, _MARGIN), (_WIDTH - _MARGIN, _HEIGHT - _MARGIN), _INK, 1)
    for text, position in (
        (f"{top:.3g}", (4, _MARGIN + 4)),
        ("0", (_MARGIN - 16, _HEIGHT - _MARGIN)),
        (f"loss, mean of {window} steps: {mean[-1]:.4g}", (_MARGIN, _MARGIN - 12)),
        (f"step {len(values)} of {steps}", (_MARGIN, _HEIGHT - _MARGIN + 24)),
    ):
        cv2.putText(canvas, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return canvas
