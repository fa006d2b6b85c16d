"""The interface between an engine and a segmentation model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from datagen.domain.geometry import Box
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools


class Segmenter(Protocol):
    """A model that segments the object in a box."""

    @property
    def description(self) -> str:
        """The model, its weights and its device in words, for reports."""

    def masks(self, picture: Picture, boxes: Sequence[Box]) -> Iterator[Bools]:
        """Yield the mask of the object in each box, [h, w] of the picture, in the order of the boxes.

        A mask may be empty, and may reach beyond its box. Boxes are in pixels, and each covers a pixel of the picture.

        Raises:
            EngineError: the model cannot segment this picture.
            DeviceFault: the device failed.
        """
        ...
