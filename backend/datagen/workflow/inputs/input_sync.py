"""Synchronization of a study's inputs. Tasks of Label Studio are stored as rows; usable rows become domain values."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef, Inputs, Problem, Role
from datagen.domain.wording import counted
from datagen.errors import LabelStudioFault, LabelStudioMissing, Refused
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.task_inputs import LONGEST_ADDRESS, RawInput, read_tasks
from datagen.store import leases
from datagen.store.tables.inputs import InputReadingRow, InputRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.decision_points import republish_open_decision
from datagen.workflow.inputs import input_pictures, input_requests, unreadable_tasks
from datagen.workflow.inputs.input_pictures import Fetched
from datagen.workflow.inputs.parsed_results import of_row, parse, to_text
from datagen.workflow.leased_work import LeaseLost
from datagen.workflow.services import Services, UnitOfWork

#: Number of ids in one statement. It is limited because databases limit the parameters of a statement.
IDS_AT_A_TIME = 10_000
#: Largest number of rows, and of characters of their parsed results, that are written in one transaction.
ROWS_AT_A_TIME, TEXT_AT_A_TIME = 200, 2**20
#: Time for which a reading parses results, seconds. The next reading parses the others.
PARSING_SECONDS = 30.0
#: Largest number of corners of all drawings of a study together. It is limited because every version of the study's
#: spec contains all drawings.
MAX_CORNERS = 1_000_000
#: Text of ``InputRow.problem`` while the picture or the drawings are not read yet.
_UNREAD = "it is still being read"
#: Columns that are compared to decide whether a stored row equals the row that was just read.
_COMPARED = (
    *("study_id", "role", "name", "url", "digest", "width", "height"),
    *("answered", "updated_at", "annotation_id", "problem"),
)
#: Columns on which the parsed result of a row depends. If they are unchanged, the result is current.
_PARSED_FROM = ("role", "digest", "width", "height", "answered", "updated_at", "annotation_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The tasks of one project, or the reason why they could not be read."""

    project_id: int
    role: Role
    tasks: Sequence[Task] = ()
    #: ids of the tasks that Label Studio cannot send
    unreadable: Sequence[int] = ()
    fault: str = ""


def refresh(services: Services, study_id: int, *, force: bool = False, lease: InputReadingRow | None = None) -> Inputs:
    """Read the study's inputs from Label Studio if they changed since the last reading, and return them.

    New pictures are fetched, checked and stored. If a picture cannot be used, the reason is stored. The open decision
    then shows the available and the missing inputs. Inputs that a reading does not reach within its time limit are
    counted as ``unread``; a further reading is enqueued for them.

    A project that cannot be read is shown on the decision, too, and its inputs stay unchanged.

    Two readings may run at the same time: that of a job, and that of a decision, which does not wait for the job. Of
    the two, the one that began later writes (``StudyRow.inputs_reading``).

    Args:
        services: the services.
        study_id: the study.
        force: read the inputs even if they did not change, and raise an error if a project cannot be read.
        lease: the claimed row of the job that reads; None for a decision. A job that lost its lease writes nothing.

    Raises:
        LeaseLost: another process owns the reading now.
        LabelStudioUnavailable: Label Studio does not answer; nothing was changed.
        LabelStudioError: with ``force``, a project cannot be read.
        Refused: the study does not exist any more.
    """
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            raise Refused("the study is not there any more")
        is_current = study.inputs_read == study.inputs_changed and not input_pictures.is_due(session, study_id)
        if is_current and not force:
            return collect(session, study)
        as_of = study.inputs_changed  # a change during the reading increments the counter, so it is read again
        projects = session.scalars(select(ProjectRow).where(ProjectRow.study_id == study_id)).all()
        stored_rows = {
            row.task_id: row for row in session.scalars(select(InputRow).where(InputRow.study_id == study_id))
        }
    readings = [
        _read_project(services, study.name, project, role, force=force)
        for project in projects
        if (role := project.kind.role)
    ]
    raw_inputs = [(reading.role, raw) for reading in readings for raw in read_tasks(reading.tasks)]
    urls = {raw.image_url for _, raw in raw_inputs}
    pictures = input_pictures.fetch_pictures(services, study_id, urls, hurried=force)
    writer = _Writer(services=services, study_id=study_id, as_of=as_of, lease=lease)
    rows: list[InputRow] = []
    is_newest = True
    for chunk in _chunks(_rows(study, raw_inputs, pictures, stored_rows)):
        rows += chunk
        is_newest = is_newest and writer.write(chunk)
    kept = _unchanged_rows(stored_rows.values(), readings)
    if is_newest:
        writer.finish(rows, kept, urls, readings)
    return inputs_from_rows(sorted([*rows, *kept], key=lambda row: row.task_id), study.labels)


