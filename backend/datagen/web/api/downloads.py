"""Downloads of a run: a zip with its images and labels in chosen formats, made in the background."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from flask import Response
from pydantic import Field, StringConstraints
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.errors import Refused
from datagen.export.balance import Dimension
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Judged
from datagen.export.splitting import Apart
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.base import BatchKind, HandoverKind, WorkState
from datagen.store.tables.handovers import HandoverRow
from datagen.web.api.idempotency import is_applied, mark_applied
from datagen.web.api.limits import DOWNLOADS
from datagen.web.api.operations import Body, Operations, Resource
from datagen.web.api.problems import Problem
from datagen.web.api.reading import Page, PageQuery, reading
from datagen.web.download_sending import RETRY_AFTER_SECONDS, ZIP, DownloadSender, TooManySent
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.workflow.generation.sample_table import TableFilter
from datagen.workflow.handovers import requests
from datagen.workflow.handovers.wishes import DownloadWish
from datagen.workflow.services import Services
from datagen.workflow.study_pages.gallery_view import batch_of

_RUN = "/studies/<int:study_id>/batches/run/<int:number>/downloads"
#: A whole number, as a form of the pages accepts it.
Number = Annotated[int, Field(ge=0, le=MOST_IN_FORM)]
#: The text of a bound or of a split.
Text = Annotated[str, StringConstraints(max_length=20)]
#: The name of a label, of a format, of a background, or the digits of a digest.
Name = Annotated[str, StringConstraints(max_length=500)]
_FILE_DESCRIPTION = "Path of its zip below /api/v1; null while there is none."


class Matching(Body):
    """Filter of images, as that of the run's table; empty values filter nothing."""

    label: Name = Field("", description="The label of an instance.")
    min_size: Text = Field("", description="Smallest longer side of the largest box, in pixels.")
    max_size: Text = Field("", description="Largest longer side of the largest box, in pixels.")
    place: Text = Field("", description="The ninth of the image that an instance is in.")
    verdict: Text = Field("", description="The verdict in spot checks: “good”, “bad” or “unjudged”.")
    background: Name = Field("", description="The name of its background.")
    concept: Name = Field("", description="First digits of the digest of a photo that one of its concepts is from.")


class NewDownload(Body):
    """Selection of images of the run, and options of the export; the same as in the form on the run's page."""

    indices: list[Number] | None = Field(None, description="The indices of the images; null: all of the run.")
    matching: Matching | None = Field(None, description="Only images that match; null: there is no filter.")
    verdicts: list[Judged] = Field([], description="Only images with one of these verdicts in spot checks.")
    labels: list[Name] = Field([], description="Only images with an instance of one of these labels.")
    min_size: Text = Field("", description="Smallest size of instances, such as “24px” or “0.5%”.")
    max_size: Text = Field("", description="Largest size of instances, such as “200px” or “5%”.")
    balance: list[Dimension] = Field([], description="The properties by which objects are balanced.")
    real_percent: Number = Field(0, description="Share of real photos in percent, 0 to 90.")
    formats: list[Name] = Field(
        ["coco"], description="Names of export formats, such as “coco” and “yolo”; see docs/export.md."
    )
    split: Text = Field("", description="Percentages such as “80,20”; empty: there is no split.")
    apart: Apart = Field(Apart.BOTH, description="What two splits may not have in common.")
    images: ImageKind = ImageKind.PNG
    quality: Number | None = Field(None, description="Quality of JPEG and WebP; null: the default.")
    tile: Number | None = Field(None, description="Side of tiles in pixels; null: the images are whole.")
    overlap: Number = Field(0, description="Overlap of tiles in pixels.")

    def wish(self, run: int) -> DownloadWish:
        """Return the wish for a run."""
        matching = TableFilter.of(self.matching.model_dump()).given() if self.matching is not None else None
        return DownloadWish(
            run=run,
            indices=None if self.indices is None else tuple(sorted(set(self.indices))),
            matching={name: plain(value) for name, value in matching.items()} if matching is not None else None,
            verdicts=tuple(each.value for each in self.verdicts),
            labels=tuple(map(plain, self.labels)),
            min_size=self.min_size.strip(),
            max_size=self.max_size.strip(),
            balance=tuple(each.value for each in self.balance),
            real_percent=self.real_percent,
            formats=tuple(dict.fromkeys(map(plain, self.formats))),
            split=self.split.strip(),
            apart=self.apart.value,
            images=self.images.value,
            quality=self.quality,
            tile=self.tile,
            overlap=self.overlap,
        )


class Download(Resource):
    """A download with its progress."""

    id: int
    run: int
    state: WorkState
    options: dict[str, Any] = Field(description="The options of the request.")
    requested_by: str
    requested_at: datetime
    done: int = Field(description="Number of images that are written.")
    total: int = Field(description="Number of all images; 0 before they are counted.")
    problem: str = Field(description="Why it failed or waits; otherwise empty.")
    notes: list[str] = Field(description="Sentences about what was left out or changed.")
    finished_at: datetime | None
    file: str | None = Field(description=_FILE_DESCRIPTION)
    bytes: int | None = Field(description="Size of the zip; null while there is none.")
    expires_at: datetime | None = Field(description="When the zip is removed; null before it is complete.")


