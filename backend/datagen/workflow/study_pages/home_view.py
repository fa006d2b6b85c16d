"""The home page: the studies that a person sees, as cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import Role
from datagen.domain.lifecycle import StudyState
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.base import Instant
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.study_pages.access import Visible, is_visible
from datagen.workflow.study_pages.next_step import NextStep, next_step
from datagen.workflow.study_pages.pictures import InputPicture, SamplePicture, first_inputs, first_pictures
from datagen.workflow.study_pages.situations import StudyProgress, newest_pictured, statuses_of

#: Number of studies on a page, and of pictures on a card.
STUDIES_A_PAGE, PICTURES_A_CARD = 24, 4
#: Largest length of a search, characters.
LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCard:
    """A study on the home page."""

    id: int
    name: str
    #: empty if nobody described it
    description: str
    labels: tuple[str, ...]
    state: StudyState
    #: its newest version; 0 before the first
    version: int
    next_step: NextStep
    progress: StudyProgress | None
    active_at: datetime
    #: pictures of its newest round or run
    pictures: tuple[SamplePicture, ...]
    #: concept photos, if it has no such pictures yet
    photos: tuple[InputPicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeView:
    """The home page."""

    search: str
    #: whether the archived studies are shown, in place of the others
    archived: bool
    #: whether Label Studio shows the person some of its projects only
    is_restricted: bool
    #: number of archived studies that the person may see
    archived_total: int
    cards: tuple[StudyCard, ...]
    #: number of the studies that match the search, on all pages
    total: int
    #: the id from which the next page goes on; None on the last page
    next_before: int | None


def home_of(
    session: Session,
    project_ids: Visible,
    search: str = "",
    before: int | None = None,
    most: int = STUDIES_A_PAGE,
    *,
    archived: bool = False,
) -> HomeView:
    """Return the home page: the newest studies first.

    Args:
        session: the session.
        project_ids: what the person may see.
        search: a part of the name or the description; empty for all studies.
        before: the id of the last study of the page before; None for the first page.
        most: largest number of studies on the page.
        archived: whether the archived studies are returned, in place of the others.
    """
    search = plain(search[:LONGEST_SEARCH]).strip()
    visible, is_archived = is_visible(project_ids), StudyRow.archived_at.is_not(None)
    archived_total = session.scalar(select(func.count()).select_from(StudyRow).where(visible, is_archived)) or 0
    conditions = [visible, is_archived if archived else ~is_archived]
    if search:
        texts = (StudyRow.name, StudyRow.description)
        conditions.append(or_(*(text.icontains(search, autoescape=True) for text in texts)))
    total = session.scalar(select(func.count()).select_from(StudyRow).where(*conditions)) or 0
    if before is not None:
        conditions.append(StudyRow.id < before)
    query = select(StudyRow).where(*conditions).order_by(StudyRow.id.desc()).limit(most + 1)
    shown, next_before = keyset_page(session.scalars(query).all(), most, lambda study: study.id)
    return HomeView(
        search=search,
        archived=archived,
        is_restricted=project_ids is not None,
        archived_total=archived_total,
        cards=_cards(session, shown) if shown else (),
        total=total,
        next_before=next_before,
    )


def _cards(session: Session, studies: Sequence[StudyRow]) -> tuple[StudyCard, ...]:
    statuses = statuses_of(session, studies)
    pictured = newest_pictured(session, [study.id for study in studies])
    pictures = first_pictures(session, pictured, PICTURES_A_CARD)
    of_study = {batch.study_id: pictures.get(batch.id, ()) for batch in pictured}
    photos = first_inputs(session, [study.id for study in studies if study.id not in of_study], PICTURES_A_CARD)
    active = _active_at(session, studies)
    return tuple(
        StudyCard(
            id=study.id,
            name=study.name,
            description=study.description,
            labels=tuple(study.labels),
            state=study.state,
            version=statuses[study.id].version,
            next_step=next_step(statuses[study.id].situation),
            progress=statuses[study.id].progress,
            active_at=active.get(study.name, study.created_at),
            pictures=of_study.get(study.id, ()),
            photos=photos.get((study.id, Role.CONCEPT), ()),
        )
        for study in studies
    )


def _active_at(session: Session, studies: Sequence[StudyRow]) -> dict[str, datetime]:
    """Return study's name → the time of its newest line in the audit log."""
    rows = session.execute(
        select(AuditRow.study, func.max(AuditRow.at, type_=Instant()))
        .where(AuditRow.study.in_([study.name for study in studies]))
        .group_by(AuditRow.study)
    )
    return dict(rows.all())
