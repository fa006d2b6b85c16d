"""A study's inputs: what Label Studio holds of them, kept as rows, and the usable ones as domain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import CanvasImage, ConceptImage, Desk, ImageRef, Inputs, Problem, Role
from datagen.errors import DatagenError, LabelStudioMissing, LabelStudioUnavailable, StoreError
from datagen.label_studio.answers import background_use
from datagen.label_studio.regions import canvas_areas, concept_regions
from datagen.label_studio.sources import RawInput, read_tasks
from datagen.store.rows import DeskRow, InputRow, StudyRow
from datagen.workflow.points import tell_open
from datagen.workflow.workshop import Door, Unit, Workshop

#: Pictures fetched at a time: Label Studio's development server answers a few at once, and no more faster.
FETCHERS = 4
#: Ids in one statement; databases limit its parameters.
IDS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """A picture that was brought into the image store, or why it could not be."""

    digest: str | None = None
    width: int = 0
    height: int = 0
    problem: str = ""


def refresh(workshop: Workshop, study_id: int, *, force: bool = False) -> Inputs:
    """Read the study's inputs from Label Studio, where they changed since the last reading (always with ``force``).

    The pictures that are new are fetched, checked and stored; one that cannot be used keeps its reason, and the others
    are used. The open decision then shows what is there and what is missing.
    """
    with workshop.database.read() as session:
        study = session.get_one(StudyRow, study_id)
        if study.inputs_read == study.inputs_changed and not force:
            return collect(session, study)
        as_of = study.inputs_changed  # what changes while we read is a later count, and is read again
        desks = session.scalars(select(DeskRow).where(DeskRow.study_id == study_id)).all()
        known = {
            row.url: _Fetched(digest=row.digest, width=row.width, height=row.height)
            for row in session.scalars(select(InputRow).where(InputRow.study_id == study_id))
            if row.digest
        }
    tasks = {
        desk.project_id: (role, list(workshop.label_studio.tasks(desk.project_id)))
        for desk in desks
        if (role := Desk(desk.desk).role) is not None
    }
    found = [(role, raw) for role, there in tasks.values() for raw in read_tasks(there)]
    fetched = _fetch_new(workshop, (raw.image_url for _, raw in found), known)
    with workshop.unit() as unit:
        study = unit.lock_study(study_id)
        unit.session.execute(delete(InputRow).where(InputRow.study_id == study_id))
        # Label Studio on SQLite gives ids of deleted tasks out again: another study may still have them in its rows
        ids = [raw.task_id for _, raw in found]
        for start in range(0, len(ids), IDS_AT_A_TIME):
            unit.session.execute(delete(InputRow).where(InputRow.task_id.in_(ids[start : start + IDS_AT_A_TIME])))
        unit.session.add_all(_row(study_id, role, raw, fetched[raw.image_url]) for role, raw in found)
        for project_id, (_, there) in tasks.items():
            if (desk := unit.session.get(DeskRow, project_id)) is not None:  # not made anew meanwhile
                desk.tasks = len(there)
        study.inputs_read = as_of
        study.inputs_waits, study.waits_for = 0, ""
        unit.session.flush()
        _show(unit, study)
        unit.later(Door.PROPOSALS, study_id)
        return collect(unit.session, study)


def mark_stale(unit: Unit, study_id: int) -> None:
    """Note that inputs changed; the next refresh reads them."""
    unit.lock_study(study_id).inputs_changed += 1


def collect(session: Session, study: StudyRow) -> Inputs:
    """The study's inputs as last read: what can be used, and what cannot and why.

    The copy of a task where something is drawn is no second input: the same drawn on the same picture counts once, or
    what is learned from it would be tried on that very picture.
    """
    concepts: list[ConceptImage] = []
    canvases: list[CanvasImage] = []
    backgrounds: list[ImageRef] = []
    problems: list[Problem] = []
    first: dict[tuple[object, ...], int] = {}  # what an input comes to → the first task that does
    for row in session.scalars(select(InputRow).where(InputRow.study_id == study.id).order_by(InputRow.task_id)):
        reasons: Sequence[str] = ()
        found: ConceptImage | CanvasImage | ImageRef | None = None
        drawn: tuple[object, ...] = ()
        if row.digest is None:
            reasons = (row.problem,)
        elif row.role is Role.CONCEPT:
            found, reasons = concept_of(row, study.labels)
            drawn = found.regions if found else ()
        elif row.role is Role.CANVAS:
            found, reasons = canvas_of(row, study.labels)
            drawn = found.areas if found else ()
        elif background_use(row.result):
            found = image_of(row)
        if drawn and (original := first.setdefault((row.role, row.digest, drawn), row.task_id)) != row.task_id:
            found, reasons = None, (f"it is the same as task {original}, and counts once",)
        match found:
            case ConceptImage():
                concepts.append(found)
            case CanvasImage():
                canvases.append(found)
            case ImageRef():
                backgrounds.append(found)
        item = f"task {row.task_id} ({row.name})"
        problems += (Problem(role=row.role, item=item, reason=reason) for reason in reasons)
    return Inputs(
        concepts=tuple(concepts),
        canvases=tuple(canvases),
        backgrounds=tuple(backgrounds),
        problems=tuple(problems),
    )


def image_of(row: InputRow) -> ImageRef:
    """The picture of an input that has one."""
    assert row.digest is not None
    return ImageRef(digest=row.digest, width=row.width, height=row.height, name=row.name)


def concept_of(row: InputRow, labels: Sequence[str]) -> tuple[ConceptImage | None, Sequence[str]]:
    """A concept task's usable boxes (None: it has none), and a sentence for each that is not."""
    regions, reasons = concept_regions(row.result, row.width, row.height, labels)
    return (ConceptImage(image=image_of(row), regions=tuple(regions)) if regions else None), reasons


