"""A small set in memory: images and masks by their digest, samples whose labels come from the masks."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.domain.trace import Trace
from datagen.errors import StoreError
from datagen.export import consistency_check, manifest, masks
from datagen.export.archive import ExportOptions, write_dataset
from datagen.export.pieces import png_channels
from datagen.export.splitting import Split
from datagen.export.writer import NO_SPLIT, ExportedSample
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

    def exported(self, sample: Sample, labels: tuple[str, ...] = LABELS, split: str = NO_SPLIT) -> ExportedSample:
        """The sample as formats get it."""
        mask_png = self.read(sample.mask.digest)
        mask = masks.instance_mask(mask_png, "s")
        certified = consistency_check.check(sample, "s", mask, labels=labels)
        name = sample.provenance.file_stem
        return ExportedSample(
            sample=sample,
            whole=sample,
            name=name,
            image_path=posixpath.join("images", split, f"{name}.png"),
            image=self.read(sample.image.digest),
            mask_png=mask_png,
            mask=mask,
            channels=png_channels(self.read(sample.image.digest)),
            areas=certified.areas,
            rings=certified.rings,
            provenance=manifest.provenance(sample, {}),
            split=split,
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


@pytest.fixture
def export_to(shelf: Shelf, tmp_path: Path) -> Callable[..., Path]:
    """A function that exports samples to a new folder in the given formats, and returns the folder."""

    def export_to(
        samples: Sequence[Sample],
        *formats: str,
        labels: tuple[str, ...] = LABELS,
        split: Split | None = None,
        **options: Any,
    ) -> Path:
        folder = tmp_path / "-".join(("set", *formats))
        chosen = ExportOptions(formats=formats, **options)
        write_dataset(
            folder, samples, labels=labels, read=shelf.read, about={"study": "Plates"}, split=split, options=chosen
        )
        return folder

    return export_to


def difficult_masks() -> dict[str, npt.NDArray[np.uint8]]:
    """Masks [h, w] of two instances each, with holes, parts, parts in holes, thin lines and edges."""
    yy, xx = np.mgrid[:160, :200]
    ring = np.hypot(yy - 80, xx - 70)
    in_hole = np.where((ring < 60) & (ring > 35), 1, 0)
    in_hole[ring < 15] = 1
    in_hole[20:60, 150:190] = 2
    in_hole[30:50, 160:180] = 0
    parts = np.zeros((160, 200), int)
    parts[:40, :50] = parts[100:, 120:] = parts[60:70, 10:190] = 1
    parts[0:30, 150:200] = 2
    thin = np.zeros((160, 200), int)
    for i in range(150):
        thin[i, i + 10 : i + 13] = 1
    thin[150, 3] = thin[152:160, 190:] = 2
    noise = np.random.default_rng(5).random((160, 200))
    blobs = np.where(cv2.GaussianBlur(noise, (0, 0), 4) > 0.51, 1, 0)
    blobs[:, 100:] *= 2
    named = {"a part in a hole": in_hole, "parts at the edges": parts, "thin": thin, "blobs": blobs}
    return {name: drawn.astype(np.uint8) for name, drawn in named.items()}


@pytest.fixture
def difficult(shelf: Shelf) -> list[Sample]:
    return [shelf.sample(drawn, LABELS, index=i) for i, drawn in enumerate(difficult_masks().values())]
