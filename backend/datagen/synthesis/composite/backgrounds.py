"""The backgrounds of a spec, and a cache of the areas predicted on them.

A spec can have thousands of backgrounds. Each is loaded when a sample needs it. ``Pictures`` caches the decoded pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from datagen.domain.inputs import ImageRef
from datagen.synthesis.composite.extraction.backdrop import Backdrop
from datagen.synthesis.composite.placement.area_model import AreaModel
from datagen.synthesis.composite.placement.edge_search import Carrier, find_carrier
from datagen.synthesis.composite.placement.hard_negatives import Look, near_lookalikes, places
from datagen.synthesis.engine import LearnedArea, Picture, Pictures
from datagen.synthesis.intensity import Bools

#: Number of areas kept in the cache; each has up to 65 kB and is expensive to compute.
KEPT_AREAS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """The area where a label may appear on one background, at the reduced scale of ``reduced_scale``. It may be empty.

    ``inside`` [h, w] is true in the area. ``places`` are flat pixel indices to draw from; some occur more than once.
    ``carrier`` describes the object that carries the concepts, such as a leaf, and its edge. It is None if the canvases
    do not distinguish a carrier from the backdrop behind it.
    """

    inside: Bools
    places: npt.NDArray[np.uint16]
    carrier: Carrier | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaModels:
    """The usable backgrounds of a spec, in order, and what predicts each label's area on them. It holds no pixels."""

    refs: tuple[ImageRef, ...]
    models: Mapping[str, AreaModel]
    looks: Mapping[str, Look | None]
    backdrops: Mapping[str, Backdrop | None]
    strictness: float


class Backgrounds:
    """The background pictures of a spec, in order, and the areas the models predict on them."""

    def __init__(self, area_models: AreaModels, pictures: Pictures) -> None:
        self._area_models = area_models
        self._pictures = pictures
        self._areas: LRUCache[tuple[int, str], Area] = LRUCache(KEPT_AREAS)

    def __len__(self) -> int:
        return len(self._area_models.refs)

    def ref(self, number: int) -> ImageRef:
        """Return the image reference of background ``number``."""
        return self._area_models.refs[number]

    def picture(self, number: int) -> Picture:
        """Return the background's pixels; the caller must not modify them."""
        return self._pictures.load(self.ref(number))

    def area(self, number: int, label: str) -> Area:
        """Return the area where the label may appear on the background; the caller must not modify it."""
        area = self._areas.get((number, label))
        if area is None:
            area = self._areas[number, label] = self._predict(number, label)
        return area

    def learned_areas(self, photo: ImageRef) -> tuple[LearnedArea, ...]:
        """Return the areas that the models predict on a photo; labels with the same model share one."""
        learned, picture = self._area_models, self._pictures.load(photo)
        labels: dict[int, list[str]] = {}
        for label in learned.looks:
            labels.setdefault(id(learned.models[label]), []).append(label)
        areas = []
        for sharing in labels.values():
            model = learned.models[sharing[0]]
            likelihood = model.likelihood(picture)
            inside = model.allowed(likelihood, learned.strictness)
            areas.append(LearnedArea(labels=tuple(sharing), likelihood=likelihood, inside=inside))
        return tuple(areas)

    def _predict(self, number: int, label: str) -> Area:
        learned, picture = self._area_models, self.picture(number)
        model, look, backdrop = learned.models[label], learned.looks.get(label), learned.backdrops.get(label)
        inside = model.allowed(model.likelihood(picture), learned.strictness)
        near = None if look is None else near_lookalikes(look, picture)
        carrier = None if backdrop is None else find_carrier(backdrop, picture, inside)
        return Area(inside=inside, places=places(inside, near), carrier=carrier)
