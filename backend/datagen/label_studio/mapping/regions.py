"""What people drew, as domain values: results of an annotation → boxes, outlines and areas in pixels.

Results are picked by the name of their control, never by position: a submitted annotation also carries the predictions
it began from. Regions of other controls are converted first, see ``region_conversion``. Nothing an annotation holds
raises: a region that cannot be used becomes a sentence, the others are kept. However much an annotation holds, the work
is bounded: see ``region_limits``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.geometry import (
    SMALLEST_AREA_PX,
    Box,
    Point,
    Polygon,
    bounds,
    check_corners,
    clip_box,
    clip_polygon,
    rotated_corners,
    to_pixels,
)
from datagen.domain.inputs import CanvasArea, ConceptRegion, ProjectKind
from datagen.errors import BadRegion
from datagen.label_studio.mapping import brush_masks
from datagen.label_studio.mapping.region_conversion import convert
from datagen.label_studio.mapping.region_limits import MOST_PROBLEMS, MOST_REGIONS, Allowance
from datagen.label_studio.mapping.region_parts import MOST_LABELS
from datagen.label_studio.mapping.region_shapes import corner, upright_extent

#: The label of a canvas polygon where every concept may appear.
AREA = "area"

#: Overlaps of outlines with boxes are worked out exactly up to so much work, and after that by the upright boxes round
#: the outlines. A pair costs as much as this many corners, and then its own.
_MOST_OVERLAP_WORK, _PAIR_WORK = 1_000_000, 50

Shape = TypeVar("Shape")

_KINDS = {"concept": "rectanglelabels", "outline": "polygonlabels", "brush": "brushlabels", "canvas": "polygonlabels"}
_WORDS = {"concept": "box", "outline": "outline", "brush": "brush mask", "canvas": "polygon"}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One region with a label of the study."""

    value: Mapping[str, Any]
    label: str


def concept_regions(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], left: Allowance | None = None
) -> tuple[tuple[ConceptRegion, ...], tuple[str, ...]]:
    """The examples drawn on a picture of ``width`` by ``height`` pixels, and a sentence for each region without use.

    ``left`` is what the regions may still use where those before them were read already.

    A turned box becomes the upright box round its corners, with the turned one as its outline. An outline or a brush
    stroke belongs to the box of its label that it overlaps most, and overrides; without one it makes its own box.
    """
    left = left or Allowance()
    converted = convert(result, ProjectKind.CONCEPTS, width, height, left)
    result, problems = converted.results, list(converted.problems)
    boxes = _each(result, "concept", labels, problems, lambda one: _box(one, width, height))
    shapes = _each(result, "outline", labels, problems, lambda one: _polygon(one, width, height, left))
    shapes += _each(result, "brush", labels, problems, lambda one: _strokes(one, width, height, left))
    own: list[list[Polygon]] = [[] for _ in boxes]
    alone: list[ConceptRegion] = []
    overlaps = _Overlaps([(drawn.label, box) for drawn, (box, _) in boxes])
    for drawn, parts in ((drawn, parts) for drawn, found in shapes for parts in found):
        best = overlaps.best(drawn.label, parts)
        if best is not None:
            own[best] += parts
        else:
            alone.append(ConceptRegion(label=drawn.label, box=_round(parts), outline=parts))
    boxed = [
        ConceptRegion(label=drawn.label, box=_round(outline, box), outline=tuple(outline) or turned)
        for (drawn, (box, turned)), outline in zip(boxes, own, strict=True)
    ]
    return (*boxed, *alone), _told(problems)


def canvas_areas(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], left: Allowance | None = None
) -> tuple[tuple[CanvasArea, ...], tuple[str, ...]]:
    """Where concepts may appear on a picture of ``width`` by ``height`` pixels, and a sentence for each bad polygon.

    ``left`` is what the regions may still use where those before them were read already.
    """
    left = left or Allowance()
    converted = convert(result, ProjectKind.CANVASES, width, height, left)
    result, problems = converted.results, list(converted.problems)
    found = _each(result, "canvas", (AREA, *labels), problems, lambda one: _polygon(one, width, height, left))
    areas = tuple(
        CanvasArea(polygon=part, label=None if drawn.label == AREA else drawn.label)
        for drawn, shapes in found
        for parts in shapes
        for part in parts
    )
    return areas, _told(problems)


def _each(
    result: Sequence[Any] | None,
    control: str,
    labels: Sequence[str],
    problems: list[str],
    read: Callable[[_Drawn], Shape],
) -> list[tuple[_Drawn, Shape]]:
    """Every usable region of one control with what ``read`` makes of it; of the others a sentence in ``problems``."""
    found: list[tuple[_Drawn, Shape]] = []
    ours = [one for one in result or () if isinstance(one, Mapping) and one.get("from_name") == control]
    for number, one in enumerate(ours[:MOST_REGIONS], start=1):
        named = f"{_WORDS[control]} {number}"
        try:
            drawn = _drawn(one, control, labels)
            named = f"{named} (“{drawn.label}”)"
            found.append((drawn, read(drawn)))
        except BadRegion as problem:
            problems.append(f"{named}: {problem}.")
    if len(ours) > MOST_REGIONS:
        problems.insert(
            0,
            f"it has {len(ours):,} of the kind “{_WORDS[control]}”: the first {MOST_REGIONS:,} are read, the others "
            "are left out; draw fewer.",
        )
    return found


