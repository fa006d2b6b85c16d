"""Running again what was given up, signing links anew, and deleting a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import by_number, counted
from datagen.errors import LabelStudioMissing, Refused
from datagen.store import leases
from datagen.store.tables import (
    BatchKind,
    BatchRow,
    DecisionRow,
    FetchedPictureRow,
    InboxRow,
    InputRow,
    OutboxKind,
    OutboxRow,
    ProjectRow,
    ProposalRow,
    SampleRow,
    ShardRow,
    SpecRow,
    StudyRow,
    VerdictRow,
    WorkState,
    now,
)
from datagen.workflow.decision_points import project_of
from datagen.workflow.decisions import spec_versions, transitions
from datagen.workflow.decisions.spec_versions import running_batch
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.services import JobKind, Services, UnitOfWork, find_study

#: Of a batch's shards this many are queued at once; the sweeper queues the others.
MOST_QUEUED = 1000

log = structlog.get_logger()

#: Samples that one transaction deletes.
SAMPLES_AT_A_TIME = 2_000
#: The digests of a sample's image and mask.
_DIGESTS = (SampleRow.body["image"]["digest"].as_string(), SampleRow.body["mask"]["digest"].as_string())
#: Tasks whose links are looked at in one request to Label Studio.
LINKS_AT_ONCE = 100


@dataclass(kw_only=True)
class MendedLinks:
    """What became of the links in a study's tasks."""

    looked_at: int = 0
    mended: int = 0
    #: decision tasks that the outbox writes anew
    decisions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What is tried again: how many outbox and inbox rows, and what became of a failed round or run, as a sentence."""

    outbox: int
    events: int
    #: the round or run that goes on; empty where none does
    revived: str = ""
    #: why a failed round or run does not go on; empty where none is left behind
    left: str = ""


def retry(services: Services, name: str, who: str) -> Retried:
    """Try again what was given up in a study: events, what Label Studio is to be told, and its last round or run.

    Of a round or run that failed the shards that are finished are kept. Only the newest can go on: what was decided
    after an older one failed stands on its failure.

    Raises:
        Refused: there is no such study, or all that failed is a round or run that cannot go on; the sentence says why.
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
        job_kinds: list[tuple[JobKind, OutboxRow | InboxRow]] = [(JobKind.OUTBOX, row) for row in outbox]
        job_kinds += [(JobKind.EVENT, row) for row in events]
        revived = left = ""
        try:
            revived = _revive(unit, study, who)
        except Refused as refusal:
            left = str(refusal)
            if not job_kinds:
                raise
        for job_kind, row in job_kinds:
            row.state, row.due_at, row.error = WorkState.PENDING, now(), ""
            leases.start_afresh(row)
            unit.enqueue_after_commit(job_kind, row.id)
        return Retried(outbox=len(outbox), events=len(events), revived=revived, left=left)


def _revive(unit: UnitOfWork, study: StudyRow, who: str) -> str:
    """Have the newest round or run go on, if it failed; a sentence that says so, empty where nothing failed.

    Raises:
        Refused: one failed and cannot go on.
    """
    session = unit.session
    batches = select(BatchRow).where(BatchRow.study_id == study.id).order_by(BatchRow.id.desc()).limit(1)
    newest = session.scalar(batches)
    failed = session.scalar(batches.where(BatchRow.state == WorkState.FAILED))
    if failed is None or newest is None:
        return ""
    if newest.id != failed.id:
        if newest.kind == failed.kind and newest.state == WorkState.DONE:
            return ""  # another one was made in its place
        raise Refused(
            f"{failed.kind} {failed.number} failed, but {newest.kind} {newest.number} was begun after it, so it is not "
            "taken up again; go on at the newest decision task"
        )
    transitions.revive(unit, study, failed, who)
    unfinished = (ShardRow.batch_id == failed.id, ShardRow.state.in_([WorkState.FAILED, WorkState.CANCELLED]))
    waiting = session.scalars(select(ShardRow.id).where(*unfinished).order_by(ShardRow.id)).all()
    fresh = {"state": WorkState.PENDING, "token": None, "due_at": now(), "error": "", "rendered_count": 0}
    session.execute(
        update(ShardRow)
        .where(*unfinished)
        .values(**fresh, attempts=0, waits=0, waiting_since=None)
        .execution_options(synchronize_session=False)
    )
    job_kind = spec_versions.shard_job_kind(str(session.get_one(SpecRow, failed.spec_id).body["engine"]))
    for shard_id in waiting[:MOST_QUEUED]:
        unit.enqueue_after_commit(job_kind, shard_id)
    done = (ShardRow.batch_id == failed.id, ShardRow.state == WorkState.DONE)
    kept = session.scalar(select(func.count()).where(*done)) or 0
    named = f"{failed.kind} {failed.number}"
    what = f"{named} goes on: {counted(kept, 'finished shard')} {by_number(kept, 'is', 'are')} kept"
    unit.note(study, who, f"retry ({what})")
    return what


