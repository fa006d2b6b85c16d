"""Boxes and polygons in pixels, and their way from and to Label Studio's percentages.

Pixels are continuous: x runs from 0 (left edge) to the image's width, y from 0 (top) to its height.
Label Studio gives percentages of the *oriented* image, with a clockwise ``rotation`` in degrees about a
region's top left corner. Nothing here knows about payloads: see ``datagen.label_studio.mapping.regions``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import shapely
from shapely.geometry import MultiPolygon, box
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.crossings import check_crossings
from datagen.domain.wording import counted
from datagen.errors import BadRegion

Point = tuple[float, float]

#: A region that covers less than this many square pixels of its image cannot be seen, let alone learned from.
SMALLEST_AREA_PX = 4.0

#: No hand draws a corner this far from an image; beyond it, areas are no longer numbers.
FARTHEST_PX = 1e9

#: A polygon with more corners than this is not read at all.
MOST_CORNERS_READ = 200_000
#: A polygon with more corners than this is thinned to it. Drawn by hand it has dozens, from a model some thousands.
MOST_CORNERS = 5_000
#: Thinning may move an outline by this many pixels at first, and by this share of the image's longer side at most.
_THINNING_PX, _THINNING_SHARE = 0.5, 1 / 250
#: A region that falls into more parts than this, or has more holes, is refused: each hole cuts the parts anew.
MOST_PARTS = 200
MOST_HOLES = 200


@dataclass(frozen=True, slots=True)
class Box:
    """An upright box: left, top, width and height in pixels.

    Whatever numbers it is given are kept as floats, so that equal boxes have one JSON form and one digest.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def right(self) -> float:
        """The x of its right edge, in pixels."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its bottom edge, in pixels."""
        return self.y + self.height

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Polygon:
    """A simple, closed polygon: at least three corners in pixels, the last not repeated.

    Its coordinates are kept as floats, for the reason that a box's are.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in self.points))

    @property
    def area(self) -> float:
        """Square pixels."""
        return float(ShapelyPolygon(self.points).area)

    @property
    def bounds(self) -> Box:
        """The smallest upright box round it."""
        return bounds(self.points)


def bounds(points: Sequence[Point]) -> Box:
    """The smallest upright box round ``points`` (at least one)."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def to_pixels(value_percent: float, extent_px: int) -> float:
    """A percentage of an extent as pixels."""
    return value_percent * extent_px / 100.0


def to_percent(value_px: float, extent_px: int) -> float:
    """Pixels as a percentage of an extent."""
    return value_px * 100.0 / extent_px


