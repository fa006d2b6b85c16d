"""Area model: predicts where a concept may appear on a photo, learned from the canvas polygons.

Three models (position, appearance, both) are evaluated by leaving out each canvas once. The model with the highest mean
intersection over union with the polygons of the left-out canvas is kept, unless "every pixel" has a higher one.

A model is ridge regression on random rectified features (Rahimi & Recht, NIPS 2008). Its normal equations are sums over
canvases, so leaving one canvas out costs one small solve. All computation is at a reduced scale; full frames are never
converted to floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Polygon
from datagen.synthesis.composite.reduced_scale import reduced_shape
from datagen.synthesis.intensity import Bools, Floats, channels_as, to_tones

#: Number of random features of a model; more did not predict left-out canvases better in the benchmark.
_FEATURES = 64
#: The ridge, as a share of the mean diagonal of the normal equations; it prevents overfitting to a few canvases.
_RIDGE = 1e-3
_THRESHOLDS = np.arange(0.2, 0.81, 0.05)
#: A strictness of 0 lowers the threshold by this, from the best one; a strictness of 1 raises it by this.
_STRICTNESS_SPAN = 0.35
#: Number of the features from ``_pixel_features`` that describe the position; the others describe the appearance.
_PLACE_COLUMNS = 6
MODES = ("position", "appearance", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaModel:
    """A fitted predictor of the area where a concept may appear.

    ``iou`` is the mean intersection over union with left-out canvases; None if there was a single canvas.
    """

    mode: str
    iou: float | None
    threshold: float
    mean: Floats
    scale: Floats
    weights: Floats
    channels: int

    def likelihood(self, picture: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return the likelihood of each pixel of the reduced picture (``reduced_scale``), from 0 to 255, [h, w]."""
        if self.mode == "anywhere":
            return np.full(reduced_shape(*picture.shape[:2]), 255, np.uint8)
        raw = _pixel_features(picture, self.channels)
        hidden = _hidden(_columns(raw, self.mode), self.mean, self.scale)
        guess: Floats = cv2.GaussianBlur((hidden @ self.weights).reshape(raw.shape[:2]), (0, 0), 1.0)
        return np.asarray(np.clip(np.rint(guess * 255), 0, 255), np.uint8)

    def allowed(self, likelihood: npt.NDArray[np.uint8], strictness: float) -> Bools:
        """Return the area [h, w] at a strictness from 0 (every possible pixel) to 1 (only certain pixels)."""
        threshold = np.clip(self.threshold + (strictness - 0.5) * 2 * _STRICTNESS_SPAN, 0.02, 0.98)
        return np.asarray(likelihood >= threshold * 255)


#: The model of a study whose canvases predict nothing: every pixel is allowed.
ANYWHERE = AreaModel(
    mode="anywhere",
    iou=None,
    threshold=0.5,
    mean=np.zeros(0, np.float32),
    scale=np.ones(0, np.float32),
    weights=np.zeros(0, np.float32),
    channels=1,
)


def drawn_area(polygons: Sequence[Polygon], height: int, width: int) -> Bools:
    """Return the polygons of one canvas, of ``height`` by ``width`` pixels, as a mask [h, w] of the reduced picture."""
    rows, columns = reduced_shape(height, width)
    mask = np.zeros((rows, columns), np.uint8)
    for polygon in polygons:
        points = np.asarray(polygon.points, np.float64) * (columns / width, rows / height) - 0.5
        cv2.fillPoly(mask, [np.round(points * 256).astype(np.int32)], 1, shift=8)
    return mask > 0


def fit_area(canvases: Sequence[tuple[npt.NDArray[Any], Bools]]) -> AreaModel:
    """Return the best model for the canvases.

    Args:
        canvases: the picture of each canvas, and the ``drawn_area`` of its polygons; at least one canvas.
    """
    channels = min(1 if picture.ndim == 2 else 3 for picture, _ in canvases)
    looks = [_pixel_features(picture, channels) for picture, _ in canvases]
    truths = [truth.ravel().astype(np.float32) for _, truth in canvases]
    best: AreaModel | None = None
    for mode in MODES:
        model = _fit_mode(mode, looks, truths, channels)
        if best is None or (model.iou or 0.0) > (best.iou or 0.0):
            best = model
    assert best is not None
    # a model that predicts worse than "anywhere" is useless
    anywhere = float(np.mean([truth.mean() for truth in truths]))
    if len(canvases) > 1 and anywhere > (best.iou or 0.0):
        return AreaModel(**{**_fields(ANYWHERE), "iou": anywhere})
    return best


