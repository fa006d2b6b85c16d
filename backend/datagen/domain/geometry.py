"""Boxes and polygons in pixels, and their conversion from and to Label Studio's percentages.

Pixels are continuous: x runs from 0 (left edge) to the image's width, y from 0 (top) to its height.
Label Studio gives percentages of the *oriented* image, with a clockwise ``rotation`` in degrees about a
region's top left corner. Payloads are converted in ``datagen.label_studio.mapping.regions``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import shapely
from shapely.geometry import MultiPolygon, box
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.crossings import check_crossings
from datagen.domain.ring_splitting import split_rings
from datagen.domain.wording import counted
from datagen.errors import BadRegion

Point = tuple[float, float]

#: Smallest area of a usable region, in square pixels of its image.
SMALLEST_AREA_PX = 4.0

#: Largest absolute coordinate of a corner, in pixels. Areas computed from larger coordinates are meaningless.
FARTHEST_PX = 1e9

#: Largest number of corners of an accepted polygon. A polygon with more is refused.
MAX_CORNERS_READ = 200_000
#: An accepted polygon with more corners than this is thinned to at most this number. Hand-drawn polygons have dozens of
#: corners; polygons drawn by a model have some thousands.
MAX_CORNERS = 5_000
#: Thinning keeps the corners that lie in different cells of a grid. The side of a cell is first this many pixels. It is
#: doubled until few enough corners are left, at most to this fraction of the image's longer side.
_THINNING_PX, _THINNING_SHARE = 0.5, 1 / 250
#: Largest numbers of parts and of holes of a region. Holes are limited because each one that is removed splits a part.
MAX_PARTS = 200
MAX_HOLES = 200


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box: left, top, width and height in pixels.

    All values are stored as floats, so that equal boxes have one JSON form and one digest.
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
        """The x coordinate of the right edge, in pixels."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y coordinate of the bottom edge, in pixels."""
        return self.y + self.height

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Polygon:
    """A simple, closed polygon: at least three corners in pixels, the last not repeated.

    Coordinates are stored as floats, so that equal polygons have one JSON form and one digest.
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
        """The bounding box."""
        return bounds(self.points)


def bounds(points: Sequence[Point]) -> Box:
    """Return the bounding box of ``points`` (at least one)."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def to_pixels(value_percent: float, extent_px: int) -> float:
    """Convert a percentage of an image's width or height (``extent_px``) to pixels."""
    return value_percent * extent_px / 100.0


def to_percent(value_px: float, extent_px: int) -> float:
    """Convert pixels to a percentage of an image's width or height (``extent_px``)."""
    return value_px * 100.0 / extent_px


