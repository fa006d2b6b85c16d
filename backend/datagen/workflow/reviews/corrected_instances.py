"""The instances of a sample whose outlines a reviewer corrected, from the outlines that are stored with the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import shapely
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Sample
from datagen.synthesis.engine import CorrectedInstance

#: A part of an instance that was left as shown is replaced by a drawn one that covers more than this share of it:
#: reviewers draw a better outline over one that they do not delete.
_DRAWN_OVER = 0.5


def corrected_instances(
    sample: Sample, outlines: Sequence[Mapping[str, Any]], kept: Sequence[int]
) -> tuple[CorrectedInstance, ...]:
    """Return the corrected instances of a sample in the order of its instances.

    An outline belongs to the instance that its bounding box overlaps most; if it overlaps none, it corrects none.

    Args:
        sample: the sample.
        outlines: the outlines that the reviewer drew or moved (``VerdictRow.outlines``).
        kept: the sample's outlines that the reviewer left as shown (``VerdictRow.kept_outlines``).
    """
    drawn: dict[int, list[Polygon]] = {}
    for outline in outlines:
        number = instance_of(sample, outline)
        if number is not None:
            drawn.setdefault(number, []).append(_polygon(outline))
    left = set(kept)
    corrected: list[CorrectedInstance] = []
    first = 0
    for number, instance in enumerate(sample.instances):
        of_instance = [outline for n, outline in enumerate(instance.outlines, start=first) if n in left]
        first += len(instance.outlines)
        if number in drawn:
            shape = shapely.union_all([_shape(polygon) for polygon in drawn[number]])
            parts = [part for part in of_instance if not _is_drawn_over(part, shape)]
            corrected.append(CorrectedInstance(instance=number, outline=(*drawn[number], *parts)))
    return tuple(corrected)


def instance_of(sample: Sample, outline: Mapping[str, Any]) -> int | None:
    """Return the number of the instance whose box overlaps most with that of a drawn outline; None if none does."""
    box = _polygon(outline).bounds
    overlaps = [_overlap(instance.box, box) for instance in sample.instances]
    largest = max(overlaps, default=0.0)
    return overlaps.index(largest) if largest > 0 else None


def _polygon(outline: Mapping[str, Any]) -> Polygon:
    return Polygon(tuple((x, y) for x, y in outline["points"]))


def _overlap(box: Box, other: Box) -> float:
    width = min(box.right, other.right) - max(box.x, other.x)
    height = min(box.bottom, other.bottom) - max(box.y, other.y)
    return max(width, 0.0) * max(height, 0.0)


def _is_drawn_over(part: Polygon, drawn: shapely.Geometry) -> bool:
    shape = _shape(part)
    return bool(shape.intersection(drawn).area > _DRAWN_OVER * shape.area)


def _shape(polygon: Polygon) -> shapely.Geometry:
    return shapely.make_valid(ShapelyPolygon(polygon.points))
