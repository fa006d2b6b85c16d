"""The stored files of a rendered sample: its image with its mark, and its mask."""

from __future__ import annotations

from datagen.domain.sample import Provenance
from datagen.imaging.png_encoder import encode_mask, encode_png
from datagen.imaging.provenance_mark import Mark, packet
from datagen.synthesis.engine import Rendered, engine_class


def mark_of(provenance: Provenance) -> Mark:
    """Return the mark of a sample of an installed engine.

    Raises:
        EngineError: the engine is not installed.
    """
    return Mark(
        source_type=engine_class(provenance.engine).source_type,
        spec_digest=provenance.spec_digest,
        index=provenance.index,
        engine=provenance.engine,
        engine_version=provenance.engine_version,
    )


def encode_sample(rendered: Rendered) -> tuple[bytes, bytes]:
    """Return the image and the mask of a sample as they are stored.

    Raises:
        EngineError: the sample's engine is not installed.
    """
    return encode_png(rendered.image, xmp=packet(mark_of(rendered.provenance))), encode_mask(rendered.mask)
