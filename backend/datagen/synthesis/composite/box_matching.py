"""Box matching: finds on a new photo what looks like the boxes drawn so far.

Square windows of several sizes are laid over a photo in a grid. Each window is described by the tones, edges and
textures of its middle and of the rings round it, which do not change when the object is turned. Randomized trees
(Geurts et al. 2006) learn from the photos with drawn boxes which windows hold an object; the windows beside the boxes
and those of the backgrounds are the counterexamples. On a new photo, the best windows that do not overlap are the
boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools, Floats, channels_as, to_tones

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

#: Side of a window in the resized photo, in pixels. A photo is never enlarged, so that small windows have fewer.
_WINDOW_PX = 12.0
#: Distance of neighbouring windows, as a share of their side.
_STEP = 0.2
#: Number of sizes of windows, and the quantiles of the drawn boxes' sides between which the sizes lie.
_SIZES, _SIZE_QUANTILES = 5, (0.1, 0.9)
#: Standard widths of the pooled surroundings, as shares of a window's side.
_POOLS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: A window is an example if its IoU with a box is at least this share of the best window's; a counterexample if its IoU
#: with every box is less than ``_BESIDE``. The others are not used.
_NEAR_BEST, _BESIDE = 0.85, 0.3
#: Number of trees, and of counterexamples that are drawn from one photo and size.
_TREES, _COUNTEREXAMPLES = 60, 400
#: Two boxes that overlap by more than this are the same object.
_SAME = 0.2


@dataclass(frozen=True, slots=True)
class _Size:
    """A size of windows: width and height in pixels of the photo, and the side of the square that is described."""

    width: float
    height: float
    side: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxMatcher:
    """Finds the boxes of one label on a photo."""

    trees: ExtraTreesClassifier
    sizes: tuple[_Size, ...]

    def find(self, picture: Picture, most: int) -> tuple[tuple[Box, float], ...]:
        """Return at most ``most`` boxes on a photo that do not overlap, each with its score 0 to 1, the best first."""
        boxes: list[Floats] = []
        scores: list[Floats] = []
        for size in self.sizes:
            features, at = _described(picture, size)
            boxes.append(at)
            scores.append(self.trees.predict_proba(features)[:, 1])
        return _best_apart(np.concatenate(boxes), np.concatenate(scores), most)


def learn_matcher(
    photos: Sequence[tuple[Picture, Sequence[Box], Sequence[Box]]], backgrounds: Sequence[Picture]
) -> BoxMatcher:
    """Return the matcher of a label.

    Args:
        photos: photos, each with the boxes of the label, at least one in all, and those of the other labels.
        backgrounds: photos without an object of any label.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # a heavy package, which the web process does not need

    drawn = [box for _, own, _ in photos for box in own]
    sizes = _sizes(drawn)
    chance = np.random.default_rng(0)
    rows: list[Floats] = []
    weights: list[Floats] = []
    truths: list[Bools] = []
    examples: dict[tuple[int, int], list[tuple[Floats, Floats]]] = {}
    for number, (picture, own, others) in enumerate([*photos, *((b, (), ()) for b in backgrounds)]):
        for size in sizes:
            features, at = _described(picture, size)
            overlaps = np.stack([_iou(at, box) for box in (*own, *others)]) if own or others else np.zeros((1, len(at)))
            for n in range(len(own)):
                examples.setdefault((number, n), []).append((features, overlaps[n]))
            beside = np.flatnonzero((overlaps < _BESIDE).all(axis=0))
            near = beside[(overlaps[:, beside] > 0.02).any(axis=0)]
            chosen = np.unique(np.concatenate([chance.permutation(beside)[:_COUNTEREXAMPLES], near]))
            rows.append(features[chosen])
            truths.append(np.zeros(len(chosen), bool))
    for of_box in examples.values():
        best = max(float(overlap.max(initial=0)) for _, overlap in of_box)
        found = np.concatenate([features[overlap >= _NEAR_BEST * best] for features, overlap in of_box])
        rows.append(found)
        truths.append(np.ones(len(found), bool))
        weights.append(np.full(len(found), 1 / len(found)))
    truth = np.concatenate(truths)
    weight = np.full(len(truth), len(examples) / np.count_nonzero(~truth))
    weight[truth] = np.concatenate(weights)
    trees = ExtraTreesClassifier(n_estimators=_TREES, min_samples_leaf=3, max_features=0.3, random_state=0, n_jobs=1)
    trees.fit(np.concatenate(rows), truth, sample_weight=weight / weight.mean())
    return BoxMatcher(trees=trees, sizes=sizes)


