"""Maintenance of a study: retrying failed work, and deleting the study."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from datagen.domain.wording import by_number, counted
from datagen.errors import Refused
from datagen.store import leases
from datagen.store.tables.base import PARTS_OF_RUNS, LeasedRow, WorkState
from datagen.store.tables.batches import BatchRow, FitPictureRow, SampleFactsRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.handovers import HandoverRow
from datagen.store.tables.inputs import FetchedPictureRow, InputReadingRow, InputRow, ProposalMakingRow, ProposalRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.reviews import DecisionRow, VerdictRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.decisions import spec_versions, transitions
from datagen.workflow.decisions.spec_versions import running_batch
from datagen.workflow.notifications.recipients import delete_notifications
from datagen.workflow.services import JobKind, Services, UnitOfWork, find_study, outbox_job_kind
from datagen.workflow.studies.audit import DELETIONS

log = structlog.get_logger()

#: Number of samples that are deleted in one transaction.
SAMPLES_AT_A_TIME = 2_000
#: Columns: the digest of a sample's image, and that of its mask.
_DIGESTS = (SampleRow.body["image"]["digest"].as_string(), SampleRow.body["mask"]["digest"].as_string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Result of a retry: the numbers of retried rows, and a sentence about a failed round or run."""

    outbox: int
    events: int
    #: number of retried rows of work on inputs: their reading, and the making of proposals
    inputs: int
    #: a sentence about the round or run that is resumed; empty if none is
    revived: str = ""
    #: why a failed round or run is not resumed, as a sentence; empty if there is none
    left: str = ""


def retry(services: Services, name: str, who: str) -> Retried:
    """Retry the failed work of a study: events, outbox rows, work on inputs, and its newest round or run.

    The finished shards of a failed round or run are kept. Only the newest round or run can be resumed, because later
    decisions depend on the failure of an older one.

    Raises:
        Refused: there is no such study, or its only failed work is a round or run that cannot be resumed; the message
            gives the reason.
    """
    with services.unit() as unit:
        study = unit.lock_study(find_study(unit.session, name).id)
        projects = select(ProjectRow.project_id).where(ProjectRow.study_id == study.id)
        outbox = unit.session.scalars(
            select(OutboxRow).where(OutboxRow.study_id == study.id, OutboxRow.state == WorkState.FAILED)
        ).all()
        events = unit.session.scalars(
            select(InboxRow).where(InboxRow.project_id.in_(projects), InboxRow.state == WorkState.FAILED)
        ).all()
        failed_rows: list[tuple[JobKind, LeasedRow]] = [(outbox_job_kind(row.kind), row) for row in outbox]
        failed_rows += [(JobKind.EVENT, row) for row in events]
        failed_rows += _failed_input_work(unit.session, study.id)
        revived = left = ""
        try:
            revived = _revive(unit, study, who)
        except Refused as refusal:
            left = str(refusal)
            if not failed_rows:
                raise
        for job_kind, row in failed_rows:
            row.error = ""
            leases.request(row)
            unit.enqueue_after_commit(job_kind, row.id)
        inputs = len(failed_rows) - len(outbox) - len(events)
        return Retried(outbox=len(outbox), events=len(events), inputs=inputs, revived=revived, left=left)


def _failed_input_work(session: Session, study_id: int) -> Iterator[tuple[JobKind, LeasedRow]]:
    """Yield the study's failed work on inputs, with the kind of its job: the reading, and the making of proposals."""
    for job_kind, table in ((JobKind.INPUTS, InputReadingRow), (JobKind.PROPOSALS, ProposalMakingRow)):
        row = session.get(table, study_id)
        if row is not None and row.state == WorkState.FAILED:
            yield job_kind, row


