"""What the newest fitted version learned about each input, as pictures to lay over those of the inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from datagen.domain.inputs import Role
from datagen.domain.lifecycle import SpecState
from datagen.errors import Refused
from datagen.store.tables.base import FitPictureKind
from datagen.store.tables.batches import FitPictureRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import shows_areas, shows_mattes
from datagen.workflow.study_pages.access import Visible, visible_study

#: Role of inputs → what is shown of them.
KINDS = {
    Role.CONCEPT: FitPictureKind.MATTE,
    Role.CANVAS: FitPictureKind.AREA,
    Role.BACKGROUND: FitPictureKind.AREA,
}
_NAMES = {FitPictureKind.MATTE: "mattes", FitPictureKind.AREA: "learned areas"}
_SHOWS = {FitPictureKind.MATTE: shows_mattes, FitPictureKind.AREA: shows_areas}


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPicture:
    """A translucent picture of what a fit learned about an input."""

    id: int
    #: digest of the translucent picture
    digest: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a version learned about the inputs of a page."""

    #: the version; 0 if there are no pictures
    version: int
    #: why there are none, as a sentence; empty if there are some
    absent: str
    #: digest of an input's picture → its translucent pictures
    pictures: Mapping[str, tuple[LearnedPicture, ...]]


def learned_of(session: Session, study: StudyRow, role: Role, digests: Collection[str]) -> Learned:
    """Return what the newest version with such pictures learned about inputs of one role with these pictures."""
    kind = KINDS[role]
    of_study = select(SpecRow.id, SpecRow.version).where(SpecRow.study_id == study.id)
    has_pictures = select(FitPictureRow.id).where(FitPictureRow.spec_id == SpecRow.id, FitPictureRow.kind == kind)
    newest = session.execute(of_study.where(has_pictures.exists()).order_by(SpecRow.version.desc()).limit(1)).first()
    if newest is None:
        return Learned(version=0, absent=_absent(session, study, kind), pictures={})
    spec_id, version = newest
    of_inputs = (
        FitPictureRow.spec_id == spec_id,
        FitPictureRow.kind == kind,
        FitPictureRow.picture.in_(sorted(digests)),
    )
    pictures: dict[str, tuple[LearnedPicture, ...]] = {}
    for row in session.scalars(select(FitPictureRow).where(*of_inputs).order_by(FitPictureRow.id)):
        picture = LearnedPicture(id=row.id, digest=row.overlay, labels=tuple(row.labels))
        pictures[row.picture] = (*pictures.get(row.picture, ()), picture)
    return Learned(version=version, absent="", pictures=pictures)


def overlay_of(session: Session, study_id: int, picture_id: int, project_ids: Visible) -> str:
    """Return the digest of a translucent picture of a study.

    Raises:
        Refused: there is no such picture, or the person may not see the study.
    """
    study = visible_study(session, study_id, project_ids)
    of_study = (FitPictureRow.id == picture_id, SpecRow.study_id == study.id)
    overlay = session.scalar(
        select(FitPictureRow.overlay).join(SpecRow, SpecRow.id == FitPictureRow.spec_id).where(*of_study)
    )
    if overlay is None:
        raise Refused(f"The study “{study.name}” has no such picture of a fit.")
    return overlay


def _absent(session: Session, study: StudyRow, kind: FitPictureKind) -> str:
    """Return why a study has no pictures of a kind, as a sentence."""
    name = _NAMES[kind]
    newest = session.scalar(
        select(SpecRow)
        .where(SpecRow.study_id == study.id)
        .order_by(SpecRow.version.desc())
        .limit(1)
        .options(load_only(SpecRow.version, SpecRow.state, SpecRow.findings))
    )
    engine = study.engine
    if newest is not None:
        engine = session.scalars(select(SpecRow.body["engine"].as_string()).where(SpecRow.id == newest.id)).one()
    if not _SHOWS[kind](engine):
        return f"The engine “{engine}” shows no {name}."
    if newest is None:
        return f"No version was fitted yet. “Build preview” fits the first one, and its {name} are shown here then."
    if newest.state is SpecState.RENDERING:
        return f"Version {newest.version} is being fitted. Its {name} are shown here then."
    return f"No {name} were kept of version {newest.version}. Those of the next version are shown here."
