"""Backdrop model: distinguishes the carrier of the concepts (a leaf, a plate) from the backdrop behind the carrier.

The canvas polygons show the carrier. If the tones outside them differ from those inside on every canvas, a table lists
the backdrop's tones. A tone is in the table if it is more frequent outside than inside (a histogram classifier with
equal priors). Each canvas is predicted from the others. Without a clear separation there is no model.

A pixel of a photo is backdrop if it has such a tone and is connected to a part of the photo that is surely backdrop. A
part is surely backdrop if it has such tones, and is large or lies at the photo's border. A white spot in the middle of
a leaf on white paper is therefore not backdrop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.composite.extraction.background_inpainting import Frame, membrane
from datagen.synthesis.composite.reduced_scale import reduced_shape
from datagen.synthesis.intensity import Bools, Floats, from_tones, grey, to_tones

#: Bits per channel of a step of the tone table, the number of steps per channel, and the standard deviation of the
#: table's smoothing, in steps.
_STEP_BITS, _STEPS, _SMOOTHING = 5, 32, 1.5
#: Minimum frequency outside the polygons of a tone of the backdrop.
_MIN_FREQUENCY = 1e-5
#: A canvas is used if at least this share of it lies outside its polygons, and at least this share inside.
_MIN_SHARE = 0.02
#: Minimum mean balanced accuracy on left-out canvases for a model to be used.
_MIN_ACCURACY = 0.95
#: A canvas that the others predict with less balanced accuracy contradicts them.
_CONTRADICTION = 0.8
#: Largest share of contradicting canvases that are left out; with more, none is left out.
_MAX_CONTRADICTIONS = 1 / 3
#: A part with the backdrop's tones is surely backdrop if it has this share of the photo. At the photo's border a
#: smaller part is sufficient.
_SURE_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """A fitted backdrop model.

    ``table`` [steps ** channels] is true for tones of the backdrop. ``accuracy`` is the mean balanced accuracy on
    left-out canvases.
    """

    table: Bools
    channels: int
    accuracy: float

    def sure(self, picture: npt.NDArray[Any], boxes: Sequence[Box] = ()) -> Bools:
        """Return which pixels of the reduced picture are certainly backdrop, [h, w] (``reduced_scale.reduced_shape``).

        Args:
            picture: the photo, not reduced.
            boxes: boxes whose content is not counted as backdrop, because a concept may have any tone.
        """
        height, width = picture.shape[:2]
        rows, columns = reduced_shape(height, width)
        small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
        alike = self._alike(small)
        for box in boxes:
            y0, y1 = (int(y * rows / height) for y in (box.y, box.bottom))
            x0, x1 = (int(x * columns / width) for x in (box.x, box.right))
            alike[max(0, y0) : max(0, y1 + 1), max(0, x0) : max(0, x1 + 1)] = False
        _, parts, stats, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8), connectivity=4)
        left, top, wide, high, area = stats.T
        at_border = (left == 0) | (top == 0) | (left + wide == columns) | (top + high == rows)
        certain = (at_border & (area > 2)) | (area >= _SURE_SHARE * rows * columns)
        certain[0] = False
        return np.asarray(certain[parts])

    def inside(self, picture: npt.NDArray[Any], frame: Frame, sure: Bools, fringe: int) -> Bools:
        """Return which pixels of a window of the photo are backdrop, [h, w], including its mixed edge.

        Args:
            picture: the photo.
            frame: the window.
            sure: the result of ``sure`` for the photo.
            fringe: the width in pixels of the edge where carrier and backdrop are mixed.
        """
        height, width = picture.shape[:2]
        rows = np.arange(frame.top, frame.bottom) * sure.shape[0] // height
        columns = np.arange(frame.left, frame.right) * sure.shape[1] // width
        if not sure[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any():
            return np.zeros(frame.shape, bool)
        certain = sure[rows[:, None], columns]
        alike = self._alike(picture[frame.slices]).astype(np.uint8)
        # single pixels of noise belong to their surroundings
        kernel = np.ones((3, 3), np.uint8)
        solid = cv2.morphologyEx(cv2.morphologyEx(alike, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
        _, parts = cv2.connectedComponents(solid, connectivity=4)
        connected = np.zeros(int(parts.max()) + 1, bool)
        connected[parts[certain]] = True
        connected[0] = False
        side = 2 * fringe + 1
        return cv2.dilate(connected[parts].astype(np.uint8), np.ones((side, side), np.uint8)) > 0

    def _alike(self, window: npt.NDArray[Any]) -> Bools:
        return np.asarray(self.table[_steps(window, self.channels)])


def fit_backdrop(canvases: Sequence[tuple[npt.NDArray[Any], Bools]]) -> tuple[Backdrop | None, tuple[int, ...]]:
    """Return the backdrop model of canvases, and the indices of the canvases that contradict the others.

    The model is None if tones do not separate the polygons from the rest.

    Args:
        canvases: the picture of each canvas, and the ``area_model.drawn_area`` of its polygons.
    """
    channels = min((1 if picture.ndim == 2 else 3 for picture, _ in canvases), default=1)
    samples = {}
    for number, (picture, drawn) in enumerate(canvases):
        small = cv2.resize(picture, drawn.shape[::-1], interpolation=cv2.INTER_AREA)
        steps, kernel = _steps(small, channels), np.ones((3, 3), np.uint8)
        solid = drawn.astype(np.uint8)
        # polygons are drawn to about a pixel
        outside, inside = cv2.dilate(solid, kernel) == 0, cv2.erode(solid, kernel) > 0
        if min(outside.mean(), inside.mean()) >= _MIN_SHARE:
            samples[number] = (steps[outside], steps[inside])
    model, accuracies = _fit(samples, channels)
    wrong = tuple(number for number, accuracy in accuracies.items() if accuracy < _CONTRADICTION)
    if wrong and len(wrong) <= _MAX_CONTRADICTIONS * len(samples):
        model, _ = _fit({number: sample for number, sample in samples.items() if number not in wrong}, channels)
        return model, wrong if model else ()
    return model, ()


def _fit(
    samples: dict[int, tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]], channels: int
) -> tuple[Backdrop | None, dict[int, float]]:
    """Return the backdrop model, and by canvas the accuracy of the model that is fitted without this canvas.

    ``samples`` holds, by canvas, the table indices [n] of the pixels outside its polygons and of those inside.
    """
    if len(samples) < 2:
        return None, {}
    tables = {number: [_frequencies(steps, channels) for steps in sample] for number, sample in samples.items()}
    outside, inside = (np.sum([both[side] for both in tables.values()], axis=0) for side in (0, 1))
    accuracies = {}
    for number, (beyond, within) in samples.items():
        own_outside, own_inside = tables[number]
        others = _table(outside - own_outside, inside - own_inside, len(samples) - 1)
        accuracies[number] = 0.5 * float(others[beyond].mean()) + 0.5 * float(1 - others[within].mean())
    accuracy = float(np.mean(list(accuracies.values())))
    if accuracy < _MIN_ACCURACY:
        return None, accuracies
    return Backdrop(table=_table(outside, inside, len(samples)), channels=channels, accuracy=accuracy), accuracies


def continued(picture: npt.NDArray[Any], frame: Frame, backdrop: Bools) -> npt.NDArray[Any]:
    """Return a copy of the photo in which the carrier continues over the backdrop of a window.

    The carrier's texture is reflected at its edge. Where no pixel can be reflected, its tones are continued smoothly.

    Args:
        picture: the photo.
        frame: the window.
        backdrop: the window's backdrop pixels [h, w]; at least one pixel is carrier.
    """
    window = picture[frame.slices]
    tones = to_tones(window)
    filled = continued_smoothly(tones, backdrop)
    rows, columns = np.indices(backdrop.shape)
    _, near_y, near_x = nearest_carrier(backdrop)
    y, x = 2 * near_y - rows, 2 * near_x - columns
    valid = backdrop & (y >= 0) & (x >= 0) & (y < backdrop.shape[0]) & (x < backdrop.shape[1])
    valid[valid] = ~backdrop[y[valid], x[valid]]
    filled[valid] = tones[y[valid], x[valid]]
    copy = picture.copy()
    copy[frame.slices][backdrop] = from_tones(filled, window)[backdrop]
    return copy


def nearest_carrier(backdrop: Bools) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distance in pixels, the row and the column of the carrier pixel nearest to each pixel, all [h, w]."""
    distance, labels = cv2.distanceTransformWithLabels(
        backdrop.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    ys, xs = (~backdrop).nonzero()
    places = np.zeros((int(labels.max()) + 1, 2), np.int64)
    places[labels[ys, xs]] = np.stack([ys, xs], axis=1)
    nearest = places[labels]
    return np.asarray(distance), nearest[:, :, 0], nearest[:, :, 1]


def continued_smoothly(tones: Floats, backdrop: Bools) -> Floats:
    """Return a window's tones [h, w, c] in which the carrier continues over the backdrop [h, w] without texture."""
    return membrane(tones, ~backdrop)


def _steps(window: npt.NDArray[Any], channels: int) -> npt.NDArray[np.uint16]:
    """Return the indices [h, w] of a window's tones in the tone table."""
    whole = grey(window) if channels == 1 else window
    steps = np.asarray(whole >> (8 * window.dtype.itemsize - _STEP_BITS), np.uint16)
    if channels == 1:
        return steps
    red, green, blue = (steps[:, :, c] for c in range(3)) if steps.ndim == 3 else (steps, steps, steps)
    return np.asarray((red << 2 * _STEP_BITS) | (green << _STEP_BITS) | blue)


def _frequencies(steps: npt.NDArray[np.uint16], channels: int) -> npt.NDArray[np.float64]:
    counts = np.bincount(steps.ravel(), minlength=_STEPS**channels).astype(np.float64) / steps.size
    table = counts.reshape([_STEPS] * channels)
    offsets = np.subtract.outer(np.arange(_STEPS), np.arange(_STEPS))
    kernel = np.exp(-0.5 * (offsets / _SMOOTHING) ** 2)
    kernel /= kernel.sum(axis=0)
    for _ in range(channels):  # each pass smooths the first axis and makes it the last
        table = np.tensordot(table, kernel, axes=(0, 1))
    return table.ravel()


def _table(outside: npt.NDArray[np.float64], inside: npt.NDArray[np.float64], canvases: int) -> Bools:
    # rounded, so that the last bits of a machine's arithmetic do not reach the choice
    outside, inside = np.round(outside / canvases, 9), np.round(inside / canvases, 9)
    return np.asarray((outside > inside) & (outside >= _MIN_FREQUENCY))
