"""Conversion of other controls' shapes to boxes and polygons, the shapes of a study's projects.

Values remain in percent. Label Studio rotates a rectangle clockwise about its top left corner, and an ellipse about its
centre. It rotates in pixels, so the conversions of both need the image's size. All functions are pure."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

from datagen.domain.geometry import Box, Point, rotated_corners, to_percent, to_pixels
from datagen.errors import BadRegion

#: Number of corners of the polygon that approximates an ellipse; its error is below a thousandth of the radius.
_ELLIPSE_CORNERS = 72
#: Number of corners between two vertices of a Bézier curve.
_CURVE_CORNERS = 16
#: Maximum number of vertices of a vector.
_MAX_VERTICES = 10_000
#: Largest absolute value of a percentage, or of an angle in degrees, that is accepted.
_LARGEST = 1e6
#: Maximum number of characters of a bitmask's data URL.
_MAX_URL_CHARS = 16 * 2**20


def number(value: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """The finite number under ``name`` in a region's value, or ``default`` if it is missing.

    Raises:
        BadRegion: It is missing and there is no default, or it is not a number or too large.
    """
    return finite(value.get(name, default), name)


def finite(value: Any, name: str) -> float:
    """A percentage or an angle as a float. ``name`` names it in errors.

    Raises:
        BadRegion: It is a boolean or another value that is not a finite number, or it is too large.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise BadRegion(f"its {name} is not a number; draw it again")
    return float(value)


