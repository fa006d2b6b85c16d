"""Drawn regions as domain values: results of an annotation → boxes, outlines and areas in pixels.

Results are selected by the name of their control, never by position, because a submitted annotation also contains the
predictions that it started from. Regions of other controls are converted first, see ``region_conversion``. No content
of an annotation raises an error: an unusable region is reported as a sentence, and the others are kept. The work for
one annotation is bounded, see ``region_limits``.
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
from datagen.label_studio.mapping.nested_boxes import looser_boxes
from datagen.label_studio.mapping.region_conversion import convert
from datagen.label_studio.mapping.region_limits import MAX_PROBLEMS, MAX_REGIONS, Allowance
from datagen.label_studio.mapping.region_parts import MAX_LABELS
from datagen.label_studio.mapping.region_shapes import corner, upright_extent

#: The label of a canvas polygon where every concept may appear.
AREA = "area"

#: Overlaps of outlines with boxes are computed exactly up to this amount of work, measured in corners, and from the
#: outlines' bounding boxes after that. The work of a pair is _PAIR_WORK plus the number of its corners.
_MAX_OVERLAP_WORK, _PAIR_WORK = 1_000_000, 50

Shape = TypeVar("Shape")

_KINDS = {
    "concept": "rectanglelabels",
    "outline": "polygonlabels",
    "brush": "brushlabels",
    "canvas": "polygonlabels",
    "label": "polygonlabels",
}
_WORDS = {"concept": "box", "outline": "outline", "brush": "brush mask", "canvas": "polygon", "label": "outline"}
#: ``origin`` of a region that was taken over from a prediction and not changed.
_OF_PREDICTION = "prediction"
#: Largest difference of a corner's coordinates from the corner shown, in pixels, that is no correction.
_SAME_PX = 0.5
#: Number of redrawn outlines of one annotation that are kept.
MAX_REDRAWN = 50


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One region with a label of the study."""

    value: Mapping[str, Any]
    label: str
    #: what it is called in sentences, such as "box 2 (“dent”)"
    name: str


def concept_regions(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], left: Allowance | None = None
) -> tuple[tuple[ConceptRegion, ...], tuple[str, ...]]:
    """The examples drawn on an image of ``width`` by ``height`` pixels, and a sentence for each unusable region.

    ``left`` is the remaining allowance if earlier regions of the annotation were already read.

    A rotated box becomes its bounding box, with the rotated box as the outline. An outline or a brush stroke belongs to
    the box of its label with the largest overlap and replaces that box's outline. Without an overlap it forms a box of
    its own. Of boxes round the same object (see ``nested_boxes``) the tightest is used, which a sentence says.
    """
    left = left or Allowance()
    converted = convert(result, ProjectKind.CONCEPTS, width, height, left)
    result, problems = converted.results, list(converted.problems)
    boxes = _read_each(result, "concept", labels, problems, lambda drawn: _box(drawn, width, height))
    boxes = _without_looser(boxes, problems)
    shapes = _read_each(result, "outline", labels, problems, lambda drawn: _polygon(drawn, width, height, left))
    shapes += _read_each(result, "brush", labels, problems, lambda drawn: _strokes(drawn, width, height, left))
    outlines: list[list[Polygon]] = [[] for _ in boxes]
    unboxed: list[ConceptRegion] = []
    overlaps = _Overlaps([(drawn.label, box) for drawn, (box, _) in boxes])
    for drawn, parts in ((drawn, parts) for drawn, region in shapes for parts in region):
        best = overlaps.best(drawn.label, parts)
        if best is not None:
            outlines[best] += parts
        else:
            unboxed.append(ConceptRegion(label=drawn.label, box=_bounding_box(parts), outline=parts))
    boxed = [
        ConceptRegion(label=drawn.label, box=_bounding_box(outline, box), outline=tuple(outline) or turned)
        for (drawn, (box, turned)), outline in zip(boxes, outlines, strict=True)
    ]
    return (*boxed, *unboxed), _limited(problems)


