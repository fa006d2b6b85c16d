"""A sample: one synthesized image with its labels and its provenance."""

from __future__ import annotations

from dataclasses import dataclass, field

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One synthesized instance: its label, the tight box of its mask, and the mask's outlines in pixels."""

    label: str
    box: Box
    outlines: tuple[Polygon, ...]


def file_stem_of(spec_digest: str, index: int) -> str:
    """Return the name of a sample's files without suffix; see ``Provenance.file_stem``."""
    return f"{spec_digest[:8]}_{index:07d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of a sample: enough data to reproduce it bit for bit."""

    spec_digest: str
    index: int
    seed: int
    engine: str
    engine_version: str
    background: ImageRef
    #: the decisions that the engine made for this sample, and the files that it used
    trace: Trace = field(default_factory=Trace)

    @property
    def file_stem(self) -> str:
        """The name of the sample's files without suffix, used both in exports and in Label Studio's lists."""
        return file_stem_of(self.spec_digest, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labels and provenance of an image whose pixels are stored under ``image`` and ``mask``.

    The mask is one channel of uint8: 0 outside, i + 1 inside instance i.
    """

    image: ImageRef
    mask: ImageRef
    instances: tuple[Instance, ...]
    provenance: Provenance

    @property
    def file_stem(self) -> str:
        """The name of its files without suffix."""
        return self.provenance.file_stem


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPhoto:
    """A concept photo of a study with the labels that people drew on it. None of its pixels is synthesized.

    ``image`` and ``mask`` are PNG files as those of a sample, of the upright pixels.
    """

    image: ImageRef
    mask: ImageRef
    instances: tuple[Instance, ...]
    #: the input; its digest is that of the file that was given
    photo: ImageRef
    #: numbers of the instances, from 0, of which people drew a box and no outline; their pixels are those of the box
    boxes_only: tuple[int, ...] = ()

    @property
    def file_stem(self) -> str:
        """The name of its files without suffix."""
        return f"photo_{self.photo.digest[:16]}"
