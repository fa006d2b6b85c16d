"""The final comparison of the chaos bench: Label Studio, the rows, the image store and the export must agree."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from benches.chaos_team import Person
from datagen.domain.inputs import ProjectKind
from datagen.errors import DatagenError
from datagen.imaging.codec import decode
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.form_answers import verdict
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import DecisionRow, VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decision_points import key_of
from datagen.workflow.sample_labels import labels_of
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services
from datagen.workflow.studies.export import export_study

_LIMITS = {"max_bytes": 64 * 2**20, "max_pixels": 10**8}


@dataclass
class Reckoning:
    """The result of a comparison: a sentence for each difference, and the number of comparisons."""

    lost: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    #: annotations that Label Studio confirmed with a 2xx and then lost itself
    lost_by_label_studio: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Whether there is no difference."""
        return not (self.lost or self.twins or self.holes or self.mismatched)


def reckon(services: Services, people: list[Person], folder: Path | None) -> Reckoning:
    """Compare Label Studio with the rows. If ``folder`` is given, compare pixels and exports too."""
    reckoning = Reckoning()
    for person in people:
        with services.database.read() as session:
            study = session.scalars(select(StudyRow).where(StudyRow.name == person.study)).one()
            tasks = {
                project_kind: list(services.label_studio.tasks(person.projects[project_kind]))
                for project_kind in (ProjectKind.PREVIEWS, ProjectKind.DECISIONS, ProjectKind.DATASET)
            }
            _verdicts(reckoning, session, study, person, tasks[ProjectKind.PREVIEWS])
            _decisions(reckoning, session, study, person, tasks[ProjectKind.DECISIONS])
            _samples(reckoning, session, study, tasks)
            if folder is not None:
                _labels_and_pixels(reckoning, services, session, study, tasks)
        if folder is not None:
            _export(reckoning, services, study, folder / f"{study.id}.zip")
    return reckoning


def _verdicts(reckoning: Reckoning, session: Session, study: StudyRow, person: Person, tasks: list[Task]) -> None:
    answers = {}
    for task in tasks:
        for submitted in task.annotations:
            answer = verdict(submitted.result) if not submitted.was_cancelled else None
            if answer is not None:
                answers[submitted.id] = (str(answer.opinion), sorted(answer.reasons), answer.comment)
    kept = {
        row.annotation_id: (str(row.opinion), row.reasons, row.comment)
        for row in session.scalars(
            select(VerdictRow)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study.id)
        )
    }
    reckoning.compared["verdicts"] += len(answers)
    for annotation, said_there in answers.items():
        if kept.get(annotation) != said_there:
            reckoning.lost.append(
                f"{study.name}: annotation {annotation} says {said_there}, kept is {kept.get(annotation)}"
            )
    reckoning.lost += [
        f"{study.name}: annotation {annotation} is kept, and gone" for annotation in kept.keys() - answers.keys()
    ]
    gone = person.acknowledged.verdicts - answers.keys()
    reckoning.lost_by_label_studio += [
        f"{study.name}: annotation {annotation} was answered, and is not there" for annotation in gone
    ]


def _decisions(reckoning: Reckoning, session: Session, study: StudyRow, person: Person, tasks: list[Task]) -> None:
    points = list(session.scalars(select(DecisionRow).where(DecisionRow.study_id == study.id)))
    by_key = {key_of(point): point for point in points}
    for key, number in Counter(task.data["datagen_key"] for task in tasks).items():
        reckoning.twins += [f"{study.name}: {number} tasks of {key}"] * (number - 1)
    for task in tasks:
        point = by_key.get(task.data["datagen_key"])
        for annotation in task.annotations:
            reckoning.compared["decisions"] += 1
            if point is None or str(annotation.id) not in (point.answer or {}):
                reckoning.lost.append(f"{study.name}: decision {annotation.id} of task {task.id} was not acted on")
    reckoning.holes += [
        f"{study.name}: {key} has no task" for key in by_key.keys() - {t.data["datagen_key"] for t in tasks}
    ]
    present = {annotation.id for task in tasks for annotation in task.annotations}
    gone = person.acknowledged.decisions - present
    reckoning.lost_by_label_studio += [
        f"{study.name}: decision {annotation} was answered, and is not there" for annotation in gone
    ]
    batches = session.scalars(select(BatchRow.id).where(BatchRow.study_id == study.id)).all()
    asked = Counter(point.started_id for point in points if point.started_id is not None)
    reckoning.twins += [f"{study.name}: no decision requested batch {batch}" for batch in batches if batch not in asked]
    refused = [point for point in points if point.problem]
    reckoning.lost += [f"{study.name}: decision {point.number} was refused: {point.problem}" for point in refused]


