"""The changing parts of a run's page: the progress of the run, and its handovers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from datagen.errors import InputProblem
from datagen.export.writer import format_class, format_names
from datagen.store.tables.base import HandoverKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.handovers import HandoverRow
from datagen.workflow.decision_tasks.batch_view import Progress, progress_of
from datagen.workflow.decisions.batch_end import has_shards_to_begin
from datagen.workflow.decisions.shown_state import state_token
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: Number of handovers of a run that its page lists, the newest first.
MAX_HANDOVERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """The shards of a run: how many there are, are stored, and are rendered by a worker at this moment."""

    total: int
    stored: int
    at_work: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverLine:
    """A handover in the list of a run's page."""

    id: int
    kind: HandoverKind
    state: WorkState
    requested_by: str
    requested_at: datetime
    done: int
    total: int
    #: what it contains, in words, such as “coco, voc; split 80,20”
    contents: str
    #: why it failed or waits; empty if neither
    problem: str
    notes: tuple[str, ...]
    #: size of a download's file in bytes, and when it is removed; None while there is none
    bytes: int | None
    expires_at: datetime | None
    #: the project that images are pushed into; None before it is created, and for a download
    target: LabelStudioTarget | None

    @property
    def is_under_way(self) -> bool:
        """Whether the handover waits or is in progress."""
        return self.state in (WorkState.PENDING, WorkState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLive:
    """The values that change while a run's page is open."""

    study_id: int
    number: int
    #: the state that the forms of decisions are shown for; see ``decisions.shown_state``
    state_token: str
    progress: Progress
    shards: ShardCounts
    #: whether the run can be paused: it is under way, and some of its samples are not begun
    can_pause: bool
    handovers: tuple[HandoverLine, ...]

    @property
    def is_live(self) -> bool:
        """Whether a change of the page is expected; also at a paused run, which somebody may resume or end."""
        is_under_way = self.progress.state in (WorkState.RUNNING, WorkState.PAUSED)
        return is_under_way or any(each.is_under_way for each in self.handovers)


def live_of(session: Session, batch: BatchRow) -> RunLive:
    """Return the changing values of a run's page."""
    at_work = (ShardRow.state == WorkState.RUNNING) & (ShardRow.due_at > now())
    total, stored, running = session.execute(
        select(func.count(), func.count(ShardRow.rendered_at), func.count(case((at_work, 1)))).where(
            ShardRow.batch_id == batch.id
        )
    ).one()
    return RunLive(
        study_id=batch.study_id,
        number=batch.number,
        state_token=state_token(session, batch.study),
        progress=progress_of(session, batch),
        shards=ShardCounts(total=total, stored=stored, at_work=running),
        can_pause=batch.state == WorkState.RUNNING and has_shards_to_begin(session, batch),
        handovers=_handovers(session, batch),
    )


def _handovers(session: Session, batch: BatchRow) -> tuple[HandoverLine, ...]:
    rows = session.scalars(
        select(HandoverRow)
        .where(HandoverRow.study_id == batch.study_id, HandoverRow.wish["run"].as_integer() == batch.number)
        .order_by(HandoverRow.id.desc())
        .limit(MAX_HANDOVERS)
    )
    return tuple(map(_line, rows))


def _line(row: HandoverRow) -> HandoverLine:
    project_id = row.wish.get("project_id")
    return HandoverLine(
        id=row.id,
        kind=row.kind,
        state=row.state,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        done=row.done,
        total=row.total,
        contents=_contents(row),
        problem=row.error,
        notes=tuple(row.notes),
        bytes=row.bytes if row.file else None,
        expires_at=row.expires_at,
        target=LabelStudioTarget(project_id=project_id) if project_id is not None else None,
    )


def _contents(row: HandoverRow) -> str:
    wish = row.wish
    if row.kind is HandoverKind.PUSH:
        return "as annotations" if wish["annotations"] else "as predictions"
    parts = [", ".join(wish["formats"])]
    if wish["split"]:
        parts.append(f"split {wish['split']}")
    if wish["images"] != "png":
        parts.append(wish["images"].upper())
    if wish["indices"] is not None:
        parts.append("chosen images")
    if wish["matching"]:
        parts.append(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wish["matching"].items()))
    return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOffer:
    """An installed export format: its name, its contents, and the programs that open it."""

    name: str
    sentence: str
    opened_by: str


def format_offers() -> Sequence[FormatOffer]:
    """Return the installed export formats that can be loaded."""
    offers = []
    for name in format_names():
        try:
            export_format = format_class(name)
        except InputProblem:  # ``datagen export --formats`` says why
            continue
        offers.append(FormatOffer(name=name, sentence=export_format.sentence, opened_by=export_format.opened_by))
    return offers