def canvas_of(row: InputRow, labels: Sequence[str]) -> tuple[CanvasImage | None, Sequence[str]]:
    """A canvas task's usable areas (None: it has none), and a sentence for each that is not."""
    areas, reasons = canvas_areas(row.result, row.width, row.height, labels)
    return (CanvasImage(image=image_of(row), areas=tuple(areas)) if areas else None), reasons


def _fetch_new(workshop: Workshop, urls: Iterable[str], known: dict[str, _Fetched]) -> dict[str, _Fetched]:
    """Every address with its picture; those not known yet are fetched. A Label Studio that is away raises."""
    wanted = set(urls)
    new = sorted(wanted - known.keys())
    with ThreadPoolExecutor(max_workers=FETCHERS) as pool:
        brought = dict(zip(new, pool.map(lambda url: _fetch(workshop, url), new), strict=True))
    return {url: known.get(url) or brought[url] for url in wanted}


def _fetch(workshop: Workshop, url: str) -> _Fetched:
    if not url:
        return _Fetched(problem="its task has no image; upload one")
    try:
        data = workshop.label_studio.fetch(url, max_bytes=workshop.limits.image_bytes)
        width, height = workshop.decoder.size_of(data)
    except (LabelStudioUnavailable, StoreError):
        raise  # says nothing of the picture: the whole reading is tried again
    except LabelStudioMissing:
        return _Fetched(problem="its image is gone; upload it again")
    except DatagenError as problem:
        return _Fetched(problem=str(problem))
    return _Fetched(digest=workshop.images.put(data), width=width, height=height)


def _row(study_id: int, role: Role, raw: RawInput, fetched: _Fetched) -> InputRow:
    result: list[dict[str, Any]] = list(raw.result or ())
    return InputRow(
        task_id=raw.task_id,
        study_id=study_id,
        role=role,
        name=raw.name[:500],
        url=raw.image_url,
        digest=fetched.digest,
        width=fetched.width,
        height=fetched.height,
        answered=raw.result is not None,
        said_at=raw.updated_at,
        result=result,
        problem=fetched.problem[:1000],
    )


def _show(unit: Unit, study: StudyRow) -> None:
    """Have the open decision show the inputs as they are now."""
    tell_open(unit, study.id)
