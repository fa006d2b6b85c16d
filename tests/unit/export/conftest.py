"""A small set in memory: images and masks by their digest, samples whose labels come from the masks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.domain.trace import Trace
from datagen.errors import StoreError
from datagen.imaging.png_encoder import encode_png
from datagen.synthesis.masks import outlines, tight_box

LABELS = ("scratch", "dent")


@dataclass
class Shelf:
    """Objects by digest, and a maker of samples that lie on it."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, pixels: npt.NDArray[Any], name: str) -> ImageRef:
        data = encode_png(pixels)
        digest = hashlib.sha256(data).hexdigest()
        self.objects[digest] = data
        return ImageRef(digest=digest, width=pixels.shape[1], height=pixels.shape[0], name=name)

    def read(self, digest: str) -> bytes:
        try:
            return self.objects[digest]
        except KeyError:
            raise StoreError(f"image {digest} is not in the store") from None

    def sample(self, mask: npt.NDArray[np.uint8], labels: tuple[str, ...], index: int = 0, **more: Any) -> Sample:
        """A sample whose instances are ``labels``, drawn in ``mask`` as 1, 2, …"""
        noise = np.random.default_rng(index).integers(0, 256, (*mask.shape, 3), np.uint8)
        return Sample(
            image=self.put(more.get("image", noise), f"{index}.png"),
            mask=self.put(mask, f"{index}.png"),
            instances=tuple(
                Instance(label=label, box=tight_box(mask == i + 1), outlines=outlines(mask == i + 1))
                for i, label in enumerate(labels)
            ),
            provenance=Provenance(
                spec_digest=more.get("spec_digest", "5bec" * 16),
                index=index,
                seed=2**63 + index,
                engine="composite",
                engine_version="1.0",
                background=ImageRef(digest="ba" * 32, width=60, height=40, name="plate 7.jpg"),
                trace=Trace(details={"pose": {"degrees": 12.5}}),
            ),
        )


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def mask() -> npt.NDArray[np.uint8]:
    """[40, 60]: a slanted bar in two parts (instance 1), a ring with a hole (instance 2)."""
    drawn = np.zeros((40, 60), np.uint8)
    for y in range(5, 20):
        drawn[y, 4 + y : 8 + y] = 1
    drawn[11:13] = 0
    yy, xx = np.mgrid[:40, :60]
    distance = np.hypot(yy - 28, xx - 45)
    drawn[(distance < 9) & (distance > 4)] = 2
    return drawn


@pytest.fixture
def sample(shelf: Shelf, mask: npt.NDArray[np.uint8]) -> Sample:
    return shelf.sample(mask, ("scratch", "dent"), index=3)


@pytest.fixture
def labels() -> tuple[str, ...]:
    return LABELS
