"""Colour segmentation: separates the concept from its surroundings by tones that occur in the box and hardly outside.

The pixels outside the box show the surroundings. Those in the box show a mixture of concept and surroundings. Let
``p_in`` and ``p_out`` be the densities of a tone inside and outside, and ``share`` the share of the box that is
surroundings. A pixel of this tone belongs to the concept with probability ``1 - share * p_out / p_in`` (learning from
positive and unlabelled samples, Elkan and Noto 2008). ``share`` is unknown and is taken as 1, its largest possible
value. A tone must therefore be more frequent inside than outside. Stones and soil in the box of a plant do not count,
even with a high contrast. No shape and no number of parts is assumed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.intensity import Bools, Floats, plain, spread

#: Standard deviations, in pixels, of the blur of the compared tones and of the blur of the probabilities.
_TONES_BLUR, _SMOOTH = 0.7, 0.8
#: Number of bins of the densities along each feature, by the number of features; and the standard deviation of the
#: densities' blur, in bins.
_BINS = {2: 48, 3: 24}
_DENSITY_BLUR = 1.1
#: At three times this distance from the surroundings' median, in standard deviations of the surroundings, and beyond,
#: tones fall into the outermost bins.
_RANGE = 6.0
#: Minimum number of pixels inside the box, and outside it, for which densities are computed.
_MIN_PIXELS = 80
#: A concept has a clear hue if its hue differs from that of the surroundings by at least this many tones, and by at
#: least this many standard deviations of the surroundings' hues. In addition, 90 % of the surroundings must differ by
#: at most this share of that difference.
_HUE_MIN, _CLEAR_HUE, _WORST_HUE = 10.0, 4.0, 0.35


def concept_probability(tones: Floats, clean: Floats, inside: Bools, outside: Bools) -> Floats | None:
    """Return the probability, [h, w] in 0..1, that a pixel has the concept's tones.

    Return None if there are too few pixels inside or outside the box.

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
    """The distance of each pixel's hue from that of the surroundings, towards the concept's hue.

    ``difference`` [h, w] is in tones. ``noise`` is the standard deviation of the surroundings, and ``worst`` is the
    90th percentile of their absolute difference, both in tones.
    """

    difference: Floats
    noise: float
    worst: float


def hue_difference(tones: Floats, concept: Bools, outside: Bools) -> HueDifference | None:
    """Return the differences in hue from the surroundings; None if the concept has no clear hue of its own.

    The hue of a pixel is the difference of its channels from their mean, so lightness does not count.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        concept: pixels of which most show the concept, [h, w].
        outside: true on pixels without any concept, [h, w].
    """
    if tones.shape[2] == 1:
        return None
    hues: Floats = cv2.GaussianBlur(tones - plain(tones)[:, :, None], (0, 0), _TONES_BLUR)
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
    """Return the compared features of each pixel, [h, w, f].

    Of a colour window they are lightness and two opponent colours. Of a grey window they are the tone and its
    difference from the clean tone.
    """
    smooth = cv2.GaussianBlur(tones, (0, 0), _TONES_BLUR).reshape(tones.shape)
    red_green = smooth[:, :, 0] - smooth[:, :, -1]
    if tones.shape[2] == 1 or float(np.abs(red_green).max()) < 1:
        middle = plain(smooth)
        return np.dstack([middle, middle - plain(clean)])
    red, green, blue = (smooth[:, :, channel] for channel in range(3))
    return np.dstack([(red + green + blue) / 3, red - green, 0.5 * (red + green) - blue])


def _binned(features: Floats, outside: Bools) -> Floats:
    """Return the index of each pixel's bin along each feature, [h, w, f]."""
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
    """Return the counts blurred along their second and first axis.

    ``deviations`` are the standard deviations, in bins, for the second and the first axis. With 0, an axis is not
    blurred.
    """
    x, y = (cv2.getGaussianKernel(2 * round(4 * d) + 1, d) if d else np.ones((1, 1)) for d in deviations)
    blurred = cv2.sepFilter2D(np.ascontiguousarray(counts), cv2.CV_32F, x, y, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)
