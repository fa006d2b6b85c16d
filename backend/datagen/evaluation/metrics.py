"""Quality metrics for synthesized images, as plain functions on numpy without downloaded weights.

The primary metric is the precision of a downstream model (pixel and box AP). Additional metrics use hand-crafted
features of crops: a classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017), coverage (Naeem et al., ICML 2020) and
the distance to the nearest concept. None of these metrics is FID, KID or LPIPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from datagen.domain.geometry import Box
from datagen.synthesis.intensity import channels_as, to_tones

#: Number of bins of a likelihood's histogram. Average precision that is computed from it is accurate to about 0.001.
_BINS = 4096
#: Weight of the ridge penalty of the two-sample classifier, per sample.
_RIDGE = 1e-2
#: Number of random assignments of groups to the five folds. The mean over them varies less than a single result.
_FOLDINGS = 5
#: Side in pixels of the crop from which features are computed.
_CROP_PX = 48
#: Smallest correlation of fine texture for two crops to count as the same object. Exposures of one part correlate by at
#: least 0.85; different parts correlate by less than 0.7, whatever their shape.
_SAME_TEXTURE = 0.8
#: Largest shift between crops of the same object, and sigma of the blur that separates fine texture from shape; pixels.
_SHIFT_PX, _SHAPE_BLUR = 4, 3.0


class PixelScore:
    """Average precision over all pixels of many images. The images are not kept in memory."""

    def __init__(self) -> None:
        self._positive = np.zeros(_BINS, np.int64)
        self._negative = np.zeros(_BINS, np.int64)

    def add(self, likelihood: npt.NDArray[Any], truth: npt.NDArray[np.bool_]) -> None:
        """Add one image: the likelihood from 0 to 1 and the true mask, both [h, w]."""
        bins = np.clip((likelihood * _BINS).astype(np.int64), 0, _BINS - 1)
        self._positive += np.bincount(bins[truth], minlength=_BINS)
        self._negative += np.bincount(bins[~truth], minlength=_BINS)

    def average_precision(self) -> float:
        """Return the area under the curve of precision over recall, in steps as in scikit-learn.

        Return 0 if no pixel is true.
        """
        hits = np.cumsum(self._positive[::-1])
        calls = hits + np.cumsum(self._negative[::-1])
        if not hits[-1]:
            return 0.0
        gained = self._positive[::-1] / hits[-1]
        return float((gained * hits / np.maximum(calls, 1)).sum())


class BoxScore:
    """Average precision of boxes at a threshold of intersection over union, over many images."""

    def __init__(self, iou: float = 0.5) -> None:
        self._iou = iou
        self._calls: list[tuple[float, bool]] = []
        self._truths = 0

    def add(self, detections: Sequence[tuple[Box, float]], truths: Sequence[Box]) -> None:
        """Add one image: the detected boxes with their scores, and the true boxes. Each true box is matched once."""
        free = list(truths)
        self._truths += len(free)
        for box, score in sorted(detections, key=lambda scored: -scored[1]):
            overlaps = [box_iou(box, truth) for truth in free]
            hit = bool(overlaps) and max(overlaps) >= self._iou
            if hit:
                free.pop(int(np.argmax(overlaps)))
            self._calls.append((score, hit))

    def average_precision(self) -> float:
        """Return the area under the curve of precision over recall, with precision made monotone.

        Return 0 if there are no true boxes or no detected boxes.
        """
        if not self._truths or not self._calls:
            return 0.0
        hits = np.cumsum([hit for _, hit in sorted(self._calls, key=lambda scored: -scored[0])])
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((np.diff(hits / self._truths, prepend=0.0) * precision).sum())


def box_iou(box: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    across = min(box.right, other.right) - max(box.x, other.x)
    down = min(box.bottom, other.bottom) - max(box.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    return both / (box.area + other.area - both)


def mask_iou(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks; 1 if both are empty."""
    either = int((mask | other).sum())
    return int((mask & other).sum()) / either if either else 1.0


