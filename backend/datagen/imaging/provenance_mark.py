"""The mark in a synthesized image's file: that it is synthetic, and which sample it is, as XMP (ISO 16684-1).

The source type is IPTC's ``DigitalSourceType``, which other programs read. The other values identify the sample. A mark
depends on the spec, the index and the engine alone, so that equal samples have equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from datagen.domain.source_type import SourceType
from datagen.errors import BadPicture
from datagen.imaging.file_signatures import kind_of

_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SOURCE_TYPE = f"{{{_IPTC}}}DigitalSourceType"
_OURS = "urn:label-studio-datagen:sample:1#"
_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
}
#: Largest packet that is parsed, bytes; ours has about one kilobyte.
_MAX_PACKET_BYTES = 2**20
_DIGEST = re.compile("[0-9a-f]{64}")
#: A number that a database can hold.
_INDEX = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The values of a mark."""

    source_type: SourceType
    spec_digest: str
    index: int
    engine: str
    engine_version: str


def declared_source(data: bytes) -> str:
    """Return the source type that a picture's file declares, as a URI; "" if it declares none.

    Raises:
        BadPicture: the file is no PNG, JPEG or WebP picture, or damaged.
    """
    root = _parsed(data)
    if root is None:
        return ""
    for element in root.iter():
        stated = element.text if element.tag == _SOURCE_TYPE else element.get(_SOURCE_TYPE)
        if stated and stated.strip():
            return stated.strip()
    return ""


def source_packet(uri: str) -> bytes:
    """Return an XMP packet in UTF-8 that declares a source type and nothing else."""
    return _packet({"Iptc4xmpExt:DigitalSourceType": uri})


def packet(mark: Mark) -> bytes:
    """Return the mark as an XMP packet in UTF-8."""
    values = {
        "Iptc4xmpExt:DigitalSourceType": mark.source_type.uri,
        "datagen:Spec": mark.spec_digest,
        "datagen:Index": str(mark.index),
        "datagen:Engine": mark.engine,
        "datagen:EngineVersion": mark.engine_version,
    }
    return _packet(values)


def _packet(values: Mapping[str, str]) -> bytes:
    properties = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:datagen="{_OURS}">{properties}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def read_packet(data: bytes) -> bytes | None:
    """Return the XMP packet of a PNG, JPEG or WebP file, without decoding its pixels; None if it has none.

    Raises:
        BadPicture: the file is no such picture, or damaged before its pixels.
    """
    kind = kind_of(data)
    if kind not in _OPENERS:
        raise BadPicture(f"the file is a {kind} picture; marks are read from PNG, JPEG and WebP")
    try:
        xmp = _OPENERS[kind](io.BytesIO(data)).info.get("xmp")
    except Exception as damage:  # Pillow's plug-ins do not catch their parsing errors
        raise BadPicture(f"the {kind} file is damaged ({str(damage) or type(damage).__name__})") from damage
    return xmp if isinstance(xmp, bytes) else None


def read_mark(data: bytes) -> Mark | None:
    """Return the mark of a file; None if it has none, or another program's.

    Raises:
        BadPicture: the file is no PNG, JPEG or WebP picture, or damaged.
    """
    root = _parsed(data)
    if root is None:
        return None
    values = {element.tag: (element.text or "").strip() for element in root.iter()}
    source_type = SourceType.of_uri(values.get(_SOURCE_TYPE, ""))
    spec, index, engine, version = (
        values.get(f"{{{_OURS}}}{name}", "") for name in ("Spec", "Index", "Engine", "EngineVersion")
    )
    if source_type is None or not _DIGEST.fullmatch(spec) or not _INDEX.fullmatch(index):
        return None
    return Mark(source_type=source_type, spec_digest=spec, index=int(index), engine=engine, engine_version=version)


def _parsed(data: bytes) -> Element | None:
    """Return the root of a file's XMP packet; None if there is none that can be read.

    Raises:
        BadPicture: the file is no PNG, JPEG or WebP picture, or damaged.
    """
    xmp = read_packet(data)
    if xmp is None or len(xmp) > _MAX_PACKET_BYTES:
        return None
    try:
        root: Element = fromstring(xmp.rstrip(b"\0").decode().strip("\ufeff"))
    except (ParseError, DefusedXmlException, ValueError):
        return None
    return root
