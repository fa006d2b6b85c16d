"""Drawn regions as domain values: results of an annotation → boxes, outlines and areas in pixels.

A result is found by the name of its control, never by its position, because a submitted annotation also contains the
predictions that it started from. Regions of other controls are converted first (see ``region_conversion``). No content
of an annotation raises an error: an unusable region is reported as a sentence, and the others are used. The work for
one annotation is limited (see ``region_limits``)."""

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

#: The label of a polygon on a canvas in which every concept may appear.
AREA = "area"

#: Maximum work on exact overlaps of outlines with boxes, and the fixed work of one overlap, both counted in corners.
#: The work of an overlap is the fixed work plus the number of the outlines' corners. Beyond the maximum, the outlines'
#: bounding boxes are compared with the boxes.
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
#: Value of ``origin`` in a region that was taken from a prediction and not changed.
_OF_PREDICTION = "prediction"
#: Largest difference in pixels of a corner's x or y from the corner that was shown, for the corner to count as
#: unchanged.
_SAME_PX = 0.5
#: Maximum number of redrawn outlines of one annotation that are kept.
MAX_REDRAWN = 50


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One region with a label of the study."""

    value: Mapping[str, Any]
    label: str
    #: its name in sentences, such as "box 2 (“dent”)"
    name: str


def concept_regions(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], left: Allowance | None = None
) -> tuple[tuple[ConceptRegion, ...], tuple[str, ...]]:
    """The examples drawn on an image of ``width`` by ``height`` pixels, and a sentence for each unusable region.

    ``left`` is the remaining allowance if earlier regions of the annotation were already read.

    A rotated box becomes its bounding box, with the rotated box as its outline. An outline or a brush stroke belongs to
    the box of its label with the largest overlap, and replaces the outline of this box. If it overlaps no box, it
    becomes an example with a box of its own. Of several boxes round the same object (see ``nested_boxes``), the
    tightest is used, and a sentence says so.
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
    """The outlines that a reviewer drew or moved on a preview of ``width`` by ``height`` pixels, each with its label.

    A submitted annotation also contains the outlines that were ``shown``. These are left out, and so are outlines that
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


def outlines_left(
    result: Sequence[Any] | None, width: int, height: int, labels: Sequence[str], shown: Sequence[Polygon]
) -> tuple[int, ...]:
    """The numbers of the outlines ``shown`` on a preview that a reviewer's annotation still contains, at most 1,000."""
    left: set[int] = set()

    def read(drawn: _Drawn) -> None:
        points = [_point(corner(entry), width, height) for entry in drawn.value["points"]]
        left.update(number for number, outline in enumerate(shown) if _same_corners(points, outline.points))

    _read_each(result, "label", labels, [], read)
    return tuple(sorted(left)[:MAX_REGIONS])


def _same_corners(corners: Sequence[Point], other: Sequence[Point]) -> bool:
    """Whether two polygons have the same corners, up to ``_SAME_PX``."""
    return len(corners) == len(other) and all(
        abs(x - u) <= _SAME_PX and abs(y - v) <= _SAME_PX for (x, y), (u, v) in zip(corners, other, strict=True)
    )


def _read_each(
    result: Sequence[Any] | None,
    control: str,
    labels: Sequence[str],
    problems: list[str],
    read: Callable[[_Drawn], Shape],
) -> list[tuple[_Drawn, Shape]]:
    """Each usable region of one control, with the value that ``read`` returns for it.

    For each other region, a sentence is added to ``problems``.
    """
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
    """The boxes, without loose boxes round the same object as a tighter one. A sentence is added for each loose box.

    Rotated boxes are always kept, because their bounding boxes may contain other objects.
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
    """The first MAX_PROBLEMS sentences. If there are more, a sentence with the number of the others follows."""
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
    """The upright box in pixels, clipped to the image, and as outline the rotated box if the region is rotated."""
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
    """The shapes of one polygon in pixels, clipped to the image: a single shape, which may have several parts."""
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
    """The shapes of a brush mask in pixels, one for each stroke."""
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
    """The shapes of a region, unchanged, after their corners and parts are taken from the allowance.

    Raises:
        BadRegion: The allowance is too small.
    """
    parts = [part for shape in shapes for part in shape]
    left.take("parts", len(parts))
    left.take("corners", sum(len(part.points) for part in parts))
    return shapes


def _point(percent: tuple[float, float], width: int, height: int) -> Point:
    x, y = percent
    return to_pixels(x, width), to_pixels(y, height)


class _Overlaps:
    """Finds, among the boxes of a label, the box that has the largest overlap with a shape."""

    def __init__(self, boxes: Sequence[tuple[str, Box]]) -> None:
        self._labels = np.array([label for label, _ in boxes], object)
        self._edges = np.array([(box.x, box.y, box.right, box.bottom) for _, box in boxes]).reshape(-1, 4)
        self._frames = shapely.box(*self._edges.T)
        self._work_left = _MAX_OVERLAP_WORK

    def best(self, label: str, parts: Sequence[Polygon]) -> int | None:
        """The index of the box with the largest overlap; the first of equal ones. None if the shape overlaps no box."""
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
    """The bounding box of all the parts and boxes."""
    corners = [point for part in parts for point in part.points]
    corners += [point for box in boxes for point in ((box.x, box.y), (box.right, box.bottom))]
    return bounds(corners)
