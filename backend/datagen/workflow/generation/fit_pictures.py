"""Pictures of what a version's fit learned, for the page of inputs: mattes on concept photos, areas on other photos.

A worker makes them once for each version, with the first shard of its first round. The web process fits no engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datagen.domain.geometry import Polygon
from datagen.domain.inputs import ConceptImage, ImageRef
from datagen.domain.spec import Spec
from datagen.errors import BadPicture
from datagen.imaging.overlays import area_overlay, matte_overlay
from datagen.store.blob_store import BlobStore
from datagen.store.tables.base import FitPictureKind
from datagen.store.tables.batches import FitPictureRow
from datagen.synthesis.engine import FittedEngine, engine_class

log = structlog.get_logger()

#: Number of concept photos, of canvases and of backgrounds of which pictures are kept, the first ones of each: a
#: version may have thousands.
MOST_CONCEPTS, MOST_CANVASES, MOST_BACKGROUNDS = 120, 60, 12


def is_kept(session: Session, spec_id: int) -> bool:
    """Return whether a version has pictures of its fit."""
    return session.scalar(select(FitPictureRow.id).where(FitPictureRow.spec_id == spec_id).limit(1)) is not None


def fit_pictures(images: BlobStore, spec: Spec, fitted: FittedEngine) -> list[FitPictureRow]:
    """Store the pictures of a fit, and return their rows without a version.

    Raises:
        EngineError: the engine is not installed.
        StoreUnavailable: the image store cannot be written at the moment.
    """
    engine = engine_class(spec.engine)
    rows: list[FitPictureRow] = []
    if engine.shows_mattes:
        rows += chain.from_iterable(_mattes(images, concept, fitted) for concept in spec.concepts[:MOST_CONCEPTS])
    if engine.shows_areas:
        for canvas in spec.canvases[:MOST_CANVASES]:
            drawn = [(area.label, area.polygon) for area in canvas.areas]
            rows += _areas(images, canvas.image, drawn, fitted)
        for background in spec.backgrounds[:MOST_BACKGROUNDS]:
            rows += _areas(images, background, (), fitted)
    return rows


def write(session: Session, spec_id: int, rows: list[FitPictureRow]) -> None:
    """Write the rows of ``fit_pictures`` as those of a version, in place of earlier ones."""
    session.execute(delete(FitPictureRow).where(FitPictureRow.spec_id == spec_id))
    for row in rows:
        row.spec_id = spec_id
    session.add_all(rows)


def _mattes(images: BlobStore, concept: ConceptImage, fitted: FittedEngine) -> Iterator[FitPictureRow]:
    mattes = fitted.mattes(concept)
    if mattes:
        masks = [(matte.mask, matte.left, matte.top) for matte in mattes]
        overlay = matte_overlay(masks, concept.image.width, concept.image.height)
        labels = dict.fromkeys(matte.label for matte in mattes)
        yield _row(images, FitPictureKind.MATTE, concept.image, labels, overlay)


def _areas(
    images: BlobStore, photo: ImageRef, drawn: Sequence[tuple[str | None, Polygon]], fitted: FittedEngine
) -> Iterator[FitPictureRow]:
    try:
        areas = fitted.areas(photo)
    except BadPicture as problem:  # a fit need not read every background
        log.warning("fit_picture.not_made", picture=photo.digest, reason=str(problem))
        return
    for area in areas:
        polygons = [polygon.points for label, polygon in drawn if label is None or label in area.labels]
        overlay = area_overlay(area.likelihood, area.inside, polygons, photo.width, photo.height)
        yield _row(images, FitPictureKind.AREA, photo, area.labels, overlay)


def _row(
    images: BlobStore, kind: FitPictureKind, photo: ImageRef, labels: Iterable[str], overlay: bytes
) -> FitPictureRow:
    return FitPictureRow(kind=kind, picture=photo.digest, labels=[*labels], overlay=images.put(overlay))
