"""A sample: one synthesized image with its labels and where every pixel of it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One synthesized thing: its label, the tight box of its mask, and the mask's outlines in pixels."""

    label: str
    box: Box
    outlines: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The answer to "where does this come from": enough to make the sample again, bit for bit."""

    spec_digest: str
    index: int
    seed: int
    engine: str
    engine_version: str
    background: ImageRef
    #: what the engine decided, by step: concept used, pose, place, blend, contrast
    steps: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labels and provenance of an image whose pixels are in the store under ``image`` and ``mask``.

    The mask is one channel of uint8: 0 outside, i + 1 inside instance i.
    """

    image: ImageRef
    mask: ImageRef
    instances: tuple[Instance, ...]
    provenance: Provenance
