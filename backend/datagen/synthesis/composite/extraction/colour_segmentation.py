"""Colour segmentation: separates the concept from its surroundings by tones that occur in the box and hardly outside.

The pixels outside the box show the surroundings, and those in the box show the concept and the surroundings mixed. If
``p_in`` and ``p_out`` are the densities of the tones inside and outside, a pixel belongs to the concept with
probability ``1 - share * p_out / p_in``, where ``share`` is the share of the box that is surroundings (learning from
positive and unlabelled samples, Elkan and Noto 2008). The share is at most 1 and is taken as 1, so that a tone must be
more frequent inside than outside. Stones and soil in the box of a plant therefore do not count, whatever their
contrast, and neither shape nor number of parts is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.intensity import Bools, Floats, spread

#: Blur in pixels of the tones that are compared, and of the probabilities.
_TONES_BLUR, _SMOOTH = 0.7, 0.8
#: Bins of the densities along each feature, by the number of features, and the blur of the densities in bins.
_BINS = {2: 48, 3: 24}
_DENSITY_BLUR = 1.1
#: Range of a feature, in deviations of the surroundings, beyond which tones fall into the outermost bins.
_RANGE = 6.0
#: Minimum number of pixels inside and outside the box for a density.
_MIN_PIXELS = 80
#: A hue is clear if it differs by at least this many tones and this many deviations of the surroundings' hues, and if
#: 90 % of the surroundings differ by at most this share of it.
_HUE_MIN, _CLEAR_HUE, _WORST_HUE = 10.0, 4.0, 0.35


def concept_probability(tones: Floats, clean: Floats, inside: Bools, outside: Bools) -> Floats | None:
    """Return the probability, [h, w] in 0..1, that a pixel has the concept's tones; None for too few pixels.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        clean: the same window without the concept.
        inside: true inside the box, [h, w].
        outside: true on pixels without any concept, [h, w].
    """
    if np.count_nonzero(inside) < _MIN_PIXELS or np.count_nonzero(outside) < _MIN_PIXELS:
        return None
    bins = _binned(_features(tones, clean), outside)
    side = int(bins.max()) + 1
    dimensions = bins.shape[2]
    flat = np.ravel_multi_index(tuple(np.moveaxis(bins, 2, 0)), (side,) * dimensions)
    p_in, p_out = (_density(flat[where], side, dimensions) for where in (inside, outside))
    probability = np.clip(1 - p_out / np.maximum(p_in, 1e-12), 0, 1)[flat].astype(np.float32)
    return np.asarray(cv2.GaussianBlur(probability, (0, 0), _SMOOTH))


@dataclass(frozen=True, slots=True, kw_only=True)
class HueDifference:
    """How far a pixel's hue lies from that of the surroundings, towards the concept's: ``difference`` [h, w] in tones.

    ``noise`` is the deviation of the surroundings, and ``worst`` their 90th percentile.
    """

    difference: Floats
    noise: float
    worst: float


def hue_difference(tones: Floats, concept: Bools, outside: Bools) -> HueDifference | None:
    """Return the difference in hue from the surroundings; None if the concept has no clear hue of its own.

    Hue is what remains of a pixel's channels without their mean; lightness does not count.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        concept: pixels that are the concept for the most part, [h, w].
        outside: true on pixels without any concept, [h, w].
    """
    if tones.shape[2] == 1:
        return None
    hues = cv2.GaussianBlur(tones - tones.mean(axis=2, keepdims=True), (0, 0), _TONES_BLUR)
    middle = np.median(hues[outside], axis=0)
    axis = np.median(hues[concept], axis=0) - middle
    length = float(np.linalg.norm(axis))
    if length < _HUE_MIN:
        return None
    along = (hues - middle) @ (axis / length)
    noise, worst = spread(along[outside]), float(np.quantile(np.abs(along[outside]), 0.9))
    if length < _CLEAR_HUE * noise or worst > _WORST_HUE * length:
        return None
    return HueDifference(difference=np.maximum(along, 0).astype(np.float32), noise=max(noise, 1.0), worst=worst)


def _features(tones: Floats, clean: Floats) -> Floats:
    """Return lightness and two opponent colours, [h, w, 3]; of grey tones, the tone and its difference, [h, w, 2]."""
    smooth = cv2.GaussianBlur(tones, (0, 0), _TONES_BLUR).reshape(tones.shape)
    red_green = smooth[:, :, 0] - smooth[:, :, -1]
    if tones.shape[2] == 1 or float(np.abs(red_green).max()) < 1:
        plain = smooth.mean(axis=2)
        return np.dstack([plain, plain - clean.mean(axis=2)])
    red, green, blue = (smooth[:, :, channel] for channel in range(3))
    return np.dstack([(red + green + blue) / 3, red - green, 0.5 * (red + green) - blue])


def _binned(features: Floats, outside: Bools) -> Floats:
    """Return the bin of every pixel along every feature, [h, w, f]."""
    count = _BINS[features.shape[2]]
    bins = np.empty(features.shape, np.intp)
    for n in range(features.shape[2]):
        feature = features[:, :, n]
        middle, deviation = float(np.median(feature[outside])), max(spread(feature[outside]), 1.0)
        # the logarithm keeps bins small near the surroundings' tones, and their number small for distant ones
        scaled = np.arcsinh((feature - middle) / deviation) / np.arcsinh(3 * _RANGE)
        bins[:, :, n] = np.clip((0.5 + 0.5 * scaled) * count, 0, count - 1).astype(np.intp)
    return bins


def _density(flat: Floats, side: int, dimensions: int) -> Floats:
    counts = np.bincount(flat, minlength=side**dimensions).reshape((side,) * dimensions).astype(np.float32)
    # the third axis lies in OpenCV's channels, and is blurred when another axis takes their place
    smooth = _blurred(counts, (_DENSITY_BLUR, _DENSITY_BLUR))
    if dimensions == 3:
        smooth = np.swapaxes(_blurred(np.swapaxes(smooth, 0, 2), (0.0, _DENSITY_BLUR)), 0, 2)
    return np.asarray((smooth / max(float(smooth.sum()), 1e-6)).ravel())


def _blurred(counts: Floats, deviations: tuple[float, float]) -> Floats:
    """Return counts blurred along their second and first axis by the two deviations, in bins; 0 leaves an axis."""
    x, y = (cv2.getGaussianKernel(2 * round(4 * d) + 1, d) if d else np.ones((1, 1)) for d in deviations)
    blurred = cv2.sepFilter2D(np.ascontiguousarray(counts), cv2.CV_32F, x, y, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)