class DownloadPage(Page):
    """A page of downloads, the newest first."""

    items: list[Download]


def add_downloads(
    operations: Operations, database: Database, downloads: DownloadSender, services: Callable[[], Services]
) -> None:
    """Add the operations."""

    @operations.get(_RUN, DownloadPage, query=PageQuery)
    def list_downloads(account: Account, study_id: int, number: int, query: PageQuery) -> DownloadPage:
        """List the downloads of a run."""
        with reading(database, account, study_id) as (session, _):
            batch_of(session, study_id, BatchKind.RUN, number, account.project_ids)
            of_run = _of_run(study_id, number).order_by(HandoverRow.id.desc())
            if query.cursor is not None:
                of_run = of_run.where(HandoverRow.id < query.cursor)
            rows = session.scalars(of_run.limit(query.limit + 1)).all()
            shown, next_cursor = keyset_page(rows, query.limit, lambda row: row.id)
            items = [_download(row) for row in shown]
        return DownloadPage(items=items, next_cursor=next_cursor)

    @operations.post(_RUN, Download, body=NewDownload, status=HTTPStatus.CREATED)
    def request_download(account: Account, study_id: int, number: int, body: NewDownload) -> Download:
        """Request a download of a run.

        It is made in the background: read it again until its “state” is “done”, then get its “file”. With an
        idempotency key, no retry makes a second one.
        """
        with reading(database, account, study_id) as (session, _):
            batch_of(session, study_id, BatchKind.RUN, number, account.project_ids)
        wish = body.wish(number)
        if not is_applied():
            download_id = requests.request_download(services(), study_id, wish, account.email, mark_applied)
        with reading(database, account, study_id) as (session, _):
            if is_applied():
                download_id = _stored(session, study_id, wish, account)
            return _download(_row(session, study_id, number, download_id))

    @operations.get(f"{_RUN}/<int:download_id>", Download)
    def get_download(account: Account, study_id: int, number: int, download_id: int) -> Download:
        """Return one download with its progress."""
        with reading(database, account, study_id) as (session, _):
            return _download(_row(session, study_id, number, download_id))

    @operations.delete(f"{_RUN}/<int:download_id>", Download)
    def cancel_download(account: Account, study_id: int, number: int, download_id: int) -> Download:
        """Cancel a download that waits or is being made."""
        with reading(database, account, study_id) as (session, _):
            _row(session, study_id, number, download_id)
        requests.cancel(services(), study_id, download_id)
        with reading(database, account, study_id) as (session, _):
            return _download(_row(session, study_id, number, download_id))

    @operations.get(f"{DOWNLOADS}/<int:study_id>/<int:download_id>", ZIP, is_ranged=True)
    def get_download_file(account: Account, study_id: int, download_id: int) -> Response:
        """Return the zip of a download, or the range of it that the header Range names.

        “file” of the download has this path. An interrupted transfer can be continued by Range and
        If-Range with the tag of the file.
        """
        try:
            return downloads.send(study_id, download_id, account)
        except Refused as refusal:
            raise Problem(HTTPStatus.NOT_FOUND, str(refusal)) from None
        except TooManySent as refusal:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(refusal), "unavailable", headers=headers) from None


def _of_run(study_id: int, number: int) -> Select[HandoverRow]:
    """Return the query for the downloads of a run."""
    of_run = HandoverRow.wish["run"].as_integer() == number
    return select(HandoverRow).where(
        HandoverRow.study_id == study_id, HandoverRow.kind == HandoverKind.DOWNLOAD, of_run
    )


def _row(session: Session, study_id: int, number: int, download_id: int) -> HandoverRow:
    """Return a download of a run.

    Raises:
        Refused: there is none.
    """
    row = session.scalar(_of_run(study_id, number).where(HandoverRow.id == download_id))
    if row is None:
        raise Refused(f"There is no download {download_id} of run {number}.")
    return row


def _stored(session: Session, study_id: int, wish: DownloadWish, account: Account) -> int:
    """Return the id of the newest download with these options that an account requested.

    Raises:
        Refused: it was deleted.
    """
    mine = _of_run(study_id, wish.run).where(HandoverRow.requested_by == account.email)
    for row in session.scalars(mine.order_by(HandoverRow.id.desc())):
        if DownloadWish.from_json(row.wish) == wish:
            return row.id
    raise Refused("The download that this request made was deleted.")


def _download(row: HandoverRow) -> Download:
    has_file = row.state is WorkState.DONE and bool(row.file)
    return Download(
        id=row.id,
        run=row.wish["run"],
        state=row.state,
        options={name: value for name, value in row.wish.items() if name != "run"},
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        done=row.done,
        total=row.total,
        problem=row.error,
        notes=list(row.notes),
        finished_at=row.finished_at,
        file=f"{DOWNLOADS}/{row.study_id}/{row.id}" if has_file else None,
        bytes=row.bytes if has_file else None,
        expires_at=row.expires_at,
    )