def _samples(reckoning: Reckoning, session: Session, study: StudyRow, tasks: dict[ProjectKind, list[Task]]) -> None:
    for project_kind in (ProjectKind.PREVIEWS, ProjectKind.DATASET):
        kinds = [kind for kind in BatchKind if kind.is_reviewed == (project_kind is ProjectKind.PREVIEWS)]
        keys = Counter(str(task.data.get("datagen_key")) for task in tasks[project_kind])
        ids = {str(task.data.get("datagen_key")): task.id for task in tasks[project_kind]}
        known = set()
        for batch in session.scalars(select(BatchRow).where(BatchRow.study_id == study.id, BatchRow.kind.in_(kinds))):
            if batch.state != WorkState.DONE:
                reckoning.holes.append(f"{study.name}: {batch.kind} {batch.number} is {batch.state}: {batch.problem}")
            rows = session.scalars(select(SampleRow).where(SampleRow.batch_id == batch.id)).all()
            reckoning.compared["samples"] += len(rows)
            known |= {row.key for row in rows}
            missing = set(range(batch.first, batch.first + batch.count)) - {row.index for row in rows}
            reckoning.holes += [f"{study.name}: {batch.kind} {batch.number} lacks sample {index}" for index in missing]
            for row in rows:
                if row.key not in keys:
                    reckoning.holes.append(f"{study.name}: sample {row.key} has no task")
                elif row.task_id != ids[row.key]:
                    reckoning.mismatched.append(
                        f"{study.name}: {row.key} is task {ids[row.key]}, noted is {row.task_id}"
                    )
        for key, number in keys.items():
            reckoning.twins += [f"{study.name}: {number} tasks of {key}"] * (number - 1)
            if key not in known:
                reckoning.twins.append(f"{study.name}: task {ids[key]} has the key {key}, which no sample has")


def _labels_and_pixels(
    reckoning: Reckoning, services: Services, session: Session, study: StudyRow, tasks: dict[ProjectKind, list[Task]]
) -> None:
    """Check samples: Label Studio shows the sample's label and picture, and pixels changed only under the mask."""
    for project_kind in (ProjectKind.PREVIEWS, ProjectKind.DATASET):
        for task in tasks[project_kind]:
            row = session.scalar(select(SampleRow).where(SampleRow.key == str(task.data["datagen_key"])))
            if row is None:
                continue  # counted as a twin
            reckoning.compared["labels"] += 1
            sample = sample_of(row)
            shown = [prediction["result"] for prediction in services.label_studio.predictions(task.id)]
            if shown != [_as_json(labels_of(services.images, sample, project_kind)["result"])]:
                reckoning.mismatched.append(f"{study.name}: task {task.id} does not show the label of {row.key}")
            if sample.image.digest not in str(task.data["image"]):
                reckoning.mismatched.append(f"{study.name}: task {task.id} does not show the picture of {row.key}")
            reckoning.mismatched += [f"{study.name}: {row.key}: {difference}" for difference in _pixels(services, row)]


def _pixels(services: Services, row: SampleRow) -> Iterator[str]:
    sample = sample_of(row)
    try:
        image, mask, before = (
            decode(services.images.get(ref.digest), **_LIMITS)
            for ref in (sample.image, sample.mask, sample.provenance.background)
        )
    except DatagenError as fault:
        yield str(fault)
        return
    changed = image != before if image.ndim == 2 else (image != before).any(axis=2)
    if bool(np.logical_and(changed, mask == 0).any()):
        yield "the background is changed outside the mask"


def _export(reckoning: Reckoning, services: Services, study: StudyRow, path: Path) -> None:
    """Check an export: it verifies each of its images, and contains each image once."""
    with services.database.read() as session:
        wanted = session.scalars(
            select(SampleRow.key)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN)
        ).all()
    if not wanted:
        return
    try:
        summary = export_study(services, study.name, path)
    except DatagenError as fault:
        reckoning.mismatched.append(f"{study.name}: export: {fault}")
        return
    with zipfile.ZipFile(path) as archive:
        images = [name for name in archive.namelist() if "/images/" in f"/{name}" and name.endswith(".png")]
    reckoning.compared["exported"] += summary.samples
    if summary.samples != len(wanted) or len(set(images)) != len(wanted):
        reckoning.holes.append(f"{study.name}: {len(wanted)} samples, the export has {len(set(images))} images")


def _as_json(value: object) -> object:
    return json.loads(json.dumps(value))
