"""Box matching: finds on a new photo what looks like the boxes drawn so far.

Square windows of several sizes are laid over a photo in a grid. Each window is described by the tones, edges and
textures of its middle and of the rings round it, which do not change when the object is turned. Randomized trees
(Geurts et al. 2006) learn from the photos with drawn boxes which windows hold an object; the windows beside the boxes
and those of the backgrounds are the counterexamples. On a new photo, the best windows that do not overlap are the
boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ImageRef
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.intensity import Bools, Floats, channels_as, to_tones

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

#: Side of a window in the resized photo, in pixels. A photo is never enlarged, so that small windows have fewer.
_WINDOW_PX = 12.0
#: Longest side of the resized photo, in pixels; it bounds the time and memory for a photo with small objects.
_LONGEST_PX = 1024
#: Distance of neighbouring windows: this share of their side, and at least this many pixels of the resized photo.
_STEP, _STEP_PX = 0.2, 2
#: Number of sizes of windows, and the quantiles of the drawn boxes' sides between which the sizes lie.
_SIZES, _SIZE_QUANTILES = 5, (0.1, 0.9)
#: Standard widths of the pooled surroundings, as shares of a window's side.
_POOLS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: A window is an example if its IoU with a box is at least this share of the best window's; a counterexample if its IoU
#: with every box is less than ``_BESIDE``. The others are not used.
_NEAR_BEST, _BESIDE = 0.85, 0.3
#: A box that no window overlaps by this IoU is not learned from, for example one at the photo's rim.
_FITTING = 0.2
#: Number of trees.
_TREES = 60
#: Maximum number of counterexamples from one photo and size: of all of them, and of those that meet a box.
_COUNTEREXAMPLES, _NEAR_COUNTEREXAMPLES = 400, 1000
#: False boxes a photo that are accepted, and the limit of the scores of a study without backgrounds to measure it on.
FALSE_BOXES, _USUAL_LIMIT = 1.0, 0.4
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
    #: boxes have a higher score than this
    limit: float = 0.0

    def find(self, picture: Picture, most: int) -> tuple[tuple[Box, float], ...]:
        """Return at most ``most`` boxes on a photo that do not overlap, each with its score 0 to 1, the best first."""
        boxes: list[Floats] = []
        scores: list[Floats] = []
        for size in self.sizes:
            features, at = _described(picture, size)
            boxes.append(at)
            scores.append(self.trees.predict_proba(features)[:, 1])
        return _best_apart(np.concatenate(boxes), np.concatenate(scores), most, self.limit)


def learn_matcher(
    photos: Sequence[tuple[ImageRef, Sequence[Box], Sequence[Box]]],
    backgrounds: Sequence[ImageRef],
    held_out: Sequence[ImageRef],
    pictures: Pictures,
) -> BoxMatcher | None:
    """Return the matcher of a label; None if no window fits a box, or if none lies beside the boxes.

    Args:
        photos: photos, each with the boxes of the label (at least one in all), and those of the other labels.
        backgrounds: photos without an object of any label.
        held_out: other such photos, on which the limit of the scores is measured: FALSE_BOXES a photo are above it.
        pictures: the source of pixels; one photo at a time is kept in memory.

    Raises:
        BadPicture: a picture does not decode.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # a heavy package, which the web process does not need

    drawn = [box for _, own, _ in photos for box in own]
    sizes = _sizes(drawn)
    chance = np.random.default_rng(0)
    rows: list[Floats] = []
    weights: list[Floats] = []
    truths: list[Bools] = []
    examples: dict[tuple[int, int], list[tuple[Floats, Floats]]] = {}
    for number, (photo, own, others) in enumerate([*photos, *((ref, (), ()) for ref in backgrounds)]):
        picture = pictures.load(photo)
        for size in sizes:
            features, at = _described(picture, size)
            overlaps = np.stack([_iou(at, box) for box in (*own, *others)]) if own or others else np.zeros((1, len(at)))
            for n in range(len(own)):
                fitting = overlaps[n] >= _FITTING
                examples.setdefault((number, n), []).append((features[fitting], overlaps[n][fitting]))
            beside = np.flatnonzero((overlaps < _BESIDE).all(axis=0))
            near = beside[(overlaps[:, beside] > 0).any(axis=0)]
            chosen = np.unique(
                np.concatenate(
                    [chance.permutation(beside)[:_COUNTEREXAMPLES], chance.permutation(near)[:_NEAR_COUNTEREXAMPLES]]
                )
            )
            rows.append(features[chosen])
            truths.append(np.zeros(len(chosen), bool))
    for of_box in examples.values():
        best = max(float(overlap.max(initial=0)) for _, overlap in of_box)
        if best == 0:
            continue
        positives = np.concatenate([features[overlap >= _NEAR_BEST * best] for features, overlap in of_box])
        rows.append(positives)
        truths.append(np.ones(len(positives), bool))
        weights.append(np.full(len(positives), 1 / len(positives)))
    truth = np.concatenate(truths)
    if truth.all() or not truth.any():
        return None
    # both classes have the same weight, and so have all boxes
    weight = np.full(len(truth), len(weights) / np.count_nonzero(~truth))
    weight[truth] = np.concatenate(weights)
    trees = ExtraTreesClassifier(n_estimators=_TREES, min_samples_leaf=3, max_features=0.3, random_state=0, n_jobs=1)
    trees.fit(np.concatenate(rows), truth, sample_weight=weight / weight.mean())
    matcher = BoxMatcher(trees=trees, sizes=sizes)
    return replace(matcher, limit=_limit(matcher, held_out, pictures))