def corner(value: Any) -> tuple[float, float]:
    """A corner (x, y) of a polygon in percent.

    Raises:
        BadRegion: It is not a pair of finite numbers.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadRegion("the polygon has a corner that is no pair of numbers; draw it again")
    return finite(value[0], "corner"), finite(value[1], "corner")


def upright_extent(value: Mapping[str, Any], width: int, height: int) -> dict[str, float]:
    """A rectangle's x, y, width and height in percent, and its rotation in degrees. Width and height are not negative.

    Other programs may write a negative width or height for a rectangle that was drawn to the left or upwards.

    Raises:
        BadRegion: A number is missing.
    """
    x, y = number(value, "x"), number(value, "y")
    across, down = number(value, "width"), number(value, "height")
    degrees = number(value, "rotation", 0.0)
    if across < 0 or down < 0:
        angle = math.radians(degrees)
        back = to_pixels(min(across, 0.0), width), to_pixels(min(down, 0.0), height)
        x += to_percent(back[0] * math.cos(angle) - back[1] * math.sin(angle), width)
        y += to_percent(back[0] * math.sin(angle) + back[1] * math.cos(angle), height)
    return {"x": x, "y": y, "width": abs(across), "height": abs(down), "rotation": degrees}


def rectangle_corners(value: Mapping[str, Any], width: int, height: int) -> list[list[float]]:
    """The four corners [x, y] of a rectangle in percent, on an image of ``width`` by ``height`` pixels.

    Raises:
        BadRegion: A number is missing, or the rectangle has no area.
    """
    extent = upright_extent(value, width, height)
    if extent["width"] <= 0 or extent["height"] <= 0:
        raise BadRegion("the rectangle has no area; draw it again")
    box = Box(
        to_pixels(extent["x"], width),
        to_pixels(extent["y"], height),
        to_pixels(extent["width"], width),
        to_pixels(extent["height"], height),
    )
    return percentages(rotated_corners(box, extent["rotation"]), width, height)


def ellipse_corners(value: Mapping[str, Any], width: int, height: int) -> list[list[float]]:
    """The corners [x, y], in percent, of a polygon that approximates an ellipse.

    Raises:
        BadRegion: A number is missing, or the ellipse has no area.
    """
    centre = to_pixels(number(value, "x"), width), to_pixels(number(value, "y"), height)
    across = abs(to_pixels(number(value, "radiusX"), width))
    down = abs(to_pixels(number(value, "radiusY"), height))
    if across <= 0 or down <= 0:
        raise BadRegion("the ellipse has no area; draw it again")
    rotation = math.radians(number(value, "rotation", 0.0))
    cos, sin = math.cos(rotation), math.sin(rotation)
    # a polygon with its corners on the ellipse has a smaller area; with this scale the areas are equal
    scale = math.sqrt(2 * math.pi / (_ELLIPSE_CORNERS * math.sin(2 * math.pi / _ELLIPSE_CORNERS)))
    points: list[Point] = []
    for step in range(_ELLIPSE_CORNERS):
        angle = 2 * math.pi * step / _ELLIPSE_CORNERS
        dx, dy = scale * across * math.cos(angle), scale * down * math.sin(angle)
        points.append((centre[0] + dx * cos - dy * sin, centre[1] + dx * sin + dy * cos))
    return percentages(points, width, height)


def vector_corners(value: Mapping[str, Any]) -> list[list[float]]:
    """The corners [x, y] of a closed vector in percent. Its Bézier curves become short straight lines.

    Raises:
        BadRegion: It is an open line, which has no area, or its vertices cannot be read.
    """
    vertices = value.get("vertices")
    if not isinstance(vertices, list) or not all(isinstance(vertex, Mapping) for vertex in vertices):
        raise BadRegion("the vector has no vertices; draw it again")
    if not value.get("closed"):
        raise BadRegion("an open line has no area; draw a polygon or a box round the object")
    if len(vertices) > _MAX_VERTICES:
        raise BadRegion(f"the vector has more than {_MAX_VERTICES:,} vertices; draw it with fewer")
    corners: list[list[float]] = []
    for start, end in zip(vertices, [*vertices[1:], *vertices[:1]], strict=True):
        a, d = _vertex_point(start), _vertex_point(end)
        out, into = start.get("controlPoint2"), end.get("controlPoint1")
        if not isinstance(out, Mapping) and not isinstance(into, Mapping):
            corners.append([*a])
            continue
        b = _vertex_point(out) if isinstance(out, Mapping) else a
        c = _vertex_point(into) if isinstance(into, Mapping) else d
        for step in range(_CURVE_CORNERS):
            t = step / _CURVE_CORNERS
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            corners.append([sum(w * p[axis] for w, p in zip(weights, (a, b, c, d), strict=True)) for axis in (0, 1)])
    return corners


def bitmask(value: Mapping[str, Any], width: int, height: int) -> npt.NDArray[np.bool_]:
    """The mask [height, width] of a bitmask region, which is a PNG in a data URL. It is true where alpha is above 127.

    Raises:
        BadRegion: It is not a PNG, has another size, or is empty.
    """
    url = value.get("imageDataURL")
    head, comma, body = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or "image/png" not in head or "base64" not in head or len(body) > _MAX_URL_CHARS:
        raise BadRegion("the bitmask is no PNG; paint it again")
    try:
        picture = PngImageFile(io.BytesIO(base64.b64decode(body, validate=True)))
        fits = picture.size == (width, height)
        mask = np.asarray(picture.convert("RGBA") if fits else [[[0] * 4]], np.uint8)[:, :, 3] > 127
    except Exception as damage:  # the decoder may raise any exception
        raise BadRegion(f"the bitmask is damaged ({type(damage).__name__}); paint it again") from None
    if not fits:
        raise BadRegion(f"the bitmask is of another size than the picture ({width} × {height}); paint it again")
    if not mask.any():
        raise BadRegion("the bitmask is empty; paint it again, or delete it")
    return mask


def percentages(points: Sequence[Point], width: int, height: int) -> list[list[float]]:
    """Points [x, y] in percent of an image of ``width`` by ``height`` pixels, from points in pixels."""
    return [[to_percent(x, width), to_percent(y, height)] for x, y in points]


def _vertex_point(vertex: Mapping[str, Any]) -> tuple[float, float]:
    return number(vertex, "x"), number(vertex, "y")