def _fit_mode(mode: str, looks: Sequence[Floats], truths: Sequence[Floats], channels: int) -> AreaModel:
    columns = [_columns(look, mode) for look in looks]
    sampled = np.concatenate([c[:: max(1, len(c) // 2000)] for c in columns])
    mean, scale = sampled.mean(axis=0), sampled.std(axis=0) + 1e-3
    hidden = [_hidden(c, mean, scale) for c in columns]
    # every canvas has the same weight, whatever its size
    grams = [(h.T @ h).astype(np.float64) / len(h) for h in hidden]
    sums = [(h.T @ t).astype(np.float64) / len(h) for h, t in zip(hidden, truths, strict=True)]
    gram, total = np.sum(grams, axis=0), np.sum(sums, axis=0)
    if len(looks) == 1:
        weights = _solve(gram, total)
        guesses = [hidden[0] @ weights]
    else:
        guesses = [h @ _solve(gram - g, total - s) for h, g, s in zip(hidden, grams, sums, strict=True)]
        weights = _solve(gram, total)
    drawn = [truth > 0 for truth in truths]
    scores = [float(np.mean([_iou(g >= cut, d) for g, d in zip(guesses, drawn, strict=True)])) for cut in _THRESHOLDS]
    best = int(np.argmax(scores))
    return AreaModel(
        mode=mode,
        iou=scores[best] if len(looks) > 1 else None,
        threshold=float(_THRESHOLDS[best]),
        mean=mean,
        scale=scale,
        weights=weights,
        channels=channels,
    )


def _solve(gram: npt.NDArray[np.float64], total: npt.NDArray[np.float64]) -> Floats:
    ridge = _RIDGE * np.trace(gram) / len(gram)
    # rounded, so that the last bits of a machine's linear algebra do not reach the picture
    return np.round(np.linalg.solve(gram + ridge * np.eye(len(gram)), total), 5).astype(np.float32)


def _iou(guess: Bools, truth: Bools) -> float:
    both = np.count_nonzero(guess & truth)
    either = np.count_nonzero(guess) + np.count_nonzero(truth) - both
    return both / either if either else 1.0


def _hidden(columns: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return the random rectified features [n, _FEATURES] of ``columns`` [n, k], which are standardized first.

    The last feature is constant. ``mean`` and ``scale`` [k] are those of the columns.
    """
    chance = np.random.default_rng(columns.shape[1])
    slopes = chance.normal(size=(columns.shape[1], _FEATURES - 1)).astype(np.float32)
    offsets = chance.normal(size=_FEATURES - 1).astype(np.float32)
    slopes /= np.float32(np.sqrt(columns.shape[1]))
    standard = np.clip((columns - mean) / scale, -4, 4)
    hidden = np.ones((len(columns), _FEATURES), np.float32)
    active = hidden[:, :-1]
    np.matmul(standard, slopes, out=active)
    active += offsets
    np.maximum(active, 0, out=active)
    return hidden


def _columns(look: Floats, mode: str) -> Floats:
    flat = look.reshape(-1, look.shape[2])
    match mode:
        case "position":
            return flat[:, :_PLACE_COLUMNS]
        case "appearance":
            return flat[:, _PLACE_COLUMNS:]
        case _:
            return flat


def _pixel_features(picture: npt.NDArray[Any], channels: int) -> Floats:
    """Return the features of each pixel of the reduced picture, [h, w, k] float32; those of the position come first."""
    height, width = picture.shape[:2]
    rows, columns = reduced_shape(height, width)
    small = (
        picture
        if (rows, columns) == (height, width)
        else cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    )
    tones = to_tones(small)
    plain = tones.mean(axis=2)
    y, x = np.meshgrid(np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32), indexing="ij")
    nearest = np.minimum(np.minimum(x, columns - 1 - x), np.minimum(y, rows - 1 - y))
    place = [
        x / columns,
        y / rows,
        np.minimum(x, columns - 1 - x),
        np.minimum(y, rows - 1 - y),
        nearest,
        np.sqrt(nearest),
    ]
    centre, deviation = float(plain.mean()), float(plain.std()) + 1.0
    near, wide, far = (cv2.blur(plain, (k, k)) for k in (3, 9, 25))
    square = plain * plain
    rough = [np.sqrt(np.maximum(cv2.blur(square, (k, k)) - m * m, 0)) for k, m in ((3, near), (9, wide), (25, far))]
    kernels = [cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k)) for k in (5, 11)]
    reach = [f for kernel in kernels for f in (cv2.dilate(plain, kernel), cv2.erode(plain, kernel))]
    appearance = [plain, (plain - centre) / deviation, near, (wide - centre) / deviation, far, *rough, *reach]
    if channels == 3:
        colour = cv2.blur(channels_as(tones, 3), (3, 3))
        appearance += [colour[:, :, c] - near for c in range(3)]
    return np.stack([*place, *appearance], axis=2).astype(np.float32)


def _fields(model: AreaModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__slots__}
