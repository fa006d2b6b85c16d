"""The concepts' own places as evidence: how wide the area is, and whether the thing seeks certain surroundings.

Canvases say where a concept may appear, and the photos show where it did. Where the learned area leaves too many of
those places out, it is widened; and how strictly a place must look like the concept's own is measured: a thing that
sits on edges is found on edges only, a pore is found anywhere. Does not choose places: see ``datagen.synthesis.trial``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.area import AreaModel, seen_shape
from datagen.synthesis.context import match
from datagen.synthesis.exemplars import Candidate, Exemplar
from datagen.synthesis.pose import Cutout, Pose, Posed, PosePrior, apply_pose
from datagen.synthesis.tones import Bools, Floats, channels_as, from_tones, to_tones

#: One in this many concepts may lie outside the area, as drawn areas are never quite right.
_LEFT_OUT = 0.2
#: The area's threshold is never lowered below this share of what the canvases say: they are the user's word.
_LEAST_OF_THRESHOLD = 0.5
#: Share of a thing's pixels that must be inside: as in ``datagen.synthesis.trial``.
_INSIDE_SHARE = 0.9
#: Fewer concepts than this say nothing.
_LEAST_SITES = 4
#: Concepts compared with one another, and places drawn from the canvases; with more the fit takes longer, no more.
_COMPARED, _PLACES = 8, 16
#: A place is compared wherever it lies within this share of the window: a thing is never in the middle of its place.
_SLACK_SHARE = 0.25
#: Surroundings at the concepts' own places that are this much more alike than anywhere else are sought surely.
_SURE = 0.5


#: A canvas and the reduced area drawn on it.
Drawn = tuple[npt.NDArray[Any], Bools]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A concept photo as if without its things, reduced as the area models see pictures, and where its boxes are."""

    picture: npt.NDArray[Any]
    boxes: Mapping[str, Box]


def site(picture: npt.NDArray[Any], found: Sequence[Candidate]) -> Site:
    """The site of one photo and the candidates cut out of it; its boxes are in reduced pixels, by the key."""
    height, width = picture.shape[:2]
    rows, columns = seen_shape(height, width)
    down, across = rows / height, columns / width
    small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    for one in found:
        y0, y1 = int(one.frame.top * down), max(int(one.frame.top * down) + 1, round(one.frame.bottom * down))
        x0, x1 = int(one.frame.left * across), max(int(one.frame.left * across) + 1, round(one.frame.right * across))
        clean = cv2.resize(one.clean.tones, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        window = small[y0:y1, x0:x1]
        window[...] = from_tones(clean.reshape(*clean.shape[:2], -1), window)[: window.shape[0], : window.shape[1]]
    return Site(
        picture=small,
        boxes={
            one.key: Box(one.box.x * across, one.box.y * down, one.box.width * across, one.box.height * down)
            for one in found
        },
    )


def widened(model: AreaModel, sites: Sequence[Site], keys: Sequence[str]) -> tuple[AreaModel, int, int]:
    """The model with its threshold lowered until most concepts' own places are inside.

    Returns:
        the model, and of how many concepts how many were outside it before.
    """
    if model.mode == "anywhere":
        return model, 0, 0
    reached: list[float] = []
    for one in sites:
        boxes = [box for key, box in one.boxes.items() if key in keys]
        if not boxes:
            continue
        likelihood = model.likelihood(one.picture) / 255.0
        for box in boxes:
            rows = slice(max(0, int(box.y)), max(int(box.y) + 1, round(box.bottom)))
            columns = slice(max(0, int(box.x)), max(int(box.x) + 1, round(box.right)))
            inside = likelihood[rows, columns]
            if inside.size:
                reached.append(float(np.quantile(inside, 1 - _INSIDE_SHARE)))
    outside = sum(value < model.threshold for value in reached)
    if len(reached) < _LEAST_SITES:
        return model, outside, len(reached)
    wanted = float(np.quantile(reached, _LEFT_OUT))
    threshold = float(np.clip(wanted, _LEAST_OF_THRESHOLD * model.threshold, model.threshold))
    return replace(model, threshold=threshold), outside, len(reached)


def attachment(exemplars: Sequence[Exemplar], prior: PosePrior, canvases: Sequence[Drawn]) -> float:
    """From 0 to 1, how surely the thing seeks surroundings of one kind; 1 where the few cannot tell.

    The clean surroundings of every concept are held against those of the others, in every pose the prior allows and
    shifted a little, and against places drawn from the canvases. What is no more alike than places anywhere is chance.
    """
    if len(exemplars) < _LEAST_SITES or not canvases:
        return 1.0
    chance = np.random.default_rng(0)
    chosen = list(exemplars)[:_COMPARED]
    spots = [_spot(*canvases[n % len(canvases)], chance) for n in range(_PLACES)]
    own, anywhere = [], []
    for one in chosen:
        poses = _poses(one, prior)
        if not poses:
            continue
        others = [
            (other.clean, other.clean.shape[0] / 2, other.clean.shape[1] / 2)
            for other in chosen
            if other.key.partition(":")[0] != one.key.partition(":")[0]
        ]
        here = _levels(poses, others)
        there = _levels(poses, [(canvas, y, x) for canvas, y, x in spots])
        if here and there:
            own.append(float(np.median(here)))
            anywhere.append(float(np.median(there)))
    if len(own) < _LEAST_SITES:
        return 1.0
    gain = 1 - float(np.mean(own)) / max(float(np.mean(anywhere)), 1e-6)
    return float(np.clip(gain / _SURE, 0, 1))


def _spot(picture: npt.NDArray[Any], area: Bools, chance: np.random.Generator) -> tuple[npt.NDArray[Any], float, float]:
    """A picture with a place of its area, drawn at random: y and x in its pixels."""
    places = np.flatnonzero(area)
    row, column = divmod(int(places[int(chance.integers(len(places)))]), area.shape[1])
    return picture, (row + 0.5) * picture.shape[0] / area.shape[0], (column + 0.5) * picture.shape[1] / area.shape[1]


def _poses(exemplar: Exemplar, prior: PosePrior) -> list[Posed]:
    """The exemplar mirrored and turned by the quarters its prior allows; no pixel is resampled."""
    cutout = Cutout(exemplar)
    turns = (0.0, 180.0) if prior.mode == "kept" else (0.0, 90.0, 180.0, 270.0)
    posed = [
        apply_pose(cutout, Pose(degrees=turn, scale=1.0, mirrored=mirrored), crisp=True)
        for turn in turns
        for mirrored in (False, True)
    ]
    return [one for one in posed if one is not None]


def _levels(poses: Sequence[Posed], places: Sequence[tuple[npt.NDArray[Any], float, float]]) -> list[float]:
    """Of every place that can hold the window: how unlike its best pose is, in tones."""
    found = []
    for picture, y, x in places:
        best = np.inf
        for posed in poses:
            rows, columns = posed.mask.shape
            slack = max(2, int(_SLACK_SHARE * max(rows, columns)))
            top, left = max(0, int(y - rows / 2) - slack), max(0, int(x - columns / 2) - slack)
            cut = picture[top : top + rows + 2 * slack, left : left + columns + 2 * slack]
            if cut.shape[0] >= rows and cut.shape[1] >= columns:
                ground: Floats = cut if cut.dtype == np.float32 else to_tones(cut)
                best = min(best, match(ground, channels_as(posed.clean, ground.shape[2])))
        if np.isfinite(best):
            found.append(best)
    return found
