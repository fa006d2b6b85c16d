"""The mark of a synthesized image is read by other programs, and survives JPEG and WebP."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datagen.domain.source_type import SourceType
from datagen.errors import BadPicture
from datagen.imaging.codec import decode
from datagen.imaging.png_encoder import encode_png
from datagen.imaging.provenance_mark import Mark, packet, read_mark, read_packet

MARK = Mark(
    source_type=SourceType.COMPOSITE_CAPTURE,
    spec_digest="5bec" * 16,
    index=42,
    engine="mine <&> “ö”",
    engine_version="1.0",
)
PIXELS = (np.arange(20 * 40 * 3) % 251).astype(np.uint8).reshape(20, 40, 3)
MARKED = encode_png(PIXELS, xmp=packet(MARK))


def test_mark_is_read_as_it_was_written() -> None:
    assert read_mark(MARKED) == MARK


@pytest.mark.parametrize("source_type", SourceType)
def test_every_source_type_is_read(source_type: SourceType) -> None:
    assert read_mark(encode_png(PIXELS, xmp=packet(replace(MARK, source_type=source_type)))) == replace(
        MARK, source_type=source_type
    )


def test_other_reader_finds_the_source_type() -> None:
    """Pillow reads XMP by itself, as an RDF description."""
    with Image.open(io.BytesIO(MARKED)) as picture:
        description = picture.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert description["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeCapture"


def test_chunk_is_as_the_standard_says() -> None:
    """iTXt before the image data: keyword, not compressed, no language; see the XMP specification, part 3."""
    assert MARKED.index(b"iTXt") < MARKED.index(b"IDAT")
    length = struct.unpack(">I", MARKED[33:37])[0]
    assert MARKED[37 : 37 + 4 + length] == b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + packet(MARK)


def test_pixels_and_bytes_are_the_same_again() -> None:
    np.testing.assert_array_equal(decode(MARKED, max_bytes=10**6, max_pixels=10**6), PIXELS)
    assert encode_png(PIXELS.copy(), xmp=packet(MARK)) == MARKED
    assert encode_png(PIXELS) == encode_png(PIXELS, xmp=b"")


@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
def test_mark_survives_another_encoding_that_keeps_xmp(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, xmp=read_packet(MARKED))
    assert read_mark(stream.getvalue()) == MARK


def test_picture_without_a_mark_or_with_another_program_s_has_none() -> None:
    assert read_mark(encode_png(PIXELS)) is None
    assert read_mark(encode_png(PIXELS, xmp=b"no xml")) is None
    foreign = packet(MARK).replace(b"urn:label-studio-datagen", b"urn:another")
    assert read_mark(encode_png(PIXELS, xmp=foreign)) is None
    assert read_mark(encode_png(PIXELS, xmp=packet(MARK).replace(b"compositeCapture", b"digitalCapture"))) is None


def test_entities_are_not_expanded() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    assert read_mark(encode_png(PIXELS, xmp=bomb)) is None


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        (b"Index>42<", b"Index>" + b"4" * 5000 + b"<"),  # more digits than Python converts
        (b"Index>42<", b"Index>" + b"4" * 19 + b"<"),  # more than a database holds
        (b"5bec" * 16, b"%"),  # a wildcard of SQL
        (b"5bec" * 16, b"5bec" * 15),
    ],
)
def test_mark_with_a_value_that_no_sample_has_is_none(written: bytes, changed: bytes) -> None:
    assert read_mark(encode_png(PIXELS, xmp=packet(MARK).replace(written, changed))) is None


def test_endlessly_nested_packet_is_no_mark() -> None:
    assert read_mark(encode_png(PIXELS, xmp=b"<a>" * 200_000)) is None
    assert read_mark(encode_png(PIXELS, xmp=b"<a>" * 140_000 + b"</a>" * 140_000)) is None


def test_other_files_are_refused_by_name() -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "BMP")
    with pytest.raises(BadPicture, match="the file is a BMP picture; marks are read from PNG, JPEG and WebP"):
        read_mark(stream.getvalue())
    with pytest.raises(BadPicture):
        read_mark(b"no picture")