def rotated_corners(upright: Box, degrees: float) -> tuple[Point, Point, Point, Point]:
    """The corners of a box turned clockwise by ``degrees`` about its top left corner, as Label Studio turns it."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [
        (upright.x + dx * cos - dy * sin, upright.y + dx * sin + dy * cos)
        for dx, dy in ((0.0, 0.0), (upright.width, 0.0), (upright.width, upright.height), (0.0, upright.height))
    ]
    return turned[0], turned[1], turned[2], turned[3]


def clip_box(raw: Box, width: int, height: int) -> Box:
    """The part of ``raw`` inside an image of ``width`` by ``height`` pixels.

    Raises:
        BadRegion: it has no area, is not finite, or lies outside the image.
    """
    if not all(math.isfinite(v) for v in (raw.x, raw.y, raw.width, raw.height)):
        raise BadRegion("the box has a coordinate that is not a number; draw it again")
    if raw.width <= 0 or raw.height <= 0:
        raise BadRegion("the box has no area; draw it again round the whole thing")
    left, top = max(raw.x, 0.0), max(raw.y, 0.0)
    right, bottom = min(raw.right, float(width)), min(raw.bottom, float(height))
    if right <= left or bottom <= top:
        raise BadRegion("the box lies outside the image; draw it again inside")
    clipped = Box(left, top, right - left, bottom - top)
    if clipped.area < SMALLEST_AREA_PX:
        raise BadRegion(f"the box covers less than {SMALLEST_AREA_PX:g} square pixels; draw it larger")
    return clipped


def clip_polygon(points: Sequence[Point], width: int, height: int) -> tuple[Polygon, ...]:
    """The simple polygons that ``points`` cover inside an image of ``width`` by ``height`` pixels.

    A polygon that crosses itself is split into simple parts (even-odd rule, as Label Studio fills it), and
    what leaves the image is cut off: so one drawn polygon can give several. Holes are bridged into the outline.

    The work is bounded: a polygon of very many corners is thinned, one of very many crossings, parts or holes refused.

    Raises:
        BadRegion: fewer than three corners, not finite, no area, all of it outside the image, or beyond a bound.
    """
    check_corners(len(points))
    if len(set(points)) < 3:
        raise BadRegion(f"the polygon has {counted(len(set(points)), 'different corner')}; it needs at least 3")
    if not all(math.isfinite(v) for point in points for v in point):
        raise BadRegion("the polygon has a coordinate that is not a number; draw it again")
    if any(abs(v) > FARTHEST_PX for point in points for v in point):
        raise BadRegion("the polygon has a corner absurdly far from the image; draw it again")
    if len(points) > MOST_CORNERS:
        points = _thinned(points, max(width, height))
    check_crossings(points)
    drawn = shapely.make_valid(ShapelyPolygon(points))
    if drawn.area <= 0:
        raise BadRegion("the polygon has no area: its corners lie on one line; draw it again")
    inside = drawn.intersection(box(0, 0, width, height))
    if inside.area <= 0:
        raise BadRegion("the polygon lies outside the image; draw it again inside")
    parts = polygons_of(inside)
    if not parts:
        raise BadRegion(f"the polygon covers less than {SMALLEST_AREA_PX:g} square pixels; draw it larger")
    return parts


def check_corners(count: int) -> None:
    """Let a polygon pass that has few enough corners to be read.

    Raises:
        BadRegion: it has more.
    """
    if count > MOST_CORNERS_READ:
        raise BadRegion(
            f"the polygon has {count:,} corners, at most {MOST_CORNERS_READ:,} are read; draw it again with fewer"
        )


def _thinned(points: Sequence[Point], extent: int) -> Sequence[Point]:
    """At most ``MOST_CORNERS`` of the corners: of consecutive ones in the same small square only the first."""
    square = _THINNING_PX
    while square <= max(_THINNING_PX, extent * _THINNING_SHARE):
        kept, last = [], None
        for x, y in points:
            cell = (x // square, y // square)
            if cell != last:
                kept.append((x, y))
            last = cell
        if len(kept) <= MOST_CORNERS:
            if len(kept) < 3:
                raise BadRegion(f"the polygon covers less than {SMALLEST_AREA_PX:g} square pixels; draw it larger")
            return kept
        square *= 2
    raise BadRegion(
        f"the polygon has {len(points):,} corners, and more than {MOST_CORNERS:,} even where its outline is drawn "
        "coarser; draw it again with fewer"
    )


def polygons_of(shape: shapely.Geometry) -> tuple[Polygon, ...]:
    """The simple polygons that together cover ``shape``, largest first; parts too small to be seen are dropped.

    Raises:
        BadRegion: it has more parts or holes than are accepted.
    """
    pieces = [piece for piece in _pieces(shape) if piece.area >= SMALLEST_AREA_PX]
    holes = sum(len(piece.interiors) for piece in pieces)
    if len(pieces) > MOST_PARTS:
        raise BadRegion(
            f"it falls into {len(pieces):,} separate parts, at most {MOST_PARTS} are accepted; draw it in fewer parts"
        )
    if holes > MOST_HOLES:
        raise BadRegion(f"it has {holes:,} holes, at most {MOST_HOLES} are accepted; draw it with fewer holes")
    parts = [part for piece in pieces for part in _simple_parts(piece) if part.area >= SMALLEST_AREA_PX]
    parts.sort(key=lambda part: (-part.area, part.bounds))
    return tuple(Polygon(tuple((float(x), float(y)) for x, y in part.exterior.coords[:-1])) for part in parts)


def _pieces(shape: shapely.Geometry) -> list[ShapelyPolygon]:
    """The polygons of a shape, with their holes; lines and points are dropped."""
    if isinstance(shape, ShapelyPolygon):
        return [shape]
    if isinstance(shape, MultiPolygon) or shape.geom_type == "GeometryCollection":
        return [piece for one in shape.geoms for piece in _pieces(one)]
    return []


def _simple_parts(shape: shapely.Geometry) -> list[ShapelyPolygon]:
    """Every polygon without holes that together cover ``shape``; lines and points are dropped."""
    if isinstance(shape, ShapelyPolygon):
        if not shape.interiors:
            return [shape]
        # cut through the first hole: two parts with one hole less, until none is left
        left, top, right, bottom = shape.bounds
        cut = shape.interiors[0].centroid.x
        halves = (shape.intersection(box(left, top, cut, bottom)), shape.intersection(box(cut, top, right, bottom)))
        return [part for half in halves for part in _simple_parts(half)]
    if isinstance(shape, MultiPolygon) or shape.geom_type == "GeometryCollection":
        return [part for piece in shape.geoms for part in _simple_parts(piece)]
    return []