def _sizes(drawn: Sequence[Box]) -> tuple[_Size, ...]:
    sides = np.array([np.sqrt(box.width * box.height) for box in drawn])
    stretch = float(np.sqrt(np.exp(np.median([np.log(box.width / box.height) for box in drawn]))))
    low, high = (max(float(v), 4.0) for v in np.quantile(sides, _SIZE_QUANTILES))
    count = int(np.clip(np.ceil(np.log(high / low) / np.log(1.3)) + 1, 1, _SIZES))
    return tuple(_Size(side * stretch, side / stretch, side) for side in np.geomspace(low, high, count))


def _described(picture: Picture, size: _Size) -> tuple[Floats, Floats]:
    """Return the features [n, k] of the windows of a size, and their boxes [n, 4] (left, top, right, bottom)."""
    height, width = picture.shape[:2]
    shrink = min(1.0, _WINDOW_PX / size.side)
    small = cv2.resize(
        picture, (max(1, round(width * shrink)), max(1, round(height * shrink))), interpolation=cv2.INTER_AREA
    )
    side = size.side * shrink
    step = max(1, round(_STEP * side))
    rows, columns = np.arange(step // 2, small.shape[0], step), np.arange(step // 2, small.shape[1], step)
    features = np.stack([m[rows][:, columns].ravel() for m in _maps(channels_as(to_tones(small), 3), side)], axis=1)
    ys, xs = (
        axis.ravel()
        for axis in np.meshgrid(
            (rows + 0.5) * height / small.shape[0], (columns + 0.5) * width / small.shape[1], indexing="ij"
        )
    )
    half_w, half_h = size.width / 2, size.height / 2
    boxes = np.stack([xs - half_w, ys - half_h, xs + half_w, ys + half_h], axis=1)
    np.clip(boxes, 0, [width, height, width, height], out=boxes)
    return features, boxes


def _maps(tones: Floats, side: float) -> Iterator[Floats]:
    """Yield maps [h, w] of features of the window round each pixel; ``side`` is the window's, in pixels."""
    grey = tones.mean(axis=2)
    channels = [grey, tones[:, :, 0] - grey, tones[:, :, 2] - grey]
    typical = [float(np.median(channel)) for channel in channels]
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    energies = [cv2.magnitude(dx, dy)]
    for channel, middle in zip(channels, typical, strict=True):
        pooled = [_pool(channel, width * side) for width in _POOLS]
        yield pooled[0] - middle
        yield from (inner - outer for inner, outer in pairwise(pooled))
    for energy in energies:
        pooled = [_pool(energy, width * side) for width in _POOLS[:4]]
        yield from pooled
        yield from (inner - outer for inner, outer in pairwise(pooled))
    for width in _POOLS[1:4]:
        mean = _pool(grey, width * side)
        yield np.sqrt(np.maximum(_pool(grey * grey, width * side) - mean * mean, 0))
    xx, yy, xy = (_pool(product, 0.7 * side) for product in (dx * dx, dy * dy, dx * dy))
    yield np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1)  # coherence of the edges' directions


def _pool(values: Floats, width: float) -> Floats:
    """Return the mean of the surroundings of about ``width`` pixels of each pixel: two box filters, a triangle."""
    extent = max(1, 2 * round(width / 3) + 1)
    once = cv2.blur(values, (extent, extent), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, (extent, extent), borderType=cv2.BORDER_REFLECT))


def _iou(boxes: Floats, box: Box | Any) -> Floats:
    """Return the intersection over union of each of ``boxes`` [n, 4] with a box."""
    left, top, right, bottom = (box.x, box.y, box.right, box.bottom) if isinstance(box, Box) else box
    across = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
    down = np.minimum(boxes[:, 3], bottom) - np.maximum(boxes[:, 1], top)
    both = np.maximum(across, 0) * np.maximum(down, 0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.asarray(both / (areas + (right - left) * (bottom - top) - both))


def _best_apart(boxes: Floats, scores: Floats, most: int) -> tuple[tuple[Box, float], ...]:
    left = scores.copy()
    found: list[tuple[Box, float]] = []
    while len(found) < most:
        best = int(left.argmax())
        if left[best] <= 0:
            break
        x, y, right, bottom = (float(v) for v in boxes[best])
        found.append((Box(x, y, right - x, bottom - y), float(left[best])))
        left[_iou(boxes, boxes[best]) > _SAME] = 0
        # windows inside or round it
    return tuple(found)