def canvas_areas(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], left: Allowance | None = None
) -> tuple[tuple[CanvasArea, ...], tuple[str, ...]]:
    """The areas for concepts on an image of ``width`` by ``height`` pixels, and a sentence for each unusable region.

    ``left`` is the remaining allowance if earlier regions of the annotation were already read.
    """
    left = left or Allowance()
    converted = convert(result, ProjectKind.CANVASES, width, height, left)
    result, problems = converted.results, list(converted.problems)
    polygons = _read_each(
        result, "canvas", (AREA, *labels), problems, lambda drawn: _polygon(drawn, width, height, left)
    )
    areas = tuple(
        CanvasArea(polygon=part, label=None if drawn.label == AREA else drawn.label)
        for drawn, shapes in polygons
        for parts in shapes
        for part in parts
    )
    return areas, _limited(problems)


def redrawn_outlines(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], shown: Sequence[Polygon]
) -> tuple[tuple[str, Polygon], ...]:
    """The outlines that a reviewer drew or moved on a preview of ``width`` by ``height`` pixels, with their labels.

    A submitted annotation also contains the outlines that were ``shown``: those are left out, and so is an outline that
    cannot be used.
    """
    left = Allowance()
    drawn_by_person = [
        entry for entry in result or () if isinstance(entry, Mapping) and entry.get("origin") != _OF_PREDICTION
    ]

    def read(drawn: _Drawn) -> tuple[Polygon, ...]:
        [parts] = _polygon(drawn, width, height, left) or [()]
        points = [_point(corner(entry), width, height) for entry in drawn.value["points"]]
        return () if any(_same_corners(points, outline.points) for outline in shown) else parts

    polygons = _read_each(drawn_by_person, "label", labels, [], read)
    return tuple((drawn.label, part) for drawn, parts in polygons for part in parts)[:MAX_REDRAWN]


def _same_corners(one: Sequence[Point], other: Sequence[Point]) -> bool:
    """Whether two polygons have the same corners within ``_SAME_PX``."""
    return len(one) == len(other) and all(
        abs(x - u) <= _SAME_PX and abs(y - v) <= _SAME_PX for (x, y), (u, v) in zip(one, other, strict=True)
    )


def _read_each(
    result: Sequence[Any] | None,
    control: str,
    labels: Sequence[str],
    problems: list[str],
    read: Callable[[_Drawn], Shape],
) -> list[tuple[_Drawn, Shape]]:
    """Every usable region of one control with the value that ``read`` returns; adds a sentence for each other one."""
    usable: list[tuple[_Drawn, Shape]] = []
    entries = [entry for entry in result or () if isinstance(entry, Mapping) and entry.get("from_name") == control]
    for number, entry in enumerate(entries[:MAX_REGIONS], start=1):
        named = f"{_WORDS[control]} {number}"
        try:
            drawn = _drawn(entry, control, labels, named)
            named = drawn.name
            usable.append((drawn, read(drawn)))
        except BadRegion as problem:
            problems.append(f"{named}: {problem}.")
    if len(entries) > MAX_REGIONS:
        problems.insert(
            0,
            f"it has {len(entries):,} of the kind “{_WORDS[control]}”: the first {MAX_REGIONS:,} are read, the others "
            "are left out; draw fewer.",
        )
    return usable


def _without_looser(
    boxes: Sequence[tuple[_Drawn, tuple[Box, tuple[Polygon, ...]]]], problems: list[str]
) -> list[tuple[_Drawn, tuple[Box, tuple[Polygon, ...]]]]:
    """The boxes without those round the same object as a tighter one; adds a sentence for each of these.

    Turned boxes are kept: their bounding boxes may well hold other objects.
    """
    upright = [index for index, (_, (_, turned)) in enumerate(boxes) if not turned]
    looser = {
        upright[outer]: upright[inner]
        for outer, inner in looser_boxes([(boxes[index][0].label, boxes[index][1][0]) for index in upright]).items()
    }
    problems += (
        f"{boxes[outer][0].name}: the same object has a tighter box inside it, {boxes[inner][0].name}, which is used; "
        "delete one of the two."
        for outer, inner in sorted(looser.items())
    )
    return [drawn for index, drawn in enumerate(boxes) if index not in looser]


def _limited(problems: Sequence[str]) -> tuple[str, ...]:
    """The first MAX_PROBLEMS sentences, and a sentence with the number of further ones."""
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return tuple(problems)
    return (*problems[:MAX_PROBLEMS], f"{more:,} more regions cannot be used, for reasons like these.")