def _revive(unit: UnitOfWork, study: StudyRow, who: str) -> str:
    """Resume the newest round or run if it failed, and return a sentence about it; return "" if nothing failed.

    Raises:
        Refused: a round or run failed and cannot be resumed.
    """
    session = unit.session
    # parts of a run are added after it
    of_study = (BatchRow.study_id == study.id, BatchRow.kind.not_in(PARTS_OF_RUNS))
    batches = select(BatchRow).where(*of_study).order_by(BatchRow.id.desc()).limit(1)
    newest = session.scalar(batches)
    failed = session.scalar(batches.where(BatchRow.state == WorkState.FAILED))
    if failed is None or newest is None:
        return ""
    if newest.id != failed.id:
        if newest.kind == failed.kind and newest.state == WorkState.DONE:
            return ""  # it was replaced
        raise Refused(
            f"{failed.kind} {failed.number} failed, but {newest.kind} {newest.number} was begun after it, so it is not "
            "taken up again; go on at the newest decision task"
        )
    transitions.revive(unit, study, failed, who)
    spec_versions.resume_shards(unit, failed)
    done = (ShardRow.batch_id == failed.id, ShardRow.state == WorkState.DONE)
    kept_count = session.scalar(select(func.count()).where(*done)) or 0
    batch_name = f"{failed.kind} {failed.number}"
    sentence = (
        f"{batch_name} goes on: {counted(kept_count, 'finished shard')} {by_number(kept_count, 'is', 'are')} kept"
    )
    unit.note(study, who, f"retry ({sentence})")
    return sentence


def delete_study(services: Services, name: str, who: str, *, with_projects: bool, study_id: int | None = None) -> int:
    """Delete a study's rows and the pictures that no other study uses, and return the number of deleted pictures.

    The study's audit rows are kept. ``with_projects`` deletes its Label Studio projects too. ``study_id`` is the id
    that the study must have: the name that a person chose may belong to another study when the deletion begins.

    Pictures and projects are deleted before the rows that refer to them, so after an interruption another call deletes
    the rest.

    Raises:
        Refused: the study has work under way; cancel it first. Or the name belongs to a study of another id.
        StoreUnavailable: the image store does not answer; call again. Nothing is changed if it did not answer at the
            beginning.
        LabelStudioError: a project could not be deleted; call again.
    """
    services.images.check()
    with services.database.read() as session:
        current_id = find_study(session, name).id
        if study_id not in (None, current_id):
            raise Refused(f"the study was renamed, and another one has the name “{name}” now; nothing was deleted")
        study_id = current_id
        _check_idle(session, study_id, name)
        others = _pictures(session, StudyRow.id != study_id)
    deleted: set[str] = set()
    while (samples := _oldest_samples(services, study_id, name)).ids:
        deleted |= _delete_pictures(services, samples.pictures - others)
        _delete_samples(services, study_id, name, samples.ids)
    with services.database.read() as session:
        _check_idle(session, study_id, name)
        projects = list(session.scalars(select(ProjectRow.project_id).where(ProjectRow.study_id == study_id)))
        # another study may use one of the inputs by now
        own = _pictures(session, StudyRow.id == study_id) - _pictures(session, StudyRow.id != study_id)
        files = list(session.scalars(select(HandoverRow.file).where(HandoverRow.study_id == study_id)))
    deleted |= _delete_pictures(services, own)
    for file in filter(None, files):
        services.download_files.remove(file)
    if with_projects:
        for project_id in projects:
            services.label_studio.delete_project(project_id)
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        _check_idle(unit.session, study_id, name)
        unit.note(study, who, DELETIONS[with_projects])
        _delete_rows(unit.session, study.id, projects)
    return len(deleted)


def _check_idle(session: Session, study_id: int, name: str) -> None:
    """Check that a study has no work under way.

    Raises:
        Refused: the study has work under way; cancel it first.
    """
    if running_batch(session, study_id) is not None:
        raise Refused(f"{name!r} has work under way; run: datagen cancel {shlex.quote(name)}")


class _Samples(NamedTuple):
    """Ids of some samples of a study, and the digests of their images and masks."""

    ids: list[int]
    pictures: set[str]


def _oldest_samples(services: Services, study_id: int, name: str) -> _Samples:
    """Return the oldest ``SAMPLES_AT_A_TIME`` samples of a study. A million in one transaction would take too long."""
    batches = select(BatchRow.id).where(BatchRow.study_id == study_id)
    oldest = select(SampleRow.id, *_DIGESTS).where(SampleRow.batch_id.in_(batches)).order_by(SampleRow.id)
    with services.database.read() as session:
        _check_idle(session, study_id, name)
        rows = session.execute(oldest.limit(SAMPLES_AT_A_TIME)).all()
    return _Samples(ids=[row_id for row_id, *_ in rows], pictures={digest for _, *pair in rows for digest in pair})


