"""Appearance model of a concept: how its tone depends on the background, and which blends reproduce that.

The model fits the tones of the concepts as a line over the tones of their surroundings. The slope of the line names the
kind: a slope of 0 is "absolute" (a hole is dark on any background), and a slope of 1 is "additive". The kind is
"undetermined" if the surroundings of the concepts do not differ enough.

Each blend is scored by leaving out one concept at a time. Other concepts are placed on the clean surroundings of the
concept left out, and the results are compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.appearance.blending import BLENDS, BlendRegion
from datagen.synthesis.composite.appearance.pose import Cutout, Pose, Posed, apply_pose, bandwidth, fade
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import Bools, Floats, channels_as, is_two_level, plain, spread

#: Numbers of places and of concepts per place for the blends' scores; more make the fit slower but not better.
_PLACES, _VISITORS = 12, 4
#: Blends that need two-level pictures (pictures of two tones only), and blends that produce greys, which such pictures
#: do not have.
_NEEDS_TWO_LEVELS = frozenset({"two-level"})
_MAKES_GREYS = frozenset({"soft", "residual", "ratio", "following", "gradient"})
#: Blends whose result at a pixel depends on the whole window; that of the others depends on pixels nearby.
_OF_WINDOW = frozenset({"gradient", "two-level"})
#: Standard deviation of the logarithm of the contrast: its value for a single example, and its bounds for several.
_CONTRAST_LOG_ALONE = 0.05
_CONTRAST_LOG_RANGE = (0.0, 0.2)
#: A blend with a smaller weight is not used.
_MIN_WEIGHT = 0.03
#: Margin in pixels round a mask that its features need: the ring outside it, and the reach of a filter.
_MARGIN_PX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearanceModel:
    """The appearance model of one label.

    ``slope`` is the slope of the concepts' tones over their surroundings' tones, and ``doubt`` is its standard error.
    ``kind`` names the slope in words. ``contrast_log`` is the standard deviation of the logarithm of the concepts'
    contrast. ``weights`` are the weights of the blends; their sum is 1. ``scores`` are the leave-one-concept-out errors
    of the blends, in standard deviations of the concepts' features; lower is better.
    """

    kind: str
    slope: float
    doubt: float
    two_level: bool
    contrast_log: float
    weights: dict[str, float]
    scores: dict[str, float]


def fit_appearance_model(exemplars: Sequence[Exemplar]) -> AppearanceModel:
    """Fit the appearance model to one label's exemplars (at least one)."""
    slope, doubt = _slope(exemplars)
    two_level = sum(is_two_level(e.patch[~e.mask]) for e in exemplars) > len(exemplars) / 2
    if two_level:
        kind = "two-level"
    elif doubt > 0.5:
        kind = "undetermined"
    elif slope + 2 * doubt < 0.5:
        kind = "absolute"
    elif slope - 2 * doubt > 0.5:
        kind = "additive"
    else:
        kind = "between absolute and additive"
    errors = _left_out_errors(exemplars, slope, two_level)
    return AppearanceModel(
        kind=kind,
        slope=slope,
        doubt=doubt,
        two_level=two_level,
        contrast_log=0.0 if two_level else _contrast_log(exemplars),
        weights=_weights(errors),
        scores={name: float(np.mean(blend_errors)) for name, blend_errors in errors.items() if len(blend_errors)},
    )


def _slope(exemplars: Sequence[Exemplar]) -> tuple[float, float]:
    """Return the slope of the concepts' tones over their surroundings' tones, and its standard error.

    The prior of the slope is 1/2 ± 1/2.
    """
    inside = np.array([e.patch[core(e.mask)].mean(axis=0).mean() for e in exemplars])
    under = np.array([e.clean[core(e.mask)].mean(axis=0).mean() for e in exemplars])
    if len(exemplars) < 3:
        return 0.5, 1.0
    x, y = under - under.mean(), inside - inside.mean()
    # a prior slope of 1/2 ± 1/2 and a scatter of at least 2 tones keep the estimate of few exemplars uncertain
    raw = float((x @ y) / max(x @ x, 1e-6))
    scatter = max(float(np.square(y - raw * x).sum()) / max(len(x) - 2, 1), 4.0)
    trust = float(x @ x) / scatter + 4.0
    slope = (float(x @ y) / scatter + 0.5 * 4.0) / trust
    return float(np.clip(slope, 0, 1)), float(1 / np.sqrt(trust))


def _contrast_log(exemplars: Sequence[Exemplar]) -> float:
    contrasts = [float(np.log(np.sqrt(np.square(e.patch - e.clean)[core(e.mask)].mean()) + 1.0)) for e in exemplars]
    return bandwidth(contrasts, _CONTRAST_LOG_ALONE, _CONTRAST_LOG_RANGE)