def _drawn(entry: Mapping[str, Any], control: str, labels: Sequence[str], named: str) -> _Drawn:
    value = entry.get("value")
    kind = _KINDS[control]
    if not isinstance(value, Mapping) or entry.get("type") != kind:
        raise BadRegion(f"it is no {_WORDS[control]} (no “{kind}” with a value); draw it again")
    if entry.get("image_rotation") not in (None, 0, 360):
        raise BadRegion("it was drawn on the picture turned round; turn the picture back and draw it again")
    names = value.get(kind)
    if not isinstance(names, list) or not names:
        raise BadRegion("it has no label; choose one")
    label = next(
        (name for name in names[:MAX_LABELS] if isinstance(name, str) and name in labels),
        names[0][:100] if isinstance(names[0], str) else "?",
    )
    if label not in labels:
        raise BadRegion(f"its label “{label}” is none of the study's ({', '.join(labels)}); choose one of them")
    return _Drawn(value=value, label=label, name=f"{named} (“{label}”)")


def _box(drawn: _Drawn, width: int, height: int) -> tuple[Box, tuple[Polygon, ...]]:
    """The upright box inside the image, and the outline of the rotated box if it is rotated."""
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
    return _bounding_box(outline), outline


def _polygon(drawn: _Drawn, width: int, height: int, left: Allowance) -> list[tuple[Polygon, ...]]:
    """The area of one polygon inside the image: one shape, possibly of several parts."""
    left.check()
    corners = drawn.value.get("points")
    if not isinstance(corners, list):
        raise BadRegion("the polygon has no corners; draw it again")
    check_corners(len(corners))
    left.take("corners read", len(corners))
    return _within_allowance(
        [clip_polygon([_point(corner(entry), width, height) for entry in corners], width, height)], left
    )


def _strokes(drawn: _Drawn, width: int, height: int, left: Allowance) -> list[tuple[Polygon, ...]]:
    """The shapes of a brush mask, one for each stroke."""
    left.check()
    rle = drawn.value.get("rle")
    left.take("brush bytes", len(rle) if isinstance(rle, list) else 0)
    left.take("brush pixels", width * height)
    mask = brush_masks.decode(rle, width, height)
    left.take("painted", brush_masks.extent(mask))
    strokes = brush_masks.outlines(mask)
    if not strokes:
        raise BadRegion(f"no stroke covers {SMALLEST_AREA_PX:g} square pixels; paint it larger")
    return _within_allowance(list(strokes), left)


def _within_allowance(shapes: list[tuple[Polygon, ...]], left: Allowance) -> list[tuple[Polygon, ...]]:
    """The shapes of a region, after their corners and parts are taken from the allowance."""
    parts = [part for shape in shapes for part in shape]
    left.take("parts", len(parts))
    left.take("corners", sum(len(part.points) for part in parts))
    return shapes


def _point(percent: tuple[float, float], width: int, height: int) -> Point:
    x, y = percent
    return to_pixels(x, width), to_pixels(y, height)


class _Overlaps:
    """Finds the box with the largest overlap with a shape, among the boxes of its label."""

    def __init__(self, boxes: Sequence[tuple[str, Box]]) -> None:
        self._labels = np.array([label for label, _ in boxes], object)
        self._edges = np.array([(box.x, box.y, box.right, box.bottom) for _, box in boxes]).reshape(-1, 4)
        self._frames = shapely.box(*self._edges.T)
        self._work_left = _MAX_OVERLAP_WORK

    def best(self, label: str, parts: Sequence[Polygon]) -> int | None:
        """The index of that box, the first among equals; None if the shape overlaps no box."""
        extent = _bounding_box(parts)
        left, top, right, bottom = self._edges.T
        across = np.minimum(right, extent.right) - np.maximum(left, extent.x)
        down = np.minimum(bottom, extent.bottom) - np.maximum(top, extent.y)
        near = np.flatnonzero((self._labels == label) & (across > 0) & (down > 0))
        self._work_left -= len(near) * sum(_PAIR_WORK + len(part.points) for part in parts)
        if self._work_left >= 0:
            shapes = (ShapelyPolygon(part.points) for part in parts)
            areas = sum(shapely.area(shapely.intersection(shape, self._frames[near])) for shape in shapes)
        else:
            areas = (across * down)[near]
        return int(near[np.argmax(areas)]) if len(near) and np.max(areas) > 0 else None


def _bounding_box(parts: Sequence[Polygon], *boxes: Box) -> Box:
    """The bounding box of the parts and boxes."""
    corners = [point for part in parts for point in part.points]
    corners += [point for box in boxes for point in ((box.x, box.y), (box.right, box.bottom))]
    return bounds(corners)
