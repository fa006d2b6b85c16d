"""Suggestions for annotators: outlines cut out of boxes, areas learned from the canvases, and boxes on new photos.

Outlines and areas are those that the engine would use. Annotators can thus correct a wrong one before anything is
synthesized. Boxes are what looks like the concepts drawn so far (``box_matching``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np

from datagen.domain.geometry import Point, Polygon
from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef
from datagen.synthesis.composite.box_matching import BoxMatcher, learn_matcher
from datagen.synthesis.composite.extraction.exemplars import cut_out
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.area_model import AreaModel, drawn_area, fit_area
from datagen.synthesis.engine import FEWEST_PHOTOS, Picture, Pictures, SuggestedBox, SuggestedOutline, Suggester
from datagen.synthesis.intensity import Bools
from datagen.synthesis.masks import outlines
from datagen.synthesis.segmentation.loading import load_segmenter
from datagen.synthesis.segmentation.segmenter import Segmenter

T = TypeVar("T")

#: Largest distance between a suggested outline and the exact one, in pixels of the photo (of the reduced picture for an
#: area). Fewer corners are easier to edit by hand.
_TOLERANCE_PX = 0.7
#: A part of a suggested area is dropped if it covers less than this share of the photo.
_SMALLEST_SHARE = 0.01
#: Maximum number of boxes that are suggested on a photo.
MOST_BOXES = 5
#: Maximum number of photos with boxes, and of backgrounds, from which the matching of boxes is learned.
_LEARNED_PHOTOS, _LEARNED_BACKGROUNDS = 12, 16


class CompositeSuggester(Suggester):
    """Suggests outlines of the extracted concepts, areas of the area model, and boxes that match the drawn ones."""

    def __init__(
        self,
        parameters: CompositeParameters,
        concepts: Sequence[ConceptImage],
        canvases: Sequence[CanvasImage],
        backgrounds: Sequence[ImageRef],
        pictures: Pictures,
    ) -> None:
        self.basis = parameters.segmenter  # no other parameter changes the outlines and areas
        self._concepts, self._canvases, self._backgrounds = concepts, canvases, backgrounds
        self._pictures = pictures
        self._templates = Templates(backgrounds, pictures)

    def outlines(self, concept: ConceptImage) -> tuple[SuggestedOutline, ...]:
        """Return a suggestion for each usable box of a concept photo that has no drawn outline.

        The suggested outline is empty if nothing in the box differs from its surroundings.
        """
        boxes = {region.box for region in concept.regions if not region.outline}
        picture = self._pictures.load(concept.image)
        exemplars, _ = cut_out(concept, picture, {}, self._templates, self._segmenter)
        return tuple(
            SuggestedOutline(
                label=exemplar.label,
                box=exemplar.box,
                outline=()
                if exemplar.method == "box"
                else _few_corners(outlines(exemplar.mask, (exemplar.frame.left, exemplar.frame.top))),
            )
            for exemplar in exemplars
            if exemplar.box in boxes
        )

    def area(self, photo: ImageRef) -> tuple[Polygon, ...]:
        """Return the area that the model predicts on a photo; empty if no canvas polygon covers a pixel."""
        if self._area_model is None:
            return ()
        picture = self._pictures.load(photo)
        height, width = picture.shape[:2]
        allowed = self._area_model.allowed(self._area_model.likelihood(picture), 0.5).astype(np.uint8)
        opened = np.asarray(cv2.morphologyEx(allowed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
        rows, columns = allowed.shape
        parts = outlines(opened > 0)
        smallest = _SMALLEST_SHARE * rows * columns
        return tuple(
            Polygon(tuple((x * width / columns, y * height / rows) for x, y in polygon.points))
            for polygon in _few_corners([part for part in parts if part.area >= smallest])
        )

    def boxes(self, photo: ImageRef) -> tuple[SuggestedBox, ...]:
        """Return at most MOST_BOXES boxes of the labels that are drawn in FEWEST_PHOTOS photos, the surest first."""
        if not self._matchers:
            return ()
        picture = self._pictures.load(photo)
        suggested = [
            SuggestedBox(label=label, box=box, score=score)
            for label, matcher in self._matchers.items()
            for box, score in matcher.find(picture, MOST_BOXES)
        ]
        return tuple(sorted(suggested, key=lambda box: -box.score)[:MOST_BOXES])

    @cached_property
    def _segmenter(self) -> Segmenter | None:
        """The segmentation model that the parameters name, loaded when the first outline is asked for; or None."""
        return load_segmenter(self.basis)

    @cached_property
    def _area_model(self) -> AreaModel | None:
        """The area model of the canvases' polygons of all labels; None if no polygon covers a pixel."""
        drawn: list[tuple[Picture, Bools]] = []
        for canvas in self._canvases:
            picture = self._pictures.load(canvas.image)
            mask = drawn_area([area.polygon for area in canvas.areas], *picture.shape[:2])
            if mask.any():
                drawn.append((picture, mask))
        return fit_area(drawn) if drawn else None

    @cached_property
    def _matchers(self) -> dict[str, BoxMatcher]:
        """The matcher of each label that is drawn in enough photos, learned when the first boxes are asked for."""
        matchers = {}
        backgrounds = evenly(self._backgrounds, _LEARNED_BACKGROUNDS)
        for label in dict.fromkeys(region.label for concept in self._concepts for region in concept.regions):
            shown = [concept for concept in self._concepts if any(region.label == label for region in concept.regions)]
            if len(shown) >= FEWEST_PHOTOS:
                matcher = learn_matcher(
                    [
                        (
                            concept.image,
                            [region.box for region in concept.regions if region.label == label],
                            [region.box for region in concept.regions if region.label != label],
                        )
                        for concept in evenly(shown, _LEARNED_PHOTOS)
                    ],
                    backgrounds[::2],
                    backgrounds[1::2],
                    self._pictures,
                )
                if matcher is not None:
                    matchers[label] = matcher
        return matchers


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most ``most`` items, evenly distributed over the sequence."""
    count = min(len(items), most)
    return [items[n * len(items) // count] for n in range(count)]


def _few_corners(polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
    return tuple(Polygon(_simplified(polygon.points)) for polygon in polygons)


def _simplified(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Return fewer corners of the same outline (Douglas-Peucker), or ``points`` if fewer than three would remain."""
    short = cv2.approxPolyDP(np.asarray(points, np.float32)[:, None], _TOLERANCE_PX, True)[:, 0]
    return tuple((float(x), float(y)) for x, y in short) if len(short) >= 3 else points