def found_boxes(likelihood: npt.NDArray[Any], threshold: float = 0.5) -> list[tuple[Box, float]]:
    """Return a box for each connected part of a likelihood map [h, w] above a threshold, with its highest likelihood.

    Parts of fewer than 4 pixels are left out.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats((likelihood > threshold).astype(np.uint8))
    boxes = []
    for part in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[part])
        if area >= 4:
            window = parts[y : y + h, x : x + w] == part
            boxes.append((Box(x, y, w, h), float(likelihood[y : y + h, x : x + w][window].max())))
    return boxes


def crop_round(image: npt.NDArray[Any], box: Box, side: float) -> npt.NDArray[np.float32]:
    """Return a crop of an image round the centre of a box, as tones [48, 48, c].

    The crop is a square of ``side`` pixels, scaled to 48. Beyond the image's borders the image is mirrored.
    """
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
    """Return hand-crafted features of a crop [48, 48, c], as a vector.

    They are the tones in rings round the centre, the gradients by direction and ring, the texture, and the spectrum.
    """
    tones = channels_as(crop, 3)
    plain = tones.mean(axis=2)
    side = plain.shape[0]
    ys, xs = np.indices(plain.shape)
    radius = np.hypot(ys - side / 2 + 0.5, xs - side / 2 + 0.5) / (side / 2)
    rings = [(radius >= a) & (radius < b) for a, b in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.5))]
    vector: list[float] = []
    for ring in rings:
        for channel in range(3):
            values = tones[:, :, channel][ring]
            vector += [values.mean(), values.std(), *np.quantile(values, (0.05, 0.95))]
    dx, dy = cv2.Sobel(plain, cv2.CV_32F, 1, 0), cv2.Sobel(plain, cv2.CV_32F, 0, 1)
    strength, direction = np.hypot(dx, dy), (np.arctan2(dy, dx) % np.pi) / np.pi * 6
    for ring in rings[:3]:
        vector += [float(strength[ring & (direction.astype(int) == k)].sum() / ring.sum()) for k in range(6)]
        vector += [*np.quantile(strength[ring], (0.5, 0.9, 0.99))]
    for k in (3, 5, 9):
        rough = np.abs(plain - cv2.blur(plain, (k, k)))
        vector += [float(rough[ring].mean()) for ring in rings]
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(plain - plain.mean())))
    vector += [float(np.log1p(spectrum[(radius >= a / 8) & (radius < (a + 1) / 8)].mean())) for a in range(8)]
    return np.asarray(vector, np.float32)


def object_groups(crops: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    """Return a group number for each crop; crops that show the same object have equal numbers.

    Crops are compared by their fine texture, which is unique to an object, at shifts of a few pixels. Photos of one
    part at several exposures show the same object. Photos of two round holes do not, although the shape is the same.

    Args:
        crops: output of ``crop_round``, [48, 48, c].
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
    for index, spectrum in enumerate(whole):
        likeness = np.fft.irfft2(spectrum * patterns, (size, size))[:, : 2 * _SHIFT_PX + 1, : 2 * _SHIFT_PX + 1] / area
        for other in np.flatnonzero(likeness.max(axis=(1, 2)) >= _SAME_TEXTURE):
            group, merged = sorted((number[index], number[int(other)]))
            number = [group if n == merged else n for n in number]
    return number


def c2st_auroc(
    real: npt.NDArray[np.float32],
    synthetic: npt.NDArray[np.float32],
    groups_real: Sequence[str],
    groups_made: Sequence[str],
) -> float:
    """Return how well a linear classifier distinguishes synthesized from real samples, as AUROC on unseen groups.

    0.5 is chance: the classifier cannot distinguish them.

    Args:
        real, synthetic: features of the real and of the synthesized samples, [n, k] and [m, k].
        groups_real, groups_made: the name of the object that each sample shows. All samples of one object are in the
            same fold. Otherwise the classifier would recognize the objects of the test fold from the training folds.
    """
    both = np.concatenate([real, synthetic]).astype(np.float64)
    truth = np.concatenate([np.zeros(len(real)), np.ones(len(synthetic))])
    names = [*groups_real, *groups_made]
    aurocs = [_folded_auroc(both, truth, names, order) for order in range(_FOLDINGS)]
    valid = [auroc for auroc in aurocs if auroc is not None]
    return float(np.mean(valid)) if valid else 0.5


def _folded_auroc(
    both: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], names: Sequence[str], seed: int
) -> float | None:
    order = np.random.default_rng(seed).permutation(sorted(set(names)))
    fold_of = {name: n % 5 for n, name in enumerate(order)}
    folds = np.array([fold_of[name] for name in names])
    guesses = np.zeros(len(both))
    for fold in range(5):
        train, test = folds != fold, folds == fold
        if not test.any() or len(set(truth[train])) < 2:
            continue
        mean, scale = both[train].mean(axis=0), both[train].std(axis=0) + 1e-9
        x = np.clip((both - mean) / scale, -5, 5)
        guesses[test] = _ridge_classifier(x[train], truth[train], x[test])
    # ranks are compared within folds only, because the scores of different classifiers have different scales
    scores = [_auroc(guesses[folds == f], truth[folds == f]) for f in range(5)]
    weights = [int((truth[folds == f] == 0).sum() * (truth[folds == f] == 1).sum()) for f in range(5)]
    return float(np.average(scores, weights=weights)) if sum(weights) else None


def coverage(real: npt.NDArray[np.float32], synthetic: npt.NDArray[np.float32], nearest: int = 5) -> float:
    """Return the share of real samples that have a synthesized sample in their neighbourhood, 0 to 1.

    The neighbourhood of a real sample reaches to its ``nearest``-th nearest real sample. Features are [n, k].
    """
    mean, scale = real.mean(axis=0), real.std(axis=0) + 1e-9
    a, b = (real - mean) / scale, (synthetic - mean) / scale
    own = np.sort(cdist(a, a), axis=1)[:, min(nearest, len(a) - 1)]
    return float((cdist(a, b).min(axis=1) <= own).mean())


def nearest_distance(real: npt.NDArray[np.float32], synthetic: npt.NDArray[np.float32]) -> float:
    """Return a ratio of two median distances between samples, given by their features [n, k].

    The first is the median distance from a synthesized sample to its nearest real sample. It is divided by the median
    distance of all pairs of real samples. Features are standardized before.
    """
    mean, scale = real.mean(axis=0), real.std(axis=0) + 1e-9
    a, b = (real - mean) / scale, (synthetic - mean) / scale
    among = cdist(a, a)
    typical = float(np.median(among[np.triu_indices(len(a), 1)])) if len(a) > 1 else 1.0
    return float(np.median(cdist(b, a).min(axis=1))) / max(typical, 1e-9)


def _ridge_classifier(
    x: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], unseen: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the scores of the samples ``unseen`` [m, k] by a logistic regression with a ridge penalty.

    The regression is fitted to ``x`` [n, k] and ``truth`` [n] (0 or 1) by Newton's method, with balanced class weights.
    """
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
