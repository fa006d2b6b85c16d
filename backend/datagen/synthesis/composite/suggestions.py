"""Suggestions for annotators: the outline cut out of each box, and the area learned from the canvases.

Suggestions are what the engine would use, so that annotators can see and correct a wrong matte or area before anything
is synthesized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.domain.geometry import Box, Point, Polygon
from datagen.domain.inputs import CanvasImage, ConceptImage
from datagen.synthesis.composite.extraction.exemplars import cut_out
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.composite.placement.area_model import AreaModel, drawn_area, fit_area
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.intensity import Bools
from datagen.synthesis.masks import outlines

#: Simplification tolerance of outlines in pixels; fewer corners are easier to edit by hand.
_TOLERANCE_PX = 0.7
#: Parts of a suggested area that cover less than this share of the photo are dropped.
_SMALLEST_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedOutline:
    """The outline found in one box; empty if nothing stands out in it."""

    label: str
    box: Box
    outline: tuple[Polygon, ...]


def propose_outlines(
    concept: ConceptImage, picture: Picture, templates: Templates | None = None
) -> tuple[ProposedOutline, ...]:
    """Return the cut-out of each box of a concept photo that has no drawn outline."""
    boxes = {region.box for region in concept.regions if not region.outline}
    exemplars, _ = cut_out(concept, picture, {}, templates)
    return tuple(
        ProposedOutline(
            label=exemplar.label,
            box=exemplar.box,
            outline=()
            if exemplar.method == "box"
            else _few_corners(outlines(exemplar.mask, (exemplar.frame.left, exemplar.frame.top))),
        )
        for exemplar in exemplars
        if exemplar.box in boxes
    )


def learn_area(canvases: Sequence[CanvasImage], pictures: Pictures) -> AreaModel | None:
    """Fit the area to all polygons of these canvases, whatever their label; None if no polygon covers a pixel."""
    drawn: list[tuple[Picture, Bools]] = []
    for canvas in canvases:
        picture = pictures.load(canvas.image)
        mask = drawn_area([area.polygon for area in canvas.areas], *picture.shape[:2])
        if mask.any():
            drawn.append((picture, mask))
    return fit_area(drawn) if drawn else None


def propose_areas(model: AreaModel, picture: Picture) -> tuple[Polygon, ...]:
    """Return the area that the model predicts on a photo without polygons, as polygons in its pixels."""
    height, width = picture.shape[:2]
    allowed = model.allowed(model.likelihood(picture), 0.5).astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(allowed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    rows, columns = allowed.shape
    parts = outlines(opened > 0)
    smallest = _SMALLEST_SHARE * rows * columns
    return tuple(
        Polygon(tuple((x * width / columns, y * height / rows) for x, y in polygon.points))
        for polygon in _few_corners([part for part in parts if part.area >= smallest])
    )


def _few_corners(polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
    return tuple(Polygon(_simplified(polygon.points)) for polygon in polygons)


def _simplified(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Return fewer corners (Douglas-Peucker), at least three."""
    short = cv2.approxPolyDP(np.asarray(points, np.float32)[:, None], _TOLERANCE_PX, True)[:, 0]
    return tuple((float(x), float(y)) for x, y in short) if len(short) >= 3 else points
