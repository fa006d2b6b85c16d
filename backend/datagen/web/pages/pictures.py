"""The pictures on the pages, for people with a session: small ones of samples and inputs, and a sample in full size.

Variants of a sample's picture: ``tiny``, ``small``, ``large``, ``close-N`` (around instance N), each also with
``-outline`` (the outlines of its instances), with ``background-`` in front (its background) or both; and ``full`` (the
stored file). Variants of an input's picture: ``tiny``, ``small`` and ``large``, each also with ``-outline`` (what is
drawn on it), and ``close-N-outline`` (around box N).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cachetools import TTLCache
from sqlalchemy.orm import Session

from datagen.domain.geometry import Box, Point
from datagen.errors import BadPicture, Refused, StoreMissing
from datagen.imaging.codec import Pixels
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.imaging.thumbnails import ThumbnailFormat, close_up, thumbnail
from datagen.store.blob_store import BlobStore
from datagen.store.tables.inputs import InputRow
from datagen.web.pages.thumbnail_cache import ThumbnailCache
from datagen.workflow.inputs import parsed_results
from datagen.workflow.study_pages.access import Visible
from datagen.workflow.study_pages.inputs_page_view import input_row_of
from datagen.workflow.study_pages.learned_pictures import overlay_of
from datagen.workflow.study_pages.sample_view import sample_body_of

#: Size name → form. Tiny ones fill a gallery: a browser loads 40 of them with its page, which has 250 kB in all. Small
#: ones are for screens with several pixels to a point, and for verdicts; a large one fills a page.
FORMATS = {
    "tiny": ThumbnailFormat(side=256, max_bytes=5_500),
    "small": ThumbnailFormat(side=320, max_bytes=20_000),
    "large": ThumbnailFormat(side=1280, max_bytes=250_000),
    "close": ThumbnailFormat(side=360, max_bytes=40_000),
}
#: Pixels of a picture between an instance and its outline: the line shows where it is, and does not hide it.
OUTLINE_DISTANCE = 4
#: Number of unreadable pictures that are remembered, and for how long, seconds. To decode one may take seconds.
_REMEMBERED, _REMEMBERED_SECONDS = 10_000, 600.0
_VARIANT = re.compile(
    r"(?P<background>background-)?(?P<size>tiny|small|large|close-(?P<number>\d{1,3}))(?P<outline>-outline)?"
)

#: A closed polygon, in pixels.
Outline = Sequence[Point]


class Picture(NamedTuple):
    """A picture to send, its media type, and the digest of the stored picture that it shows."""

    data: bytes
    media_type: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A stored picture, the boxes that may be looked at closely, and the outlines that may be drawn."""

    digest: str
    boxes: Sequence[Box]
    outlines: Sequence[Outline]
    #: see ``ThumbnailFormat``
    distance: int = 0


class Pictures:
    """Makes the pictures of the pages, and keeps the small ones."""

    def __init__(self, images: BlobStore, decoder: DecoderSandbox, cache: ThumbnailCache) -> None:
        self._images, self._decoder, self._cache = images, decoder, cache
        #: digest → why the picture cannot be decoded
        self._unreadable: TTLCache[str, str] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)
        self._lock = threading.Lock()

    def of_sample(self, session: Session, study_id: int, sample_id: int, variant: str, project_ids: Visible) -> Picture:
        """Return a picture of a sample.

        Raises:
            Refused: there is no such sample, picture or variant, or the person may not see it.
            StoreError: the image store cannot be read.
        """
        body = sample_body_of(session, study_id, sample_id, project_ids)
        session.close()  # a connection is not held while a picture is made
        if variant == "full":
            digest = body["image"]["digest"]
            return Picture(self._stored(digest), "image/png", digest)
        parts = _parts(variant)
        source = _source_of_sample(body, of_background=bool(parts["background"]))
        return self._small(source, parts)

    def of_input(self, session: Session, study_id: int, task_id: int, variant: str, project_ids: Visible) -> Picture:
        """Return a picture of an input; raise as ``of_sample`` does."""
        row, labels = input_row_of(session, study_id, task_id, project_ids)
        parts = _parts(variant)
        source = _source_of_input(row, labels)
        session.close()
        return self._small(source, parts)

    def of_fit(self, session: Session, study_id: int, picture_id: int, project_ids: Visible) -> Picture:
        """Return a picture of what a fit learned, as it is stored; raise as ``of_sample`` does."""
        digest = overlay_of(session, study_id, picture_id, project_ids)
        session.close()
        return Picture(self._stored(digest), "image/png", digest)

    def _small(self, source: _Source, parts: re.Match[str]) -> Picture:
        outlines = source.outlines if parts["outline"] else ()
        form = FORMATS[parts["size"].partition("-")[0]]
        box: Box | None = None
        if parts["number"] is not None:
            if int(parts["number"]) >= len(source.boxes):
                raise Refused(NO_PICTURE)
            box = source.boxes[int(parts["number"])]
        elif parts["size"] in ("tiny", "small"):
            form = replace(form, distance=source.distance)

        def make() -> bytes:
            pixels = self._decoded(source.digest)
            return thumbnail(pixels, form, outlines) if box is None else close_up(pixels, box, form, outlines)

        return Picture(
            self._cache.get(f"{source.digest}:{form!r}:{outlines!r}:{box!r}", make), "image/webp", source.digest
        )

    def _decoded(self, digest: str) -> Pixels:
        with self._lock:
            reason = self._unreadable.get(digest)
        if reason is None:
            try:
                return self._decoder.decode(self._stored(digest))
            except BadPicture as damage:
                reason = str(damage)
            with self._lock:
                self._unreadable[digest] = reason
        raise Refused(f"The picture cannot be shown: {reason}")

    def _stored(self, digest: str) -> bytes:
        try:
            return self._images.get(digest)
        except StoreMissing as missing:
            raise Refused(NO_PICTURE) from missing


NO_PICTURE = "There is no such picture: it was deleted from the image store, or the address is wrong."


def _parts(variant: str) -> re.Match[str]:
    parts = _VARIANT.fullmatch(variant)
    if parts is None:
        raise Refused(NO_PICTURE)
    return parts


def _source_of_sample(body: Mapping[str, Any], *, of_background: bool) -> _Source:
    """Return the source of a sample's pictures; only what they need of the sample's row is read."""
    image = body["provenance"]["background"] if of_background else body["image"]
    outlines = [outline for instance in body["instances"] for outline in instance["outlines"]]
    return _Source(
        digest=image["digest"],
        boxes=[Box(**instance["box"]) for instance in body["instances"]],
        outlines=[tuple((x, y) for x, y in outline["points"]) for outline in outlines],
        distance=OUTLINE_DISTANCE,
    )


def _source_of_input(row: InputRow, labels: Sequence[str]) -> _Source:
    if row.digest is None:
        raise Refused(NO_PICTURE)
    parsed = parsed_results.of_row(row, labels)
    boxes = [region.box for region in parsed.regions]
    drawn = [region.outline or None for region in parsed.regions]
    outlines: list[Outline] = [area.polygon.points for area in parsed.areas]
    for box, polygons in zip(boxes, drawn, strict=True):
        outlines += [polygon.points for polygon in polygons] if polygons else [_corners(box)]
    return _Source(digest=row.digest, boxes=boxes, outlines=outlines)


def _corners(box: Box) -> Outline:
    return ((box.x, box.y), (box.right, box.y), (box.right, box.bottom), (box.x, box.bottom))