def mend_links(services: Services, name: str) -> MendedLinks:
    """Sign the links of review, dataset and decision tasks anew where they do not open any more.

    A link does not open when it was signed with a key that is not accepted, has expired, or leads to an address that
    is not ours any more. Running it again changes nothing; when it is killed, the next run goes on where it stood.

    Raises:
        Refused: there is no such study.
        LabelStudioError: Label Studio refuses; the tasks before are mended.
    """
    done = MendedLinks()
    with services.unit() as unit:
        study_id = find_study(unit.session, name).id
        decisions = unit.session.scalars(select(DecisionRow.id).where(DecisionRow.study_id == study_id)).all()
        for decision_id in decisions:
            unit.add_to_outbox(study_id, OutboxKind.DECISION, decision_id)
        done.decisions = len(decisions)
        projects = {
            BatchKind.ROUND: project_of(unit.session, study_id, ProjectKind.PREVIEWS),
            BatchKind.RUN: project_of(unit.session, study_id, ProjectKind.DATASET),
        }
    for kind, project_id in projects.items():
        if project_id is not None:
            _mend_samples(services, study_id, kind, project_id, done)
    return done


def _mend_samples(services: Services, study_id: int, kind: BatchKind, project_id: int, done: MendedLinks) -> None:
    digest, last = SampleRow.body["image"]["digest"].as_string(), 0
    page = (
        select(SampleRow.id, SampleRow.task_id, digest)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(BatchRow.study_id == study_id, BatchRow.kind == kind, SampleRow.task_id.is_not(None))
        .order_by(SampleRow.id)
        .limit(LINKS_AT_ONCE)
    )
    while True:
        with services.database.read() as session:
            rows = session.execute(page.where(SampleRow.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        digests = {task_id: found for _, task_id, found in rows}
        tasks, _ = read_tasks(services, project_id, ids=list(digests), annotations=False)
        for task in tasks:
            done.looked_at += 1
            if not services.links.opens(str(task.data.get("image", "")), digests[task.id]):
                try:
                    link = services.links.make(digests[task.id])
                    services.label_studio.update_task_data(task.id, {**task.data, "image": link})
                except LabelStudioMissing:
                    continue  # somebody deleted the task meanwhile
                done.mended += 1
        log.info("links.mended", study=study_id, looked_at=done.looked_at, mended=done.mended)


def delete_study(services: Services, name: str, who: str, *, with_projects: bool) -> int:
    """Delete a study's rows and the pictures that no other study has; returns how many pictures went.

    Its lines in the audit stay. ``with_projects`` deletes its Label Studio projects too.

    Pictures and projects are deleted before the rows that name them: whatever ends it early, running it again deletes
    the rest.

    Raises:
        Refused: work is under way; cancel it first.
        StoreUnavailable: the image store does not answer; run it again. Nothing was changed where it did not answer at
            the beginning.
        LabelStudioError: a project could not be deleted; run it again.
    """
    services.images.check()
    with services.database.read() as session:
        study_id = find_study(session, name).id
        _check_idle(session, study_id, name)
        others = _pictures(session, StudyRow.id != study_id)
    deleted: set[str] = set()
    while (found := _some_samples(services, study_id, name)).ids:
        deleted |= _delete_pictures(services, found.pictures - others)
        _delete_samples(services, study_id, name, found.ids)
    with services.database.read() as session:
        _check_idle(session, study_id, name)
        projects = list(session.scalars(select(ProjectRow.project_id).where(ProjectRow.study_id == study_id)))
        # others may have begun to use an input meanwhile
        own = _pictures(session, StudyRow.id == study_id) - _pictures(session, StudyRow.id != study_id)
    deleted |= _delete_pictures(services, own)
    if with_projects:
        for project_id in projects:
            services.label_studio.delete_project(project_id)
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        _check_idle(unit.session, study_id, name)
        unit.note(study, who, "deleted" + (" with its Label Studio projects" if with_projects else ""))
        _delete_rows(unit.session, study.id, projects)
    return len(deleted)


def _check_idle(session: Session, study_id: int, name: str) -> None:
    """Let a study be deleted that has no work under way.

    Raises:
        Refused: it has; cancel it first.
    """
    if running_batch(session, study_id) is not None:
        raise Refused(f"{name!r} has work under way; run: datagen cancel {name!r}")


class _Samples(NamedTuple):
    """Some samples of a study: their ids, and the digests of their images and masks."""

    ids: list[int]
    pictures: set[str]


def _some_samples(services: Services, study_id: int, name: str) -> _Samples:
    """The oldest samples of a study, as many as one transaction deletes: a million take many seconds."""
    batches = select(BatchRow.id).where(BatchRow.study_id == study_id)
    oldest = select(SampleRow.id, *_DIGESTS).where(SampleRow.batch_id.in_(batches)).order_by(SampleRow.id)
    with services.database.read() as session:
        _check_idle(session, study_id, name)
        rows = session.execute(oldest.limit(SAMPLES_AT_A_TIME)).all()
    return _Samples(ids=[row_id for row_id, *_ in rows], pictures={digest for _, *pair in rows for digest in pair})


def _delete_samples(services: Services, study_id: int, name: str, ids: Sequence[int]) -> None:
    """Delete these samples of a study with their verdicts."""
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
    """The digests that the studies of a condition refer to."""
    studies = select(StudyRow.id).where(of_study)
    inputs = select(InputRow.digest).where(InputRow.digest.is_not(None), InputRow.study_id.in_(studies))
    fetched = select(FetchedPictureRow.digest).where(
        FetchedPictureRow.digest.is_not(None), FetchedPictureRow.study_id.in_(studies)
    )
    sheets = select(BatchRow.sheet).where(BatchRow.sheet.is_not(None), BatchRow.study_id.in_(studies))
    samples = select(*_DIGESTS).join(BatchRow, BatchRow.id == SampleRow.batch_id).where(BatchRow.study_id.in_(studies))
    specs = select(SpecRow.body).where(SpecRow.study_id.in_(studies))
    found = {digest for query in (inputs, fetched, sheets) for digest in session.scalars(query) if digest}
    found |= {digest for pair in session.execute(samples) for digest in pair}
    for body in session.scalars(specs):
        images = [*(one["image"] for one in (*body["concepts"], *body["canvases"])), *body["backgrounds"]]
        found |= {image["digest"] for image in images}
    return found


def _delete_rows(session: Session, study_id: int, projects: list[int]) -> None:
    batches = select(BatchRow.id).where(BatchRow.study_id == study_id)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(batches))
    # who points goes before what is pointed at
    session.execute(update(SpecRow).where(SpecRow.study_id == study_id).values(parent_id=None))
    for statement in (
        delete(VerdictRow).where(VerdictRow.sample_id.in_(samples)),
        delete(SampleRow).where(SampleRow.batch_id.in_(batches)),
        delete(ShardRow).where(ShardRow.batch_id.in_(batches)),
        delete(DecisionRow).where(DecisionRow.study_id == study_id),
        delete(BatchRow).where(BatchRow.study_id == study_id),
        delete(SpecRow).where(SpecRow.study_id == study_id),
        delete(OutboxRow).where(OutboxRow.study_id == study_id),
        delete(InboxRow).where(InboxRow.project_id.in_(projects)),
        delete(InputRow).where(InputRow.study_id == study_id),
        delete(FetchedPictureRow).where(FetchedPictureRow.study_id == study_id),
        delete(ProposalRow).where(ProposalRow.study_id == study_id),
        delete(ProjectRow).where(ProjectRow.study_id == study_id),
        delete(StudyRow).where(StudyRow.id == study_id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
