"""Rounds, audits and runs of a study, with spot checks and rejected candidates."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field
from sqlalchemy import select

from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.web.api.operations import Operations, Resource
from datagen.web.api.reading import Links, Page, PageQuery, Share, reading
from datagen.workflow.decision_tasks.batch_view import progress_of
from datagen.workflow.study_pages.batch_figures import promise_of, share_of
from datagen.workflow.study_pages.gallery_view import batch_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from datagen.workflow.study_pages.situations import VerdictCounts, verdict_counts

#: The kinds in a path.
KINDS = ", ".join(BatchKind)


class Verdicts(Resource):
    """The verdicts that count on a batch."""

    good: int
    bad: int
    judged: int = Field(description="Number of samples with a verdict.")
    all_good: int = Field(description="Number of samples whose verdicts are all good.")
    share: Share | None = Field(description="null without verdicts.")


class BatchSummary(Resource):
    """A round, an audit or a run, or the spot checks or rejected candidates of a run."""

    kind: BatchKind
    number: int
    name: str
    version: int
    state: WorkState
    count: int = Field(description="Requested number of samples.")
    verdicts: Verdicts
    promise: str = Field(description="Of a run: what its approval stated; empty if it stated nothing.")
    problem: str = Field(description="Why it failed, was cancelled or paused; otherwise empty.")
    paused_by: str | None = Field(description="Of a paused run: who paused it; null if its spot checks did.")
    paused_at: datetime | None = Field(description="Of a paused run: since when.")
    note: str
    requested_by: str
    requested_at: datetime
    rendered_at: datetime | None
    published_at: datetime | None


class BatchPage(Page):
    """A page of batches, the newest first."""

    items: list[BatchSummary]


class Batch(BatchSummary):
    """A batch with its progress."""

    rendered: int = Field(description="Number of samples that are rendered.")
    seconds_left: float | None = Field(description="Estimated time for the others; null if it is not known.")
    status_text: str = Field(description="Present work, or the reason of a wait; may be empty.")
    warnings: list[str]
    url: str | None = Field(description="Label Studio's project with its samples.")


class BatchQuery(PageQuery):
    """Filters of a list of batches."""

    kind: BatchKind | None = None
    version: int | None = Field(None, ge=1, le=2**53, description="Only those of this version.")


def add_batches(operations: Operations, database: Database, links: Links) -> None:
    """Add the operations."""

    @operations.get("/studies/<int:study_id>/batches", BatchPage, query=BatchQuery)
    def list_batches(account: Account, study_id: int, query: BatchQuery) -> BatchPage:
        """List the rounds, audits and runs of a study."""
        with reading(database, account, study_id) as (session, study):
            batches = select(BatchRow, SpecRow.version).join(SpecRow, SpecRow.id == BatchRow.spec_id)
            batches = batches.where(BatchRow.study_id == study.id).order_by(BatchRow.id.desc())
            if query.cursor is not None:
                batches = batches.where(BatchRow.id < query.cursor)
            if query.kind is not None:
                batches = batches.where(BatchRow.kind == query.kind)
            if query.version is not None:
                batches = batches.where(SpecRow.version == query.version)
            rows = session.execute(batches.limit(query.limit + 1)).all()
            shown, next_cursor = keyset_page(rows, query.limit, lambda row: row[0].id)
            counts = verdict_counts(session, [row.id for row, _ in shown if row.kind.is_reviewed])
        items = [_summary(row, version, counts.get(row.id, VerdictCounts())) for row, version in shown]
        return BatchPage(items=items, next_cursor=next_cursor)

    @operations.get(f"/studies/<int:study_id>/batches/<any({KINDS}):kind>/<int:number>", Batch)
    def get_batch(account: Account, study_id: int, kind: str, number: int) -> Batch:
        """Return one round, audit or run, and how far it is."""
        with reading(database, account, study_id) as (session, _):
            row = batch_of(session, study_id, BatchKind(kind), number, account.project_ids)
            counts = verdict_counts(session, [row.id]).get(row.id, VerdictCounts())
            progress = progress_of(session, row)
            summary = _summary(row, row.spec.version, counts)
        project_id = progress.project_id
        return Batch(
            **dict(summary),
            rendered=progress.rendered,
            seconds_left=progress.time_left.total_seconds() if progress.time_left is not None else None,
            status_text=progress.status_text,
            warnings=list(progress.warnings),
            url=links.of(LabelStudioTarget(project_id=project_id)) if project_id is not None else None,
        )


def _summary(row: BatchRow, version: int, counts: VerdictCounts) -> BatchSummary:
    share = share_of(counts)
    return BatchSummary(
        kind=row.kind,
        number=row.number,
        name=row.name,
        version=version,
        state=row.state,
        count=row.count,
        verdicts=Verdicts(
            good=counts.good,
            bad=counts.bad,
            judged=counts.judged,
            all_good=counts.all_good,
            share=Share.model_validate(share) if share is not None else None,
        ),
        promise=promise_of(row),
        problem=row.problem,
        paused_by=row.paused_by,
        paused_at=row.paused_at,
        note=row.note,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        rendered_at=row.rendered_at,
        published_at=row.published_at,
    )