def rotated_corners(upright: Box, degrees: float) -> tuple[Point, Point, Point, Point]:
    """Return the corners of a box rotated clockwise by ``degrees`` about its top left corner, as in Label Studio."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [
        (upright.x + dx * cos - dy * sin, upright.y + dx * sin + dy * cos)
        for dx, dy in ((0.0, 0.0), (upright.width, 0.0), (upright.width, upright.height), (0.0, upright.height))
    ]
    return turned[0], turned[1], turned[2], turned[3]


def clip_box(raw: Box, width: int, height: int) -> Box:
    """Return the part of ``raw`` inside an image of ``width`` by ``height`` pixels.

    Raises:
        BadRegion: the box has no area, is not finite, lies outside the image, or covers less than SMALLEST_AREA_PX.
    """
    if not all(math.isfinite(v) for v in (raw.x, raw.y, raw.width, raw.height)):
        raise BadRegion("the box has a coordinate that is not a number; draw it again")
    if raw.width <= 0 or raw.height <= 0:
        raise BadRegion("the box has no area; draw it again round the whole object")
    left, top = max(raw.x, 0.0), max(raw.y, 0.0)
    right, bottom = min(raw.right, float(width)), min(raw.bottom, float(height))
    if right <= left or bottom <= top:
        raise BadRegion("the box lies outside the image; draw it again inside")
    clipped = Box(left, top, right - left, bottom - top)
    if clipped.area < SMALLEST_AREA_PX:
        raise BadRegion(f"the box covers less than {SMALLEST_AREA_PX:g} square pixels; draw it larger")
    return clipped


def clip_polygon(points: Sequence[Point], width: int, height: int) -> tuple[Polygon, ...]:
    """Return the simple polygons that ``points`` cover inside an image of ``width`` by ``height`` pixels.

    A polygon that crosses itself is split into simple parts by the even-odd rule, by which Label Studio fills it. The
    parts are clipped to the image. A part with holes is split into parts without holes. One drawn polygon can therefore
    give several simple polygons.

    The work is bounded. A polygon with very many corners is thinned. A polygon with very many crossings, parts or holes
    is refused.

    Raises:
        BadRegion: the polygon has fewer than three corners, is not finite, has no area, lies outside the image, or
            exceeds a bound.
    """
    check_corners(len(points))
    if len(set(points)) < 3:
        raise BadRegion(f"the polygon has {counted(len(set(points)), 'different corner')}; it needs at least 3")
    if not all(math.isfinite(v) for point in points for v in point):
        raise BadRegion("the polygon has a coordinate that is not a number; draw it again")
    if any(abs(v) > FARTHEST_PX for point in points for v in point):
        raise BadRegion("the polygon has a corner absurdly far from the image; draw it again")
    if len(points) > MAX_CORNERS:
        points = _thinned(points, max(width, height))
    check_crossings(points)
    rings = split_rings(points)
    if len(rings) > MAX_PARTS + MAX_HOLES:
        raise BadRegion(
            f"it joins {counted(len(rings), 'outline')}, at most {MAX_PARTS + MAX_HOLES} are accepted; draw it in fewer"
        )
    valid = [shapely.make_valid(ShapelyPolygon(ring)) for ring in rings]
    drawn = reduce(shapely.symmetric_difference, valid, ShapelyPolygon())
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
    """Check that a polygon has at most ``MAX_CORNERS_READ`` corners.

    Raises:
        BadRegion: it has more.
    """
    if count > MAX_CORNERS_READ:
        raise BadRegion(
            f"the polygon has {count:,} corners, at most {MAX_CORNERS_READ:,} are read; draw it again with fewer"
        )


def _thinned(points: Sequence[Point], extent: int) -> Sequence[Point]:
    """Return at most ``MAX_CORNERS`` corners of an outline; see ``_THINNING_PX`` for the grid.

    Of consecutive corners in one grid cell, only the first is kept. ``extent`` is the image's longer side in pixels.

    Raises:
        BadRegion: too many corners are left with the largest cells, or fewer than three are left.
    """
    cell_size = _THINNING_PX
    while cell_size <= max(_THINNING_PX, extent * _THINNING_SHARE):
        kept, last = [], None
        for x, y in points:
            cell = (x // cell_size, y // cell_size)
            if cell != last:
                kept.append((x, y))
            last = cell
        if len(kept) <= MAX_CORNERS:
            if len(kept) < 3:
                raise BadRegion(f"the polygon covers less than {SMALLEST_AREA_PX:g} square pixels; draw it larger")
            return kept
        cell_size *= 2
    raise BadRegion(
        f"the polygon has {len(points):,} corners, and more than {MAX_CORNERS:,} even where its outline is drawn "
        "coarser; draw it again with fewer"
    )


def polygons_of(shape: shapely.Geometry) -> tuple[Polygon, ...]:
    """Return the simple polygons that together cover ``shape``, largest first.

    Parts smaller than SMALLEST_AREA_PX are dropped.

    Raises:
        BadRegion: the shape has more parts than MAX_PARTS or more holes than MAX_HOLES.
    """
    pieces = [piece for piece in _pieces(shape) if piece.area >= SMALLEST_AREA_PX]
    holes = sum(len(piece.interiors) for piece in pieces)
    if len(pieces) > MAX_PARTS:
        raise BadRegion(
            f"it falls into {len(pieces):,} separate parts, at most {MAX_PARTS} are accepted; draw it in fewer parts"
        )
    if holes > MAX_HOLES:
        raise BadRegion(f"it has {holes:,} holes, at most {MAX_HOLES} are accepted; draw it with fewer holes")
    parts = [part for piece in pieces for part in _simple_parts(piece) if part.area >= SMALLEST_AREA_PX]
    parts.sort(key=lambda part: (-part.area, part.bounds))
    return tuple(Polygon(tuple((float(x), float(y)) for x, y in part.exterior.coords[:-1])) for part in parts)


def _pieces(shape: shapely.Geometry) -> list[ShapelyPolygon]:
    """Return the polygons in a shape, each with its holes. Lines and points in the shape are dropped."""
    if isinstance(shape, ShapelyPolygon):
        return [shape]
    if isinstance(shape, MultiPolygon) or shape.geom_type == "GeometryCollection":
        return [piece for part in shape.geoms for piece in _pieces(part)]
    return []


def _simple_parts(shape: shapely.Geometry) -> list[ShapelyPolygon]:
    """Return polygons without holes that together cover ``shape``. Lines and points in the shape are dropped."""
    if isinstance(shape, ShapelyPolygon):
        if not shape.interiors:
            return [shape]
        # cut through the first hole, which leaves two parts with fewer holes; repeat until none is left
        left, top, right, bottom = shape.bounds
        cut = shape.interiors[0].centroid.x
        halves = (shape.intersection(box(left, top, cut, bottom)), shape.intersection(box(cut, top, right, bottom)))
        return [part for half in halves for part in _simple_parts(half)]
    if isinstance(shape, MultiPolygon) or shape.geom_type == "GeometryCollection":
        return [part for piece in shape.geoms for part in _simple_parts(piece)]
    return []