def _read_project(services: Services, study_name: str, project: ProjectRow, role: Role, *, force: bool) -> _Reading:
    project_id = project.project_id
    try:
        tasks, unreadable = unreadable_tasks.read_tasks(services, project_id)
    except (LabelStudioFault, LabelStudioMissing) as fault:
        if force:
            raise
        is_gone = isinstance(fault, LabelStudioMissing)
        reason = unreadable_tasks.gone(project.kind, project_id, study_name) if is_gone else str(fault)
        return _Reading(project_id=project_id, role=role, fault=reason)
    return _Reading(project_id=project_id, role=role, tasks=tasks, unreadable=unreadable)


def _unchanged_rows(stored_rows: Iterable[InputRow], readings: Sequence[_Reading]) -> list[InputRow]:
    """Return the stored rows to keep: those of projects that could not be read, and of tasks that could not be sent."""
    failed = {reading.role for reading in readings if reading.fault}
    unsendable = {(reading.role, task_id) for reading in readings for task_id in reading.unreadable}
    return [
        row
        for row in stored_rows
        # an unsendable task that was not read yet has no known content
        if row.role in failed or ((row.role, row.task_id) in unsendable and row.problem != _UNREAD)
    ]


def collect(session: Session, study: StudyRow) -> Inputs:
    """Return the study's inputs as they were last read: the usable ones, and the problems with the others."""
    rows = session.scalars(select(InputRow).where(InputRow.study_id == study.id).order_by(InputRow.task_id))
    return inputs_from_rows(rows, study.labels)


def image_of(row: InputRow) -> ImageRef:
    """Return the picture of an input; its row must have one."""
    assert row.digest is not None
    return ImageRef(digest=row.digest, width=row.width, height=row.height, name=row.name)


def concept_of(row: InputRow, labels: Sequence[str]) -> tuple[ConceptImage | None, Sequence[str]]:
    """Return a concept task's usable boxes (None if it has none), and a sentence for each unusable one."""
    parsed = of_row(row, labels)
    return (ConceptImage(image=image_of(row), regions=parsed.regions) if parsed.regions else None), parsed.problems


def canvas_of(row: InputRow, labels: Sequence[str]) -> tuple[CanvasImage | None, Sequence[str]]:
    """Return a canvas task's usable areas (None if it has none), and a sentence for each unusable one."""
    parsed = of_row(row, labels)
    return (CanvasImage(image=image_of(row), areas=parsed.areas) if parsed.areas else None), parsed.problems


