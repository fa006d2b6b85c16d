"""A sample: one synthesized image with its labels and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One synthesized instance: its label, the tight box of its mask, and the mask's outlines in pixels."""

    label: str
    box: Box
    outlines: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of a sample: enough data to reproduce it bit for bit."""

    spec_digest: str
    index: int
    seed: int
    engine: str
    engine_version: str
    background: ImageRef
    #: the engine's decisions by step (concept, pose, place, blend, contrast), and ``…_sha256`` of the files it used
    steps: Mapping[str, Json] = field(default_factory=dict)

    @property
    def file_stem(self) -> str:
        """The name of the sample's files without suffix, used both in exports and in Label Studio's lists."""
        return f"{self.spec_digest[:8]}_{self.index:07d}"


#: Suffix of the steps that hold the digest of a file used for the sample.
_FILE_DIGEST_SUFFIX = "_sha256"


def made_from(steps: Mapping[str, Json]) -> dict[str, Json]:
    """Return the digests of the files that an engine used, by name: the pixels depend on them besides the spec."""
    return {
        name.removesuffix(_FILE_DIGEST_SUFFIX): value
        for name, value in steps.items()
        if name.endswith(_FILE_DIGEST_SUFFIX)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labels and provenance of an image whose pixels are stored under ``image`` and ``mask``.

    The mask is one channel of uint8: 0 outside, i + 1 inside instance i.
    """

    image: ImageRef
    mask: ImageRef
    instances: tuple[Instance, ...]
    provenance: Provenance