def _delete_samples(services: Services, study_id: int, name: str, ids: Sequence[int]) -> None:
    """Delete the given samples of a study and their verdicts."""
    with services.unit() as unit:
        unit.lock_study(study_id)
        _check_idle(unit.session, study_id, name)
        unit.session.execute(delete(VerdictRow).where(VerdictRow.sample_id.in_(ids)))
        unit.session.execute(delete(SampleRow).where(SampleRow.id.in_(ids)))


def _delete_pictures(services: Services, digests: set[str]) -> set[str]:
    for digest in digests:
        services.images.delete(digest)
    return digests


def _pictures(session: Session, of_study: ColumnElement[bool]) -> set[str]:
    """Return the digests of all pictures of the studies that match a condition."""
    studies = select(StudyRow.id).where(of_study)
    inputs = select(InputRow.digest).where(InputRow.digest.is_not(None), InputRow.study_id.in_(studies))
    fetched = select(FetchedPictureRow.digest).where(
        FetchedPictureRow.digest.is_not(None), FetchedPictureRow.study_id.in_(studies)
    )
    sheets = select(BatchRow.sheet).where(BatchRow.sheet.is_not(None), BatchRow.study_id.in_(studies))
    samples = select(*_DIGESTS).join(BatchRow, BatchRow.id == SampleRow.batch_id).where(BatchRow.study_id.in_(studies))
    specs = select(SpecRow.body).where(SpecRow.study_id.in_(studies))
    learned = (
        select(FitPictureRow.overlay)
        .join(SpecRow, SpecRow.id == FitPictureRow.spec_id)
        .where(SpecRow.study_id.in_(studies))
    )
    digests = {digest for query in (inputs, fetched, sheets, learned) for digest in session.scalars(query) if digest}
    digests |= {digest for pair in session.execute(samples) for digest in pair}
    for body in session.scalars(specs):
        images = [*(drawn["image"] for drawn in (*body["concepts"], *body["canvases"])), *body["backgrounds"]]
        digests |= {image["digest"] for image in images}
    return digests


def _delete_rows(session: Session, study_id: int, projects: list[int]) -> None:
    batches = select(BatchRow.id).where(BatchRow.study_id == study_id)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(batches))
    specs = select(SpecRow.id).where(SpecRow.study_id == study_id)
    # referring rows are deleted before the rows they refer to
    delete_notifications(session, study_id)
    session.execute(update(SpecRow).where(SpecRow.study_id == study_id).values(parent_id=None))
    for statement in (
        delete(VerdictRow).where(VerdictRow.sample_id.in_(samples)),
        delete(SampleRow).where(SampleRow.batch_id.in_(batches)),
        delete(SampleFactsRow).where(SampleFactsRow.batch_id.in_(batches)),
        delete(ShardRow).where(ShardRow.batch_id.in_(batches)),
        delete(DecisionRow).where(DecisionRow.study_id == study_id),
        delete(BatchRow).where(BatchRow.study_id == study_id),
        delete(FitPictureRow).where(FitPictureRow.spec_id.in_(specs)),
        delete(SpecRow).where(SpecRow.study_id == study_id),
        delete(HandoverRow).where(HandoverRow.study_id == study_id),
        delete(OutboxRow).where(OutboxRow.study_id == study_id),
        delete(InboxRow).where(InboxRow.project_id.in_(projects)),
        delete(InputReadingRow).where(InputReadingRow.id == study_id),
        delete(ProposalMakingRow).where(ProposalMakingRow.id == study_id),
        delete(InputRow).where(InputRow.study_id == study_id),
        delete(FetchedPictureRow).where(FetchedPictureRow.study_id == study_id),
        delete(ProposalRow).where(ProposalRow.study_id == study_id),
        delete(ProjectRow).where(ProjectRow.study_id == study_id),
        delete(StudyRow).where(StudyRow.id == study_id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