def _left_out_errors(
    exemplars: Sequence[Exemplar], slope: float, two_level: bool
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the errors [n] of each blend that suits the pictures, by the blend's name; empty arrays for one exemplar.

    Each error belongs to a place, which is the clean surroundings of one concept, and a visitor, which is another
    concept placed there. All blends are compared on the same n pairs.
    """
    usable = [
        name
        for name in BLENDS
        if not (name in _NEEDS_TWO_LEVELS and not two_level) and not (name in _MAKES_GREYS and two_level)
    ]
    places = list(exemplars)[:_PLACES]
    if len(places) < 2:
        return {name: np.zeros(0) for name in usable}
    identity = Pose(degrees=0.0, scale=1.0, mirrored=False)
    posed = [p for p in (apply_pose(Cutout(e), identity, crisp=two_level) for e in places) if p is not None]
    channels = min(p.patch.shape[2] for p in posed)  # grey and colour photos are compared in grey
    posed = [replace(p, patch=channels_as(p.patch, channels), clean=channels_as(p.clean, channels)) for p in posed]
    regions = [_Regions(p.mask) for p in posed]
    truths = np.array([_features(p.patch[r.window], r) for p, r in zip(posed, regions, strict=True)])
    scale = truths.std(axis=0) + 4.0
    errors: dict[str, list[float]] = {name: [] for name in usable}
    for index, place in enumerate(posed):
        for step in range(1, min(_VISITORS, len(posed) - 1) + 1):
            number = (index + step * max(1, len(posed) // (_VISITORS + 1))) % len(posed)
            visitor, measured = posed[number], regions[number]
            if visitor is place:
                continue
            region = _visit(place, visitor, slope)
            near = region.cropped(measured.window)
            for name in usable:
                blended = BLENDS[name](region)[measured.window] if name in _OF_WINDOW else BLENDS[name](near)
                after = np.where(measured.mask[:, :, None], blended, near.background)
                features = _features(np.clip(after, 0, 255), measured)
                errors[name].append(float(np.abs((features - truths[index]) / scale).mean()))
    return {name: np.array(values) for name, values in errors.items()}


def _visit(place: Posed, visitor: Posed, slope: float) -> BlendRegion:
    """Return the input for blending ``visitor`` into the middle of the clean surroundings of ``place``.

    The surroundings are cropped, or padded by mirroring, to the visitor's size.
    """
    rows, columns = visitor.mask.shape
    pads = [(max(0, (want - have + 1) // 2),) * 2 for want, have in zip((rows, columns), place.mask.shape, strict=True)]
    ground = np.pad(place.clean, (*pads, (0, 0)), mode="symmetric")
    top, left = (ground.shape[0] - rows) // 2, (ground.shape[1] - columns) // 2
    channels = place.clean.shape[2]
    return BlendRegion(
        background=ground[top : top + rows, left : left + columns],
        patch=channels_as(visitor.patch, channels),
        clean=channels_as(visitor.clean, channels),
        mask=visitor.mask,
        fade=fade(visitor, 1.0),
        opacity=visitor.opacity,
        slope=slope,
    )


def _weights(errors: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """Return the weights of the blends, by name; their sum is 1.

    A weight falls with the difference between the blend's mean error and the smallest mean error, divided by the
    standard error of this difference.
    """
    means = {name: float(blend_errors.mean()) if len(blend_errors) else 0.0 for name, blend_errors in errors.items()}
    best = min(means, key=lambda name: (means[name], name))
    raw_weights = {}
    for name, blend_errors in errors.items():
        gap = blend_errors - errors[best]
        standard_error = float(gap.std() / np.sqrt(len(gap))) if len(gap) else 1.0
        raw_weights[name] = float(
            np.exp(-(means[name] - means[best]) / (2 * standard_error + 0.05 * means[best] + 1e-6))
        )
    total = sum(raw_weights.values())
    kept = {name: weight / total for name, weight in raw_weights.items() if weight / total >= _MIN_WEIGHT}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


class _Regions:
    """The pixels of a concept's mask [h, w] that its features are measured on; computed once for all blends."""

    def __init__(self, mask: Bools) -> None:
        ys, xs = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        #: the mask with a margin in which all measured pixels and the filters of them lie
        self.window = (
            slice(max(0, ys[0] - _MARGIN_PX), ys[-1] + 1 + _MARGIN_PX),
            slice(max(0, xs[0] - _MARGIN_PX), xs[-1] + 1 + _MARGIN_PX),
        )
        self.mask = mask[self.window]
        kernel = np.ones((3, 3), np.uint8)
        solid = self.mask.astype(np.uint8)
        self.inner = self.mask & ~cv2.erode(solid, kernel, iterations=2).astype(bool)
        self.outer = cv2.dilate(solid, kernel, iterations=2).astype(bool) & ~self.mask
        self.middle = core(self.mask)
        self.edge = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, kernel) > 0


def _features(tones: Floats, regions: _Regions) -> npt.NDArray[np.float64]:
    """Return the features [k] of a placed concept: its tones, the step and sharpness of its edge, and its texture.

    ``tones`` [h, w, c] are those in the window of ``regions``.
    """
    shown = plain(tones)
    steep = np.hypot(cv2.Sobel(shown, cv2.CV_32F, 1, 0), cv2.Sobel(shown, cv2.CV_32F, 0, 1))[regions.edge] / 8
    fine = (shown - cv2.blur(shown, (3, 3)))[regions.mask]
    outside = shown[regions.outer]
    features = [*tones[regions.middle].mean(axis=0), *np.quantile(shown[regions.mask], (0.1, 0.9))]
    features += [float(shown[regions.inner].mean() - outside.mean()) if outside.size else 0.0]
    features += [float(steep.mean()), float(np.quantile(steep, 0.9)), spread(fine), float(fine.std())]
    return np.array(features, np.float64)


def core(mask: Bools) -> Bools:
    """Return the mask without its outermost pixels, or the whole mask if no pixel would be left."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return inner if inner.any() else mask
