"""The page of a study: its inputs, and its versions with their rounds, audits, decisions and runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, load_only

from datagen.domain.inputs import MINIMUM_PER_ROLE, ProjectKind, Role, recommended_images
from datagen.domain.lifecycle import SpecState, StudyState
from datagen.learning.acceptance import AuditedAcceptance
from datagen.learning.effect import Judged, effect_in_words
from datagen.store.tables.base import PARTS_OF_RUNS, BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.reviews import audits
from datagen.workflow.study_pages.access import Visible, visible_study
from datagen.workflow.study_pages.batch_figures import Share, promise_of, share_of
from datagen.workflow.study_pages.decision_form import DecisionForm, decision_form_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget, NextStep, next_step
from datagen.workflow.study_pages.pictures import InputPicture, SamplePicture, first_inputs, first_pictures
from datagen.workflow.study_pages.situations import StudyProgress, VerdictCounts, statuses_of, verdict_counts

#: Number of versions on the page, and of the newest of them whose pictures are shown: with more the page would be slow.
VERSIONS_SHOWN, VERSIONS_PICTURED = 60, 12
#: Number of pictures of a round or run, and of photos of a role.
PICTURES_A_BATCH, PHOTOS_A_ROLE = 6, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCount:
    """The images of one role: how many are usable, needed and recommended."""

    role: Role
    usable: int
    minimum: int
    recommended: int
    #: the first of them
    photos: tuple[InputPicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCard:
    """A round, an audit or a run on the page of its study."""

    id: int
    kind: BatchKind
    number: int
    #: the name of a run; empty for the others
    name: str
    state: WorkState
    #: number of images, and of those that are rendered
    count: int
    rendered: int
    verdicts: VerdictCounts
    #: None without verdicts
    share: Share | None
    #: whether the version is good more often than its parent; empty if that cannot be compared
    effect: str
    #: of a run: what its approval stated; empty if it stated nothing
    promise: str
    status_text: str
    problem: str
    #: since when a person has paused the run, which ``problem`` names; None if no person has
    paused_at: datetime | None
    requested_by: str
    requested_at: datetime
    #: the first of them; empty for an old version
    pictures: tuple[SamplePicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLine:
    """A decision that was made about a version."""

    number: int
    action: str
    by: str
    at: datetime | None
    note: str
    target: LabelStudioTarget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSection:
    """A version, with what was rendered of it, the newest first."""

    version: int
    #: the version that it was refined from; None if it was built from the inputs
    parent: int | None
    state: SpecState
    created_by: str
    created_at: datetime
    #: what changed from its parent, as sentences
    changes: tuple[str, ...]
    batches: tuple[BatchCard, ...]
    #: the newest first
    decisions: tuple[DecisionLine, ...]
    #: what its audits promise, as a sentence; empty if it was not audited
    promise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """The page of a study."""

    id: int
    name: str
    #: empty if nobody described it
    description: str
    is_archived: bool
    labels: tuple[str, ...]
    engine: str
    state: StudyState
    created_at: datetime
    next_step: NextStep
    progress: StudyProgress | None
    roles: tuple[RoleCount, ...]
    #: number of inputs that cannot be used
    problems: int
    #: the newest first
    versions: tuple[VersionSection, ...]
    #: number of versions before those
    older: int
    #: the rounds with verdicts, the oldest first
    judged_rounds: tuple[BatchCard, ...]
    projects: Mapping[ProjectKind, int]
    decisions: DecisionForm


def study_of(session: Session, study_id: int, project_ids: Visible) -> StudyView:
    """Return the page of a study.

    Raises:
        Refused: there is no such study, or the person may not see it.
    """
    study = visible_study(session, study_id, project_ids)
    status = statuses_of(session, [study])[study.id]
    projects = status.situation.projects
    inputs = collect(session, study)
    photos = first_inputs(session, [study.id], PHOTOS_A_ROLE)
    specs = _specs(session, study.id)
    batches = _batches(session, specs)
    sections = _sections(session, specs, batches, projects)
    cards = [card for section in sections for card in section.batches]
    return StudyView(
        id=study.id,
        name=study.name,
        description=study.description,
        is_archived=study.archived_at is not None,
        labels=tuple(study.labels),
        engine=study.engine,
        state=study.state,
        created_at=study.created_at,
        next_step=next_step(status.situation),
        progress=status.progress,
        roles=tuple(
            RoleCount(
                role=role,
                usable=inputs.count(role),
                minimum=MINIMUM_PER_ROLE,
                recommended=recommended_images(role),
                photos=photos.get((study.id, role), ()),
            )
            for role in Role
        ),
        problems=len(inputs.problems),
        versions=sections,
        older=min((spec.version for spec in specs), default=1) - 1,
        judged_rounds=tuple(
            sorted((card for card in cards if card.kind is BatchKind.ROUND and card.share), key=_number)
        ),
        projects=projects,
        decisions=decision_form_of(session, study),
    )


def _number(card: BatchCard) -> int:
    return card.number


def _specs(session: Session, study_id: int) -> list[SpecRow]:
    """Return the newest versions, the newest first. Their bodies, which may have megabytes, are not read."""
    columns = load_only(
        SpecRow.version,
        SpecRow.parent_id,
        SpecRow.state,
        SpecRow.notes,
        SpecRow.created_by,
        SpecRow.created_at,
    )
    query = select(SpecRow).where(SpecRow.study_id == study_id).order_by(SpecRow.version.desc())
    return list(session.scalars(query.limit(VERSIONS_SHOWN).options(columns)))


def _batches(session: Session, specs: Sequence[SpecRow]) -> list[BatchRow]:
    query = select(BatchRow).where(
        BatchRow.spec_id.in_([spec.id for spec in specs]), BatchRow.kind.not_in(PARTS_OF_RUNS)
    )
    return list(session.scalars(query.order_by(BatchRow.id.desc())))


def _sections(
    session: Session,
    specs: Sequence[SpecRow],
    batches: Sequence[BatchRow],
    projects: Mapping[ProjectKind, int],
) -> tuple[VersionSection, ...]:
    ids = [batch.id for batch in batches]
    verdicts = verdict_counts(session, [batch.id for batch in batches if batch.kind.is_reviewed])
    begun = audits.samples_with_verdicts(session, [batch.id for batch in batches if batch.kind is BatchKind.AUDIT])
    pictured = {spec.id for spec in specs[:VERSIONS_PICTURED]}
    pictures = first_pictures(session, [batch for batch in batches if batch.spec_id in pictured], PICTURES_A_BATCH)
    rendered = _rendered(session, ids)
    decisions = _decisions(session, ids, projects)
    by_spec: dict[int, list[BatchRow]] = defaultdict(list)
    for batch in batches:
        by_spec[batch.spec_id].append(batch)
    versions = {spec.id: spec.version for spec in specs}
    judged = {spec.id: _judged_round(spec, by_spec[spec.id], verdicts) for spec in specs}
    sections = []
    for spec in specs:
        child, parent = judged[spec.id], judged.get(spec.parent_id or 0)
        effect = effect_in_words(child, parent) if child is not None and parent is not None else ""
        cards = tuple(
            _card(batch, verdicts.get(batch.id, VerdictCounts()), rendered.get(batch.id, 0), pictures, effect)
            for batch in by_spec[spec.id]
        )
        sections.append(
            VersionSection(
                version=spec.version,
                parent=versions.get(spec.parent_id) if spec.parent_id is not None else None,
                state=spec.state,
                created_by=spec.created_by,
                created_at=spec.created_at,
                changes=tuple(spec.notes),
                batches=cards,
                decisions=tuple(
                    sorted(
                        (line for batch in by_spec[spec.id] for line in decisions.get(batch.id, ())),
                        key=lambda line: -line.number,
                    )
                ),
                promise=_promise(by_spec[spec.id], verdicts, begun),
            )
        )
    return tuple(sections)


def _judged_round(spec: SpecRow, batches: Sequence[BatchRow], verdicts: Mapping[int, VerdictCounts]) -> Judged | None:
    """Return the verdicts on the newest finished round of a version; None if there is none."""
    for batch in batches:
        if batch.kind is BatchKind.ROUND and batch.state is WorkState.DONE:
            counts = verdicts.get(batch.id, VerdictCounts())
            return Judged(version=spec.version, good=counts.good, count=counts.good + counts.bad)
    return None


def _card(
    batch: BatchRow,
    counts: VerdictCounts,
    rendered: int,
    pictures: Mapping[int, tuple[SamplePicture, ...]],
    effect: str,
) -> BatchCard:
    return BatchCard(
        id=batch.id,
        kind=batch.kind,
        number=batch.number,
        name=batch.name if batch.kind is BatchKind.RUN else "",
        state=batch.state,
        count=batch.count,
        rendered=min(rendered, batch.count),
        verdicts=counts,
        share=share_of(counts),
        effect=effect if batch.kind is BatchKind.ROUND and batch.state is WorkState.DONE else "",
        promise=promise_of(batch),
        status_text=batch.status_text if batch.state is WorkState.RUNNING else "",
        problem=batch.problem,
        paused_at=batch.paused_at if batch.paused_by is not None else None,
        requested_by=batch.requested_by,
        requested_at=batch.requested_at,
        pictures=pictures.get(batch.id, ()),
    )


def _promise(
    batches: Sequence[BatchRow], verdicts: Mapping[int, VerdictCounts], begun_audits: Mapping[int, int]
) -> str:
    """Return the promise of a version's audits, as ``reviews.audits`` counts them; empty if none has a verdict.

    Args:
        begun_audits: audit → number of its samples with verdicts; audits without a verdict are not in it.
    """
    begun = [
        (batch, verdicts.get(batch.id, VerdictCounts()))
        for batch in batches
        if batch.id in begun_audits and batch.state is WorkState.DONE
    ]
    if not begun:
        return ""
    return AuditedAcceptance(
        audits=len(begun),
        samples=sum(batch.count for batch, _ in begun),
        judged=sum(counts.judged for _, counts in begun),
        good=sum(counts.all_good for _, counts in begun),
        disputed=sum(begun_audits[batch.id] - counts.judged for batch, counts in begun),
    ).sentence


def _rendered(session: Session, batch_ids: Sequence[int]) -> dict[int, int]:
    """Return batch → number of rendered samples."""
    stored = case((ShardRow.rendered_at.is_not(None), ShardRow.stop - ShardRow.start), else_=ShardRow.rendered_count)
    query = select(ShardRow.batch_id, func.sum(stored)).where(ShardRow.batch_id.in_(batch_ids))
    return {batch_id: number or 0 for batch_id, number in session.execute(query.group_by(ShardRow.batch_id))}


def _decisions(
    session: Session, batch_ids: Sequence[int], projects: Mapping[ProjectKind, int]
) -> dict[int, list[DecisionLine]]:
    """Return batch → the decisions about it, the oldest first; the first decision is about what it started."""
    about = func.coalesce(DecisionRow.batch_id, DecisionRow.started_id)
    rows = session.execute(
        select(DecisionRow, about)
        .where(about.in_(batch_ids), DecisionRow.action.is_not(None))
        .order_by(DecisionRow.number)
    )
    project_id = projects.get(ProjectKind.DECISIONS)
    decisions: dict[int, list[DecisionLine]] = defaultdict(list)
    for row, batch_id in rows:
        target = LabelStudioTarget(project_id=project_id, task_id=row.task_id) if project_id and row.task_id else None
        line = DecisionLine(
            number=row.number,
            action=str(row.action),
            by=row.answered_by or "",
            at=row.answered_at,
            note=row.note,
            target=target,
        )
        decisions[batch_id].append(line)
    return decisions
