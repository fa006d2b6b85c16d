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
    #: what the engine decided, by step: concept used, pose, place, blend, contrast; and ``…_sha256`` of files it used
    steps: Mapping[str, Json] = field(default_factory=dict)

    @property
    def file_stem(self) -> str:
        """The name of the sample's files, without their suffix: the same in exports and in Label Studio's lists."""
        return f"{self.spec_digest[:8]}_{self.index:07d}"


#: A step that is called so, at the end, is the digest of a file that the sample was made with.
_OF_A_FILE = "_sha256"


def made_from(steps: Mapping[str, Json]) -> dict[str, Json]:
    """What a sample's pixels depend on beside its spec, by name: the digests of files that an engine used."""
    return {name.removesuffix(_OF_A_FILE): value for name, value in steps.items() if name.endswith(_OF_A_FILE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labels and provenance of an image whose pixels are in the store under ``image`` and ``mask``.

    The mask is one channel of uint8: 0 outside, i + 1 inside instance i.
    """

    image: ImageRef
    mask: ImageRef
    instances: tuple[Instance, ...]
    provenance: Provenance
