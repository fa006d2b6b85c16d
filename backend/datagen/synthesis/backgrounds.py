"""Backgrounds while rendering: each decoded once as long as memory allows, with its area beside it.

Thousands may be given; none is loaded before a sample needs it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from datagen.domain.inputs import ImageRef
from datagen.synthesis.area import AreaModel
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.tones import Bools

#: Decoded backgrounds are kept up to this many bytes, and at least one.
KEPT_BYTES = 192 * 2**20
#: Reduced areas are some 20 kB each and dear to compute: more of them are kept.
KEPT_AREAS = 2000


class Backgrounds:
    """The background pictures of a spec, in order, and the areas the models predict on them."""

    def __init__(
        self, refs: Sequence[ImageRef], pictures: Pictures, models: Mapping[str, AreaModel], strictness: float
    ) -> None:
        self._refs = tuple(refs)
        self._pictures = pictures
        self._models = dict(models)
        self._strictness = strictness
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._bytes = 0
        self._areas: OrderedDict[tuple[int, str], Bools] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refs)

    def ref(self, number: int) -> ImageRef:
        """What background ``number`` is known by."""
        return self._refs[number]

    def picture(self, number: int) -> Picture:
        """Its pixels; the caller must not write into them."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        picture = self._pictures.load(self._refs[number])
        self._kept[number] = picture
        self._bytes += picture.nbytes
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes
        return picture

    def area(self, number: int, label: str) -> Bools:
        """Where the label may appear on it, at the reduced scale of ``datagen.synthesis.area``; may be empty.

        The caller must not write into it.
        """
        key = (number, label)
        if key not in self._areas:
            model = self._models[label]
            self._areas[key] = model.allowed(model.likelihood(self.picture(number)), self._strictness)
            if len(self._areas) > KEPT_AREAS:
                self._areas.popitem(last=False)
        self._areas.move_to_end(key)
        return self._areas[key]
