"""The list of runs of all studies that a person sees, the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import whole_number
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.study_pages.access import Visible, is_visible

#: Number of runs on a page, and largest number of studies that the filter offers.
RUNS_A_PAGE, MAX_STUDIES = 40, 300
#: Largest id that a column can be compared with.
_LARGEST_ID = 2**53
#: The states that a run can have, in the order of the filter.
STATES = (WorkState.RUNNING, WorkState.PAUSED, WorkState.DONE, WorkState.FAILED, WorkState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFilter:
    """A filter of the runs; an empty value does not filter."""

    state: str = ""
    study: str = ""
    #: part of the address of the person who requested the run
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run in the list."""

    study_id: int
    study: str
    number: int
    name: str
    state: WorkState
    version: int
    requested_by: str
    requested_at: datetime
    count: int
    #: number of images that are stored
    stored: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsView:
    """A page of the list of runs."""

    filter: RunsFilter
    #: id and name of each study that the filter offers
    studies: tuple[tuple[int, str], ...]
    states: tuple[str, ...]
    runs: tuple[RunLine, ...]
    #: the id before which the next page begins; None on the last page
    next_before: int | None


def runs_of(session: Session, project_ids: Visible, chosen: RunsFilter, before: int | None) -> RunsView:
    """Return a page of the runs that a person sees. Executes three statements."""
    query = (
        select(BatchRow, StudyRow.name, SpecRow.version)
        .join(StudyRow, StudyRow.id == BatchRow.study_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(BatchRow.kind == BatchKind.RUN, is_visible(project_ids))
    )
    if chosen.state in STATES:
        query = query.where(BatchRow.state == WorkState(chosen.state))
    if (study_id := whole_number(chosen.study, _LARGEST_ID)) is not None:
        query = query.where(BatchRow.study_id == study_id)
    if chosen.who:
        query = query.where(BatchRow.requested_by.icontains(chosen.who, autoescape=True))
    if before is not None:
        query = query.where(BatchRow.id < before)
    rows = session.execute(query.order_by(BatchRow.id.desc()).limit(RUNS_A_PAGE + 1)).all()
    shown, next_before = keyset_page(rows, RUNS_A_PAGE, lambda row: row[0].id)
    stored = _stored(session, [run.id for run, _, _ in shown])
    studies = session.execute(
        select(StudyRow.id, StudyRow.name).where(is_visible(project_ids)).order_by(StudyRow.name).limit(MAX_STUDIES)
    )
    return RunsView(
        filter=chosen,
        studies=tuple((study_id, name) for study_id, name in studies),
        states=tuple(map(str, STATES)),
        runs=tuple(
            RunLine(
                study_id=run.study_id,
                study=study,
                number=run.number,
                name=run.name,
                state=run.state,
                version=version,
                requested_by=run.requested_by,
                requested_at=run.requested_at,
                count=run.count,
                stored=stored.get(run.id, 0),
                problem=run.problem,
            )
            for run, study, version in shown
        ),
        next_before=next_before,
    )


def _stored(session: Session, run_ids: list[int]) -> dict[int, int]:
    """Return run → number of its images that are stored."""
    images = case((ShardRow.rendered_at.is_not(None), ShardRow.stop - ShardRow.start), else_=0)
    rows = session.execute(
        select(ShardRow.batch_id, func.sum(images)).where(ShardRow.batch_id.in_(run_ids)).group_by(ShardRow.batch_id)
    )
    return {batch_id: int(number) for batch_id, number in rows}
