"""Outlines that reviewers corrected on previews become the outlines of the concepts that the previews were made from.

The trace of an instance has its pose and the position of the concept's photo in the sample. An outline in pixels of
the sample is mapped back to pixels of the photo. This is not possible if the instance has another shape than its
concept, or only a part of it; a sentence states this and the fix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.geometry import Polygon, polygons_of
from datagen.domain.trace import InstanceTrace
from datagen.domain.verdict import Reason
from datagen.domain.wording import by_number, counted
from datagen.errors import BadRegion
from datagen.synthesis.composite.appearance.pose import Pose, linear_map
from datagen.synthesis.composite.appearance.shape import AS_PHOTOGRAPHED
from datagen.synthesis.composite.parameters import (
    MAX_CORRECTED_CONCEPTS,
    MAX_OUTLINE_CORNERS,
    MAX_OUTLINE_PARTS,
    CompositeParameters,
)
from datagen.synthesis.composite.refinement.evidence import used_names
from datagen.synthesis.engine import ReviewedSample

#: Tolerance in pixels with which a corrected outline is simplified at first; it is doubled until few corners are left.
_TOLERANCE_PX = 0.1
#: Outlines of one concept that are compared, the first ones: the work grows with the square of their number.
_MAX_COMPARED = 12
#: Decimals of a corner's coordinates in the parameters.
_DECIMALS = 2
_REMEDY = "draw its outline in the project Concepts and build a preview."


@dataclass(slots=True)
class _OfConcept:
    """The corrected outlines of one concept: those mapped to its photo, and why others are not."""

    name: str
    outlines: list[list[list[list[float]]]] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)


def use_corrections(
    p: CompositeParameters, judged: Sequence[ReviewedSample]
) -> tuple[CompositeParameters, list[str], frozenset[str]]:
    """Return parameters with the corrected outlines of the judged samples, sentences, and the concepts' keys.

    Of several outlines of one concept, the one that overlaps most with the others is used, among equals the first.
    """
    concepts = _by_concept(judged)
    new: dict[str, list[list[list[float]]]] = {}
    notes: list[str] = []
    for key, concept in sorted(concepts.items()):
        if concept.outlines:
            new[key] = _most_typical(concept.outlines)
            seen = counted(len(concept.outlines), "preview")
            notes.append(f"Concept {concept.name} is cut out along the outline that was corrected on {seen}.")
        else:
            reasons = " and ".join(concept.problems)
            notes.append(f"The outline that was corrected on concept {concept.name} is not used: {reasons}; {_REMEDY}")
    if not new:
        return p, notes, frozenset()
    outlines = {**p.corrected_outlines, **new}
    surplus = len(outlines) - MAX_CORRECTED_CONCEPTS
    if surplus > 0:
        forgotten = [key for key in sorted(outlines) if key not in new][:surplus]
        forgotten += sorted(new)[: surplus - len(forgotten)]
        outlines = {key: outline for key, outline in outlines.items() if key not in forgotten}
        notes.append(
            f"At most {MAX_CORRECTED_CONCEPTS} concepts have corrected outlines: {counted(len(forgotten), 'outline')} "
            f"{by_number(len(forgotten), 'is', 'are')} forgotten. Draw outlines in the project Concepts instead."
        )
    return p.model_copy(update={"corrected_outlines": outlines}), notes, frozenset(new)


def without_settled(judged: Sequence[ReviewedSample], keys: Collection[str]) -> list[ReviewedSample]:
    """Return the samples without the reason “label is off” where the concepts ``keys`` have got a corrected outline.

    A sample on which nothing else is wrong is left out.
    """
    left: list[ReviewedSample] = []
    for sample in judged:
        if Reason.MASK_OFF in sample.verdict.reasons and used_names(sample, "concept").keys() & set(keys):
            reasons = sample.verdict.reasons - {Reason.MASK_OFF}
            if not reasons:
                continue
            sample = replace(sample, verdict=replace(sample.verdict, reasons=reasons))
        left.append(sample)
    return left


def _by_concept(judged: Iterable[ReviewedSample]) -> dict[str, _OfConcept]:
    concepts: dict[str, _OfConcept] = {}
    for sample in judged:
        names = used_names(sample, "concept")
        for corrected in sample.corrected:
            if corrected.instance >= len(sample.trace.instances):
                continue  # an engine that traces no instances
            trace = sample.trace.instances[corrected.instance]
            if trace.concept is None:
                continue
            concept = concepts.setdefault(trace.concept.key, _OfConcept(name=names[trace.concept.key]))
            problem = _why_not(trace)
            if problem:
                concept.problems[problem] = None
            elif len(concept.outlines) < _MAX_COMPARED:
                outline = _simplified(_in_photo(corrected.outline, trace))
                if outline:
                    concept.outlines.append(outline)
                else:
                    concept.problems["it covers too few pixels of the photo"] = None
    return concepts


def _why_not(trace: InstanceTrace) -> str:
    """Return why an outline on this instance cannot be mapped back to the concept's photo; empty if it can."""
    shape = trace.details.get("shape", AS_PHOTOGRAPHED)
    if shape != AS_PHOTOGRAPHED:
        return f"in the preview the concept has another shape than in its photo (“{shape}”)"
    if trace.details.get("edge") not in (None, "left out"):
        return "in the preview the concept lies at an edge, which cuts it off"
    if trace.details.get("left_out"):
        return "in the preview a part of the concept is left out, because it would lie beside what carries it"
    if trace.matte == "drawn":
        return "the concept has an outline in the project Concepts, which is used"
    if _placed_at(trace) is None:
        return "the preview is of a version that did not store where the concept was placed"
    return ""


