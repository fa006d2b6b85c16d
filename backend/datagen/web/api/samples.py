"""Samples: the list of a batch's samples, one sample with its provenance, and its pictures."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, request
from pydantic import Field
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.domain.verdict import Reason
from datagen.errors import StoreMissing
from datagen.label_studio.api.accounts import Account
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.web.api.batches import KINDS
from datagen.web.api.operations import Operations, Resource
from datagen.web.api.problems import Problem
from datagen.web.api.reading import Links, Page, PageQuery, reading
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.study_pages.gallery_view import Judgement, batch_of
from datagen.workflow.study_pages.sample_list import ListedSample, SampleFilter, samples_of
from datagen.workflow.study_pages.sample_view import sample_row_of, sample_view_of

#: Media type of the pictures of a sample.
PNG = "image/png"


class Box(Resource):
    """A box in pixels of the image."""

    x: float
    y: float
    width: float
    height: float


class Instance(Resource):
    """An instance on a sample."""

    label: str
    box: Box


class SampleSummary(Resource):
    """A sample."""

    id: int
    index: int
    key: str
    sha256: str = Field(description="Of its image.")
    width: int
    height: int
    background: str
    instances: list[Instance]
    judgement: Judgement
    reasons: list[str]
    task_id: int | None = Field(description="Its task in Label Studio; null before it is published.")


class SamplePage(Page):
    """A page of samples, in the order of their index."""

    items: list[SampleSummary]


class GivenVerdict(Resource):
    """A verdict on a sample."""

    reviewer: str
    opinion: str
    reasons: list[str]
    comment: str
    counts: bool = Field(description="Whether it counts by the study's rule.")


class Sample(Resource):
    """A sample with its verdicts and its provenance."""

    id: int
    key: str
    kind: BatchKind
    number: int = Field(description="The number of its round, audit or run.")
    version: int
    image_sha256: str
    mask_sha256: str
    width: int
    height: int
    instances: list[Instance]
    verdicts: list[GivenVerdict]
    previous_id: int | None
    next_id: int | None
    url: str | None = Field(description="Its task in Label Studio; null before it is published.")
    reproduce: str = Field(description="The command that renders it again and compares the bytes.")
    provenance: dict[str, Any] = Field(
        description="Spec, index, seed, engine, background, and how each instance was made."
    )


class SampleQuery(PageQuery):
    """Filters of a list of samples."""

    judgement: Judgement | None = Field(None, description="What the verdicts on it say.")
    reason: Reason | None = Field(None, description="A reason that one of its verdicts has.")
    background: str | None = Field(None, max_length=500, description="The name of its background.")


def add_samples(operations: Operations, database: Database, images: BlobStore, links: Links) -> None:
    """Add the operations."""

    @operations.get(
        f"/studies/<int:study_id>/batches/<any({KINDS}):kind>/<int:number>/samples", SamplePage, query=SampleQuery
    )
    def list_samples(account: Account, study_id: int, kind: str, number: int, query: SampleQuery) -> SamplePage:
        """List the samples of a round, an audit or a run.

        With a filter, a page may have fewer items than “limit”, even none, though more follow: go on until
        “next_cursor” is null.
        """
        background = plain(query.background) if query.background is not None else None
        chosen = SampleFilter(judgement=query.judgement, reason=query.reason, background=background)
        with reading(database, account, study_id) as (session, _):
            batch = batch_of(session, study_id, BatchKind(kind), number, account.project_ids)
            samples, next_cursor = samples_of(session, batch, chosen, query.cursor, query.limit)
        return SamplePage(items=[_summary(sample) for sample in samples], next_cursor=next_cursor)

    @operations.get("/studies/<int:study_id>/samples/<int:sample_id>", Sample)
    def get_sample(account: Account, study_id: int, sample_id: int) -> Sample:
        """Return one sample."""
        with reading(database, account, study_id) as (session, _):
            row = sample_row_of(session, study_id, sample_id, account.project_ids)
            view = sample_view_of(session, row)
            sample = sample_of(row)
        return Sample(
            id=view.sample_id,
            key=view.key,
            kind=view.batch.kind,
            number=view.batch.number,
            version=view.version,
            image_sha256=sample.image.digest,
            mask_sha256=sample.mask.digest,
            width=sample.image.width,
            height=sample.image.height,
            instances=[Instance(label=each.label, box=Box.model_validate(each.box)) for each in sample.instances],
            verdicts=[GivenVerdict.model_validate(verdict) for verdict in view.verdicts],
            previous_id=view.previous_id,
            next_id=view.next_id,
            url=links.of(view.target),
            reproduce=view.command,
            provenance=row.body["provenance"],
        )

    @operations.get("/studies/<int:study_id>/samples/<int:sample_id>/image", PNG)
    def get_image(account: Account, study_id: int, sample_id: int) -> Response:
        """Return the image of a sample."""
        with reading(database, account, study_id) as (session, _):
            digest = _pictures(session, account, study_id, sample_id)["image"]
        return picture(digest)

    @operations.get("/studies/<int:study_id>/samples/<int:sample_id>/mask", PNG)
    def get_mask(account: Account, study_id: int, sample_id: int) -> Response:
        """Return the mask of a sample. A pixel of an instance has the instance's number; every other pixel is 0."""
        with reading(database, account, study_id) as (session, _):
            digest = _pictures(session, account, study_id, sample_id)["mask"]
        return picture(digest)

    def picture(digest: str) -> Response:
        response = Response(content_type=PNG)
        response.set_etag(digest)
        response.headers["Cache-Control"] = "private, no-cache"
        if request.if_none_match.contains(digest):
            response.status_code = HTTPStatus.NOT_MODIFIED
            return response
        try:
            response.set_data(images.get(digest))
        except StoreMissing:
            raise Problem(HTTPStatus.NOT_FOUND, "The picture was deleted from the image store.") from None
        return response


def _pictures(session: Session, account: Account, study_id: int, sample_id: int) -> dict[str, str]:
    """Return the digests of a sample's image and mask."""
    sample = sample_of(sample_row_of(session, study_id, sample_id, account.project_ids))
    return {"image": sample.image.digest, "mask": sample.mask.digest}


def _summary(sample: ListedSample) -> SampleSummary:
    return SampleSummary(
        id=sample.id,
        index=sample.index,
        key=sample.key,
        sha256=sample.digest,
        width=sample.width,
        height=sample.height,
        background=sample.background,
        instances=[Instance(label=label, box=Box(**box)) for label, box in sample.instances],
        judgement=sample.judgement,
        reasons=list(sample.reasons),
        task_id=sample.task_id,
    )