def _told(problems: Sequence[str]) -> tuple[str, ...]:
    """The first of the sentences, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    if more <= 0:
        return tuple(problems)
    return (*problems[:MOST_PROBLEMS], f"{more:,} more regions cannot be used, for reasons like these.")


def _drawn(one: Mapping[str, Any], control: str, labels: Sequence[str]) -> _Drawn:
    value = one.get("value")
    kind = _KINDS[control]
    if not isinstance(value, Mapping) or one.get("type") != kind:
        raise BadRegion(f"it is no {_WORDS[control]} (no “{kind}” with a value); draw it again")
    if one.get("image_rotation") not in (None, 0, 360):
        raise BadRegion("it was drawn on the picture turned round; turn the picture back and draw it again")
    names = value.get(kind)
    if not isinstance(names, list) or not names:
        raise BadRegion("it has no label; choose one")
    label = next(
        (name for name in names[:MOST_LABELS] if isinstance(name, str) and name in labels),
        names[0][:100] if isinstance(names[0], str) else "?",
    )
    if label not in labels:
        raise BadRegion(f"its label “{label}” is none of the study's ({', '.join(labels)}); choose one of them")
    return _Drawn(value=value, label=label)


def _box(drawn: _Drawn, width: int, height: int) -> tuple[Box, tuple[Polygon, ...]]:
    """The upright box inside the picture, and the turned one's outline where it is turned."""
    extent = upright_extent(drawn.value, width, height)
    raw = Box(
        to_pixels(extent["x"], width),
        to_pixels(extent["y"], height),
        to_pixels(extent["width"], width),
        to_pixels(extent["height"], height),
    )
    degrees = extent["rotation"]
    if degrees % 360 == 0 or raw.width <= 0 or raw.height <= 0:
        return clip_box(raw, width, height), ()
    try:
        outline = clip_polygon(rotated_corners(raw, degrees), width, height)
    except BadRegion as problem:
        raise BadRegion(str(problem).replace("polygon", "box")) from None
    return _round(outline), outline


def _polygon(drawn: _Drawn, width: int, height: int, left: Allowance) -> list[tuple[Polygon, ...]]:
    """What one drawn polygon covers inside the picture: one shape, maybe of several parts."""
    left.check()
    corners = drawn.value.get("points")
    if not isinstance(corners, list):
        raise BadRegion("the polygon has no corners; draw it again")
    check_corners(len(corners))
    left.take("corners read", len(corners))
    return _taken([clip_polygon([_point(corner(found), width, height) for found in corners], width, height)], left)


def _strokes(drawn: _Drawn, width: int, height: int, left: Allowance) -> list[tuple[Polygon, ...]]:
    """The strokes of a brush mask: one shape each."""
    left.check()
    rle = drawn.value.get("rle")
    left.take("brush bytes", len(rle) if isinstance(rle, list) else 0)
    left.take("brush pixels", width * height)
    mask = brush_masks.decode(rle, width, height)
    left.take("painted", brush_masks.extent(mask))
    found = brush_masks.outlines(mask)
    if not found:
        raise BadRegion(f"no stroke covers {SMALLEST_AREA_PX:g} square pixels; paint it larger")
    return _taken(list(found), left)


def _taken(shapes: list[tuple[Polygon, ...]], left: Allowance) -> list[tuple[Polygon, ...]]:
    """The shapes of a region, if the annotation may still have so many corners and parts."""
    parts = [part for shape in shapes for part in shape]
    left.take("parts", len(parts))
    left.take("corners", sum(len(part.points) for part in parts))
    return shapes


def _point(percent: tuple[float, float], width: int, height: int) -> Point:
    x, y = percent
    return to_pixels(x, width), to_pixels(y, height)


class _Overlaps:
    """Finds the box that a shape overlaps most, among those of its label."""

    def __init__(self, boxes: Sequence[tuple[str, Box]]) -> None:
        self._labels = np.array([label for label, _ in boxes], object)
        self._edges = np.array([(box.x, box.y, box.right, box.bottom) for _, box in boxes]).reshape(-1, 4)
        self._frames = shapely.box(*self._edges.T)
        self._work_left = _MOST_OVERLAP_WORK

    def best(self, label: str, parts: Sequence[Polygon]) -> int | None:
        """The number of that box, the first of several; None where it overlaps none."""
        around = _round(parts)
        left, top, right, bottom = self._edges.T
        across = np.minimum(right, around.right) - np.maximum(left, around.x)
        down = np.minimum(bottom, around.bottom) - np.maximum(top, around.y)
        near = np.flatnonzero((self._labels == label) & (across > 0) & (down > 0))
        self._work_left -= len(near) * sum(_PAIR_WORK + len(part.points) for part in parts)
        if self._work_left >= 0:
            shapes = (ShapelyPolygon(part.points) for part in parts)
            areas = sum(shapely.area(shapely.intersection(shape, self._frames[near])) for shape in shapes)
        else:
            areas = (across * down)[near]
        return int(near[np.argmax(areas)]) if len(near) and np.max(areas) > 0 else None


def _round(parts: Sequence[Polygon], *boxes: Box) -> Box:
    """The upright box round the parts and boxes."""
    corners = [point for part in parts for point in part.points]
    corners += [point for box in boxes for point in ((box.x, box.y), (box.right, box.bottom))]
    return bounds(corners)