def inputs_from_rows(rows: Iterable[InputRow], labels: Sequence[str]) -> Inputs:
    """Return the inputs of rows, in order of their tasks.

    If several tasks have the same picture with identical drawings, it is one input. If it were two, it could be used
    both for learning and for testing.
    """
    concepts: list[ConceptImage] = []
    canvases: list[CanvasImage] = []
    backgrounds: list[ImageRef] = []
    problems: list[Problem] = []
    unread: Counter[Role] = Counter()
    corners = 0
    first_tasks: dict[tuple[object, ...], int] = {}  # role, picture and drawing → its first task
    for row in rows:
        reasons: Sequence[str] = ()
        usable: ConceptImage | CanvasImage | ImageRef | None = None
        drawn: tuple[object, ...] = ()
        if row.problem == _UNREAD:
            unread[row.role] += 1
        elif row.digest is None:
            reasons = (row.problem,)
        elif row.role is Role.CONCEPT:
            usable, reasons = concept_of(row, labels)
            drawn = usable.regions if usable else ()
        elif row.role is Role.CANVAS:
            usable, reasons = canvas_of(row, labels)
            drawn = usable.areas if usable else ()
        elif of_row(row, labels).used:
            usable = image_of(row)
        if drawn and (original := first_tasks.setdefault((row.role, row.digest, drawn), row.task_id)) != row.task_id:
            usable, reasons = None, (f"it is the same as task {original}, and counts once",)
        if usable is not None and (corners := corners + _corner_count(usable)) > MAX_CORNERS:
            corners -= _corner_count(usable)
            usable = None
            reasons = (f"with the drawings before it, there are more than {MAX_CORNERS:,} corners; draw with fewer",)
        match usable:
            case ConceptImage():
                concepts.append(usable)
            case CanvasImage():
                canvases.append(usable)
            case ImageRef():
                backgrounds.append(usable)
        item = f"task {row.task_id} ({row.name})"
        problems += (Problem(role=row.role, item=item, reason=reason) for reason in reasons)
    for role, count in sorted(unread.items()):
        item = counted(count, "image")
        problems.append(Problem(role=role, item=item, reason="still being read; the decision task will say more"))
    return Inputs(
        concepts=tuple(concepts),
        canvases=tuple(canvases),
        backgrounds=tuple(backgrounds),
        problems=tuple(problems),
        unread=unread.total(),
    )


def _corner_count(drawing: ConceptImage | CanvasImage | ImageRef) -> int:
    """Return the number of corners of all drawings on a picture."""
    match drawing:
        case ConceptImage():
            return sum(len(polygon.points) for region in drawing.regions for polygon in region.outline)
        case CanvasImage():
            return sum(len(area.polygon.points) for area in drawing.areas)
        case ImageRef():
            return 0


def _rows(
    study: StudyRow,
    raw_inputs: Sequence[tuple[Role, RawInput]],
    pictures: Mapping[str, Fetched],
    stored_rows: Mapping[int, InputRow],
) -> Iterator[InputRow]:
    """Yield a row for each input. Changed drawings are parsed; after ``PARSING_SECONDS`` the others stay unread."""
    until = time.monotonic() + PARSING_SECONDS
    parsed_count = 0
    for role, raw in raw_inputs:
        picture = pictures[raw.image_url]
        row = _row(study.id, role, raw, picture)
        if picture.digest is not None:
            earlier = stored_rows.get(raw.task_id)
            if earlier is not None and all(getattr(earlier, name) == getattr(row, name) for name in _PARSED_FROM):
                row.parsed = earlier.parsed
            if row.parsed is None and parsed_count and time.monotonic() > until:
                row.problem = _UNREAD
            elif row.parsed is None:
                row.parsed = to_text(parse(role, raw.result or (), row.width, row.height, study.labels))
                parsed_count += 1
        yield row


def _row(study_id: int, role: Role, raw: RawInput, picture: Fetched) -> InputRow:
    return InputRow(
        task_id=raw.task_id,
        study_id=study_id,
        role=role,
        name=plain(raw.name)[:500],
        url=plain(raw.image_url)[:LONGEST_ADDRESS],
        digest=picture.digest,
        width=picture.width,
        height=picture.height,
        answered=raw.result is not None,
        updated_at=raw.updated_at,
        annotation_id=raw.annotation_id,
        result=[],
        parsed=None,
        problem=_UNREAD if picture.unread else plain(picture.problem)[:1000],
    )