def _limit(matcher: BoxMatcher, held_out: Sequence[ImageRef], pictures: Pictures) -> float:
    """Return the lowest score that FALSE_BOXES boxes a photo exceed on photos without an object."""
    if not held_out:
        return _USUAL_LIMIT
    count = round(FALSE_BOXES * len(held_out))
    scores = sorted(
        (score for ref in held_out for _, score in matcher.find(pictures.load(ref), count + 1)), reverse=True
    )
    return scores[count] if len(scores) > count else 0.0


def _sizes(drawn: Sequence[Box]) -> tuple[_Size, ...]:
    """Return the sizes of windows for boxes: their usual ratio of width and height, and sides between their sides."""
    sides = np.array([np.sqrt(box.width * box.height) for box in drawn])
    stretch = float(np.sqrt(np.exp(np.median([np.log(box.width / box.height) for box in drawn]))))
    low, high = (max(float(v), 4.0) for v in np.quantile(sides, _SIZE_QUANTILES))
    count = int(np.clip(np.ceil(np.log(high / low) / np.log(1.3)) + 1, 1, _SIZES))
    return tuple(_Size(side * stretch, side / stretch, side) for side in np.geomspace(low, high, count))


def _described(picture: Picture, size: _Size) -> tuple[Floats, Floats]:
    """Return the features [n, k] of the windows of a size, and their boxes [n, 4] (left, top, right, bottom)."""
    height, width = picture.shape[:2]
    shrink = min(1.0, _WINDOW_PX / size.side, _LONGEST_PX / max(height, width))
    small = cv2.resize(
        picture, (max(1, round(width * shrink)), max(1, round(height * shrink))), interpolation=cv2.INTER_AREA
    )
    side = size.side * shrink
    step = max(_STEP_PX, round(_STEP * side))
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
    for channel, middle in zip(channels, typical, strict=True):
        pooled = [_pool(channel, width * side) for width in _POOLS]
        yield pooled[0] - middle
        yield from (inner - outer for inner, outer in pairwise(pooled))
    pooled = [_pool(cv2.magnitude(dx, dy), width * side) for width in _POOLS[:4]]
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


def _best_apart(boxes: Floats, scores: Floats, most: int, limit: float) -> tuple[tuple[Box, float], ...]:
    """Return at most ``most`` of the boxes [n, 4] with scores above ``limit`` that do not overlap, the best first."""
    left = scores.copy()
    scored: list[tuple[Box, float]] = []
    while len(scored) < most:
        best = int(left.argmax())
        if left[best] <= limit:
            break
        x, y, right, bottom = (float(v) for v in boxes[best])
        scored.append((Box(x, y, right - x, bottom - y), float(left[best])))
        left[_iou(boxes, boxes[best]) > _SAME] = 0
    return tuple(scored)
