"""The concepts' own places as evidence of where things appear: an area that leaves them out is widened.

Canvases say where a concept may appear, and the photos show where it did. Drawn areas are never quite right, and what
is learned from a few of them less so. Does not choose places: see ``datagen.synthesis.trial``.
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
from datagen.synthesis.exemplars import Candidate
from datagen.synthesis.tones import from_tones

#: One in this many concepts may lie outside the area, as drawn areas are never quite right.
_LEFT_OUT = 0.2
#: The area's threshold is never lowered below this share of what the canvases say: they are the user's word.
_LEAST_OF_THRESHOLD = 0.5
#: Share of a thing's pixels that must be inside: as in ``datagen.synthesis.trial``.
_INSIDE_SHARE = 0.9
#: Fewer concepts than this say nothing.
_LEAST_SITES = 4


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