def _chunks(rows: Iterable[InputRow]) -> Iterator[list[InputRow]]:
    """Yield the rows in lists, each small enough to be written in one transaction."""
    chunk: list[InputRow] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += len(row.parsed or "")
        if len(chunk) >= ROWS_AT_A_TIME or characters >= TEXT_AT_A_TIME:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _values(row: InputRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _COMPARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Writes the result of one reading, until a newer reading begins to write or the lease is lost."""

    services: Services
    study_id: int
    #: the study's ``inputs_changed`` at the start of the reading
    as_of: int
    #: the claimed row of the reading's job; None for a reading without a lease
    lease: InputReadingRow | None

    def write(self, rows: Sequence[InputRow]) -> bool:
        """Store the rows that differ from those in the database, and return True.

        If a newer reading has begun to write, store nothing and return False.
        """
        ids = [row.task_id for row in rows]
        with self.services.unit() as unit:
            study = self._locked_study(unit)
            if study.inputs_reading > self.as_of:
                return False
            study.inputs_reading = self.as_of
            compared = [getattr(InputRow, name) for name in _COMPARED]
            stored_values = {
                task_id: tuple(values)
                for task_id, *values in unit.session.execute(
                    select(InputRow.task_id, *compared, InputRow.parsed.is_(None)).where(InputRow.task_id.in_(ids))
                )
            }
            changed = [row for row in rows if stored_values.get(row.task_id) != (*_values(row), row.parsed is None)]
            # Label Studio on SQLite reuses the ids of deleted tasks: rows of another study may still have them
            unit.session.execute(delete(InputRow).where(InputRow.task_id.in_([row.task_id for row in changed])))
            unit.session.add_all(changed)
        return True

    def finish(
        self, rows: Sequence[InputRow], kept: Sequence[InputRow], urls: set[str], readings: Sequence[_Reading]
    ) -> None:
        """Finish a reading: delete the rows of deleted tasks, then record it as complete or request the next one.

        ``kept`` are the stored rows of tasks that this reading could not read. No reading is requested for them,
        because it would fail, too. The reconciler requests one once their projects can be read.
        """
        read_ids = {row.task_id for row in (*rows, *kept)}
        is_unread = any(row.problem == _UNREAD for row in rows)
        with self.services.unit() as unit:
            study = self._locked_study(unit)
            if study.inputs_reading > self.as_of:
                return
            stored = unit.session.scalars(select(InputRow.task_id).where(InputRow.study_id == self.study_id))
            deleted_ids = [task_id for task_id in stored if task_id not in read_ids]
            for start in range(0, len(deleted_ids), IDS_AT_A_TIME):
                unit.session.execute(
                    delete(InputRow).where(InputRow.task_id.in_(deleted_ids[start : start + IDS_AT_A_TIME]))
                )
            for reading in readings:
                project = unit.session.get(ProjectRow, reading.project_id)
                if project is None:
                    continue  # the project was created again meanwhile
                # None after a fault: the reconciler has the tasks read again once they are readable
                project.tasks = None if reading.fault else len(reading.tasks) + len(reading.unreadable)
                if reading.fault:
                    unreadable_tasks.refresh(unit, project, reading.fault)
            if is_unread:
                input_requests.request_rest(unit, study)
            else:
                study.inputs_read = self.as_of
                study.waits_for = ""
                input_pictures.forget_others(unit, self.study_id, urls.union(row.url for row in kept))
                input_requests.request_proposals(unit, study)
            input_requests.schedule_retry(unit, study)
            republish_open_decision(unit, self.study_id)

    def _locked_study(self, unit: UnitOfWork) -> StudyRow:
        """Return the study, locked.

        Raises:
            LeaseLost: another process owns the reading now.
            Refused: the study does not exist any more.
        """
        study = unit.lock_study(self.study_id)
        if self.lease is not None and not leases.get_if_owned(
            unit.session, InputReadingRow, self.study_id, self.lease.token
        ):
            raise LeaseLost
        return study
