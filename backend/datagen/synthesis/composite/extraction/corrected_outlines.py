"""Outlines that reviewers corrected on previews, as the parameters of a spec hold them, and their use in a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import shapely
from shapely.geometry import Polygon as ShapelyPolygon
from shapely.geometry import box as shapely_box

from datagen.domain.geometry import Box, Polygon, bounds, clip_polygon
from datagen.domain.inputs import ConceptImage, ConceptRegion
from datagen.errors import BadRegion
from datagen.synthesis.composite.extraction.exemplars import exemplar_key

#: The method in traces and reports of a matte whose outline was corrected on a preview.
CORRECTED = "corrected outline"
#: An outline is used if at least this share of its area lies in its box, widened by this share of the box's sides on
#: each side. Otherwise it was drawn for another box: a box's number changes when one before it is deleted.
_SHARE_INSIDE, _WIDENED = 0.75, 0.5

#: Polygons, each as its corners, in pixels of the concept's photo.
Outline = Sequence[Sequence[Sequence[float]]]


def with_corrected_outlines(
    concepts: Sequence[ConceptImage], outlines: Mapping[str, Outline]
) -> tuple[tuple[ConceptImage, ...], frozenset[str], tuple[str, ...]]:
    """Return the concept photos with the corrected outlines in place of missing ones.

    An outline that is drawn in the project Concepts is kept. A box grows to contain its corrected outline.

    Args:
        concepts: the concept photos.
        outlines: the corrected outlines by the key of their concept (``CompositeParameters.corrected_outlines``).

    Returns:
        The photos, the keys of the concepts whose corrected outline is used, and a sentence for each that is not.
    """
    used: set[str] = set()
    warnings: list[str] = []
    corrected_concepts: list[ConceptImage] = []
    for concept in concepts:
        regions: list[ConceptRegion] = []
        for number, region in enumerate(concept.regions):
            key = exemplar_key(concept, number)
            if key in outlines and not region.outline:
                corrected, problem = _corrected(concept, region, outlines[key])
                if problem:
                    warnings.append(f"concept {concept.image.name}, box {number + 1}: {problem}")
                else:
                    used.add(key)
                region = corrected
            regions.append(region)
        corrected_concepts.append(replace(concept, regions=tuple(regions)))
    return tuple(corrected_concepts), frozenset(used), tuple(warnings)


def _corrected(concept: ConceptImage, region: ConceptRegion, outline: Outline) -> tuple[ConceptRegion, str]:
    """Return a region with its corrected outline, or unchanged with the reason."""
    polygons: list[Polygon] = []
    for points in outline:
        try:
            polygons += clip_polygon([(x, y) for x, y in points], concept.image.width, concept.image.height)
        except BadRegion:
            continue  # a small part of it, or one beyond the photo's border
    if not polygons or _share_inside(polygons, region.box) < _SHARE_INSIDE:
        return region, (
            "the outline that was corrected on a preview does not lie in this box, so it is not used. Draw the outline "
            "in the project Concepts."
        )
    corners = [point for polygon in polygons for point in polygon.points]
    whole = region.box
    corners += [(whole.x, whole.y), (whole.right, whole.bottom)]
    return replace(region, box=bounds(corners), outline=tuple(polygons)), ""


def _share_inside(polygons: Sequence[Polygon], box: Box) -> float:
    """Return the share of the polygons' area that lies in the widened box."""
    shape = shapely.union_all([ShapelyPolygon(polygon.points) for polygon in polygons])
    across, down = _WIDENED * box.width, _WIDENED * box.height
    window = shapely_box(box.x - across, box.y - down, box.right + across, box.bottom + down)
    return float(shape.intersection(window).area / shape.area)
