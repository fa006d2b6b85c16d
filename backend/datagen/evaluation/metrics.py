"""Figures that tell how good synthesized images are, without downloaded weights; plain functions on numpy.

Downstream precision (pixel and box AP) is the truth. Beside it, on hand-crafted features of crops: a classifier
two-sample test (Lopez-Paz & Oquab, ICLR 2017), coverage (Naeem et al., ICML 2020) and the nearest concept's distance.
None of these figures is FID, KID or LPIPS, and none is called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.intensity import channels_as, to_tones

#: Bins of a likelihood's histogram: average precision from it is exact to about a thousandth.
_BINS = 4096
#: Ridge of the two-sample classifier, per sample.
_RIDGE = 1e-2
#: Orders in which the groups are dealt to the five folds; the mean over them depends less on the luck of one.
_FOLDINGS = 5
#: Side in pixels of the crop the features see.
_CROP_PX = 48
#: Two crops whose fine texture correlates at least so much show one thing: exposures of one part reach .85 and more,
#: different parts stay under .7, whatever their shape.
_SAME_TEXTURE = 0.8
#: Pixels by which the crops of one thing may be shifted, and the blur that parts fine texture from shape.
_SHIFT_PX, _SHAPE_BLUR = 4, 3.0


class PixelScore:
    """Average precision over all pixels of many images, without holding them."""

    def __init__(self) -> None:
        self._positive = np.zeros(_BINS, np.int64)
        self._negative = np.zeros(_BINS, np.int64)

    def add(self, likelihood: npt.NDArray[Any], truth: npt.NDArray[np.bool_]) -> None:
        """One image: likelihood 0 to 1 and the true mask, both [h, w]."""
        bins = np.clip((likelihood * _BINS).astype(np.int64), 0, _BINS - 1)
        self._positive += np.bincount(bins[truth], minlength=_BINS)
        self._negative += np.bincount(bins[~truth], minlength=_BINS)

    def average_precision(self) -> float:
        """The area under precision over recall (step-wise, as scikit-learn's); 0 where nothing is positive."""
        hits = np.cumsum(self._positive[::-1])
        calls = hits + np.cumsum(self._negative[::-1])
        if not hits[-1]:
            return 0.0
        gained = self._positive[::-1] / hits[-1]
        return float((gained * hits / np.maximum(calls, 1)).sum())


class BoxScore:
    """Average precision of boxes at an intersection over union, over many images."""

    def __init__(self, iou: float = 0.5) -> None:
        self._iou = iou
        self._calls: list[tuple[float, bool]] = []
        self._truths = 0

    def add(self, found: Sequence[tuple[Box, float]], truths: Sequence[Box]) -> None:
        """One image: the boxes found with their scores, and the true ones. Each true box can be hit once."""
        free = list(truths)
        self._truths += len(free)
        for box, score in sorted(found, key=lambda one: -one[1]):
            overlaps = [box_iou(box, truth) for truth in free]
            hit = bool(overlaps) and max(overlaps) >= self._iou
            if hit:
                free.pop(int(np.argmax(overlaps)))
            self._calls.append((score, hit))

    def average_precision(self) -> float:
        """The area under precision over recall, precision made monotone; 0 where nothing is to be found."""
        if not self._truths or not self._calls:
            return 0.0
        hits = np.cumsum([hit for _, hit in sorted(self._calls, key=lambda one: -one[0])])
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((np.diff(hits / self._truths, prepend=0.0) * precision).sum())


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(one.right, other.right) - max(one.x, other.x)
    down = min(one.bottom, other.bottom) - max(one.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    return both / (one.area + other.area - both)


def mask_iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def found_boxes(likelihood: npt.NDArray[Any], threshold: float = 0.5) -> list[tuple[Box, float]]:
    """The connected parts of a likelihood map above a threshold, as boxes with their highest likelihood."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats((likelihood > threshold).astype(np.uint8))
    found = []
    for part in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[part])
        if area >= 4:
            window = parts[y : y + h, x : x + w] == part
            found.append((Box(x, y, w, h), float(likelihood[y : y + h, x : x + w][window].max())))
    return found


def crop_round(image: npt.NDArray[Any], box: Box, side: float) -> npt.NDArray[np.float32]:
    """The square of ``side`` pixels round a box's middle, mirrored beyond borders, as tones [48, 48, c]."""
    half = int(np.ceil(side / 2))
    x, y = int(box.x + box.width / 2), int(box.y + box.height / 2)
    top, left = max(0, y - half), max(0, x - half)
    cut = to_tones(image[top : y + half, left : x + half])
    pads = (
        (max(0, half - y), max(0, y + half - image.shape[0])),
        (max(0, half - x), max(0, x + half - image.shape[1])),
    )
    cut = np.pad(cut, (*pads, (0, 0)), mode="symmetric" if min(cut.shape[:2]) > 1 else "edge")
    method = cv2.INTER_AREA if side > _CROP_PX else cv2.INTER_LINEAR
    small = cv2.resize(cut, (_CROP_PX, _CROP_PX), interpolation=method)
    return np.asarray(small.reshape(_CROP_PX, _CROP_PX, -1), np.float32)


def features(crop: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Hand-crafted features of a crop: tones in rings, gradients by direction and ring, texture, spectrum."""
    tones = channels_as(crop, 3)
    plain = tones.mean(axis=2)
    side = plain.shape[0]
    ys, xs = np.indices(plain.shape)
    radius = np.hypot(ys - side / 2 + 0.5, xs - side / 2 + 0.5) / (side / 2)
    rings = [(radius >= a) & (radius < b) for a, b in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.5))]
    found: list[float] = []
    for ring in rings:
        for channel in range(3):
            values = tones[:, :, channel][ring]
            found += [values.mean(), values.std(), *np.quantile(values, (0.05, 0.95))]
    dx, dy = cv2.Sobel(plain, cv2.CV_32F, 1, 0), cv2.Sobel(plain, cv2.CV_32F, 0, 1)
    strength, direction = np.hypot(dx, dy), (np.arctan2(dy, dx) % np.pi) / np.pi * 6
    for ring in rings[:3]:
        found += [float(strength[ring & (direction.astype(int) == k)].sum() / ring.sum()) for k in range(6)]
        found += [*np.quantile(strength[ring], (0.5, 0.9, 0.99))]
    for k in (3, 5, 9):
        rough = np.abs(plain - cv2.blur(plain, (k, k)))
        found += [float(rough[ring].mean()) for ring in rings]
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(plain - plain.mean())))
    found += [float(np.log1p(spectrum[(radius >= a / 8) & (radius < (a + 1) / 8)].mean())) for a in range(8)]
    return np.asarray(found, np.float32)


def things(crops: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    """Which crops show one and the same thing, photographed again: a number for each, equal where they do.

    Judged by the fine texture, that no two things share, wherever it lies within a few pixels: photographs of a part at
    several exposures are one thing, two round holes are not.

    Args:
        crops: as ``crop_round`` makes them, [48, 48, c].
    """
    size = 2 ** int(np.ceil(np.log2(_CROP_PX + 2 * _SHIFT_PX)))
    whole, inner = [], []
    for crop in crops:
        plain = np.ascontiguousarray(crop.mean(axis=2))
        fine = plain - cv2.GaussianBlur(plain, (0, 0), _SHAPE_BLUR)
        fine = (fine - fine.mean()) / (fine.std() + 1e-6)
        whole.append(np.fft.rfft2(fine, (size, size)).astype(np.complex64))
        inner.append(np.fft.rfft2(fine[_SHIFT_PX:-_SHIFT_PX, _SHIFT_PX:-_SHIFT_PX], (size, size)).astype(np.complex64))
    number = list(range(len(crops)))
    patterns = np.conj(np.stack(inner)) if inner else np.zeros(0)
    area = (_CROP_PX - 2 * _SHIFT_PX) ** 2
    for at, one in enumerate(whole):
        likeness = np.fft.irfft2(one * patterns, (size, size))[:, : 2 * _SHIFT_PX + 1, : 2 * _SHIFT_PX + 1] / area
        for other in np.flatnonzero(likeness.max(axis=(1, 2)) >= _SAME_TEXTURE):
            kept, gone = sorted((number[at], number[int(other)]))
            number = [kept if n == gone else n for n in number]
    return number


def c2st_auroc(
    real: npt.NDArray[np.float32], made: npt.NDArray[np.float32], groups_real: Sequence[str], groups_made: Sequence[str]
) -> float:
    """How well a linear classifier tells made from real on groups it has not seen; 0.5 is not at all.

    Args:
        real, made: features [n, k].
        groups_real, groups_made: the thing each shows; one thing, real or made, is never split between learning and
            judging. Exposures of one part left in several folds would teach the classifier the parts instead.
    """
    both = np.concatenate([real, made]).astype(np.float64)
    truth = np.concatenate([np.zeros(len(real)), np.ones(len(made))])
    names = [*groups_real, *groups_made]
    found = [_folded_auroc(both, truth, names, order) for order in range(_FOLDINGS)]
    judged = [auroc for auroc in found if auroc is not None]
    return float(np.mean(judged)) if judged else 0.5


def _folded_auroc(
    both: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], names: Sequence[str], seed: int
) -> float | None:
    order = np.random.default_rng(seed).permutation(sorted(set(names)))
    fold_of = {name: n % 5 for n, name in enumerate(order)}
    folds = np.array([fold_of[name] for name in names])
    guesses = np.zeros(len(both))
    for fold in range(5):
        seen, held = folds != fold, folds == fold
        if not held.any() or len(set(truth[seen])) < 2:
            continue
        mean, scale = both[seen].mean(axis=0), both[seen].std(axis=0) + 1e-9
        x = np.clip((both - mean) / scale, -5, 5)
        guesses[held] = _ridge_classifier(x[seen], truth[seen], x[held])
    # ranks within folds: the folds' classifiers have scales of their own
    scores = [_auroc(guesses[folds == f], truth[folds == f]) for f in range(5)]
    weights = [int((truth[folds == f] == 0).sum() * (truth[folds == f] == 1).sum()) for f in range(5)]
    return float(np.average(scores, weights=weights)) if sum(weights) else None


def coverage(real: npt.NDArray[np.float32], made: npt.NDArray[np.float32], nearest: int = 5) -> float:
    """The share of real samples with a made one within the distance of their own ``nearest``-th real neighbour."""
    mean, scale = real.mean(axis=0), real.std(axis=0) + 1e-9
    a, b = (real - mean) / scale, (made - mean) / scale
    own = np.sort(_distances(a, a), axis=1)[:, min(nearest, len(a) - 1)]
    return float((_distances(a, b).min(axis=1) <= own).mean())


def nearest_distance(real: npt.NDArray[np.float32], made: npt.NDArray[np.float32]) -> float:
    """How near, on the median, a made sample lies to its nearest real one, in the median distance between real ones."""
    mean, scale = real.mean(axis=0), real.std(axis=0) + 1e-9
    a, b = (real - mean) / scale, (made - mean) / scale
    among = _distances(a, a)
    typical = float(np.median(among[np.triu_indices(len(a), 1)])) if len(a) > 1 else 1.0
    return float(np.median(_distances(b, a).min(axis=1))) / max(typical, 1e-9)


def _ridge_classifier(
    x: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], unseen: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Logistic regression by Newton's steps with a ridge; classes weigh alike."""
    x1, u1 = (np.hstack([v, np.ones((len(v), 1))]) for v in (x, unseen))
    weights = np.zeros(x1.shape[1])
    balance = np.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    ridge = _RIDGE * len(x) * np.eye(len(weights))
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(x1 @ weights, -30, 30)))
        slope = x1.T @ (balance * (p - truth)) + ridge @ weights
        curve = (x1 * (balance * p * (1 - p) + 1e-6)[:, None]).T @ x1 + ridge
        weights -= np.linalg.solve(curve, slope)
    return np.asarray(u1 @ weights)


def _auroc(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    positive, negative = scores[truth > 0], scores[truth == 0]
    if not len(positive) or not len(negative):
        return 0.5
    return float((positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean())


def _distances(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(square, 0)), np.float64)