def _placed_at(trace: InstanceTrace) -> tuple[float, float] | None:
    """Return where the top left corner of the concept's photo lies in the sample, in pixels; None if unknown."""
    match trace.details.get("placed_at"):
        case [int() | float() as x, int() | float() as y] if trace.degrees is not None and trace.scale:
            return float(x), float(y)
    return None


def _in_photo(outline: Sequence[Polygon], trace: InstanceTrace) -> shapely.Geometry:
    """Return an outline in pixels of the sample as a shape in pixels of the concept's photo."""
    placed_at = _placed_at(trace)
    assert placed_at is not None
    pose = Pose(
        degrees=trace.degrees or 0.0,
        scale=trace.scale or 1.0,
        mirrored=bool(trace.mirrored),
        stretch=trace.stretch or 1.0,
    )
    back = np.linalg.inv(linear_map(pose))
    parts = [ShapelyPolygon((back @ (np.asarray(polygon.points) - placed_at).T).T) for polygon in outline]
    return shapely.union_all([shapely.make_valid(part) for part in parts])


def _most_typical(outlines: Sequence[list[list[list[float]]]]) -> list[list[list[float]]]:
    """Return the outline with the largest sum of intersections over unions with the others; among equals the first."""
    shapes = [
        shapely.union_all([shapely.make_valid(ShapelyPolygon(polygon)) for polygon in outline]) for outline in outlines
    ]
    overlaps: npt.NDArray[np.float64] = np.array(
        [[shape.intersection(other).area / max(shape.union(other).area, 1e-9) for other in shapes] for shape in shapes]
    )
    return outlines[int(np.argmax(np.round(overlaps.sum(axis=1), 6)))]


def _simplified(shape: shapely.Geometry) -> list[list[list[float]]]:
    """Return a shape as polygons with at most ``MAX_OUTLINE_CORNERS`` corners together; empty if it is too small."""
    tolerance = _TOLERANCE_PX
    polygons: tuple[Polygon, ...] = ()
    while not polygons and tolerance <= max(shape.length, 1.0):
        shape = shapely.simplify(shape, tolerance)
        tolerance *= 2
        if shapely.get_num_coordinates(shape) > 2 * MAX_OUTLINE_CORNERS:
            continue
        try:
            polygons = polygons_of(shape)[:MAX_OUTLINE_PARTS]
        except BadRegion:  # too many holes; further simplification leaves fewer
            continue
        if sum(len(polygon.points) for polygon in polygons) > MAX_OUTLINE_CORNERS:
            polygons = ()
    return [[[round(x, _DECIMALS), round(y, _DECIMALS)] for x, y in polygon.points] for polygon in polygons]
