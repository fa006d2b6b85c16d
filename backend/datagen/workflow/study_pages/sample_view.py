"""The page of a sample: its picture, where it comes from, its parameters, and the verdicts on it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.geometry import Box
from datagen.domain.inputs import ImageRef, ProjectKind, Role
from datagen.domain.sample import Sample
from datagen.domain.trace import InstanceTrace, Trace
from datagen.errors import Refused
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.decision_tasks.batch_view import BatchName, name_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.sample_mapping import sample_of, shown_number
from datagen.workflow.study_pages.access import Visible, is_visible, visible_study
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: Number of instances, of verdicts and of parameters of an instance that are shown.
MAX_INSTANCES, MAX_VERDICTS, MAX_PARAMETERS = 12, 50, 60
#: Longest comment and longest value of a parameter that are shown, characters.
LONGEST_COMMENT, LONGEST_VALUE = 2_000, 120
#: Format of an example's key: the beginning of its photo's digest, and the index of its box.
_KEY = re.compile(r"([0-9a-f]{6,64}):(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptPhoto:
    """The photo that an instance was cut out of."""

    name: str
    #: its task, by which its picture is shown; None if the photo is no input any more
    task_id: int | None
    digest: str
    #: the index of the box in the photo, counted from 0
    region: int | None
    target: LabelStudioTarget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceDetails:
    """An instance of a sample."""

    label: str
    box: Box
    photo: ConceptPhoto | None
    #: name → value, as text
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenVerdict:
    """A verdict on the sample."""

    reviewer: str
    opinion: str
    reasons: tuple[str, ...]
    comment: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleView:
    """The page of a sample."""

    study_id: int
    study: str
    sample_id: int
    key: str
    batch: BatchName
    version: int
    #: its number in the batch, and the number of samples there
    number: int
    count: int
    image: ImageRef
    background: ImageRef
    #: the first instances, and the number of all
    instances: tuple[InstanceDetails, ...]
    instance_count: int
    #: name → value of what was decided for the whole sample
    parameters: Mapping[str, str]
    verdicts: tuple[GivenVerdict, ...]
    previous_id: int | None
    next_id: int | None
    #: its review or dataset task; None if it has none
    target: LabelStudioTarget | None
    #: the shell command that renders it again and compares the bytes
    command: str
    engine: str
    seed: int


NO_SAMPLE = "There is no image at this address: it was deleted with its study, or its round was made anew."


def sample_row_of(session: Session, study_id: int, sample_id: int, project_ids: Visible) -> SampleRow:
    """Return a sample of a study.

    Raises:
        Refused: there is no such sample, or the person may not see the study.
    """
    study = visible_study(session, study_id, project_ids)
    row = session.scalar(
        select(SampleRow)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(SampleRow.id == sample_id, BatchRow.study_id == study.id)
    )
    if row is None:
        raise Refused(NO_SAMPLE)
    return row


def sample_body_of(session: Session, study_id: int, sample_id: int, project_ids: Visible) -> Mapping[str, Any]:
    """Return the body of a sample's row, by one statement: a gallery asks for many pictures at once.

    Raises:
        Refused: see ``sample_row_of``.
    """
    body = session.scalar(
        select(SampleRow.body)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(StudyRow, StudyRow.id == BatchRow.study_id)
        .where(SampleRow.id == sample_id, StudyRow.id == study_id, is_visible(project_ids))
    )
    return body if body is not None else sample_row_of(session, study_id, sample_id, project_ids).body


def sample_view_of(session: Session, row: SampleRow) -> SampleView:
    """Return the page of a sample."""
    batch, sample = row.batch, sample_of(row)
    previous_id, next_id = _neighbours(session, row)
    kind = ProjectKind.PREVIEWS if batch.kind.is_reviewed else ProjectKind.DATASET
    project_id = project_of(session, batch.study_id, kind)
    has_task = project_id is not None and row.task_id is not None
    return SampleView(
        study_id=batch.study_id,
        study=batch.study.name,
        sample_id=row.id,
        key=row.key,
        batch=name_of(batch),
        version=batch.spec.version,
        number=shown_number(batch, row.index),
        count=batch.count,
        image=sample.image,
        background=sample.provenance.background,
        instances=_instances(session, batch.study_id, sample),
        instance_count=len(sample.instances),
        parameters=_sample_parameters(sample.provenance.trace),
        verdicts=_verdicts(session, row) if batch.kind.is_reviewed else (),
        previous_id=previous_id,
        next_id=next_id,
        target=LabelStudioTarget(project_id=project_id, task_id=row.task_id) if has_task and project_id else None,
        command=f"datagen reproduce {shlex.quote(row.key)}",
        engine=f"{sample.provenance.engine} {sample.provenance.engine_version}",
        seed=sample.provenance.seed,
    )


def _neighbours(session: Session, row: SampleRow) -> tuple[int | None, int | None]:
    of_batch = select(SampleRow.id).where(SampleRow.batch_id == row.batch_id)
    previous = of_batch.where(SampleRow.index < row.index).order_by(SampleRow.index.desc()).limit(1)
    following = of_batch.where(SampleRow.index > row.index).order_by(SampleRow.index).limit(1)
    return session.scalar(previous), session.scalar(following)


def _instances(session: Session, study_id: int, sample: Sample) -> tuple[InstanceDetails, ...]:
    traces = sample.provenance.trace.instances
    photos = _photos(session, study_id, traces[:MAX_INSTANCES])
    details = []
    for number, instance in enumerate(sample.instances[:MAX_INSTANCES]):
        trace = traces[number] if number < len(traces) else None
        details.append(
            InstanceDetails(
                label=instance.label,
                box=instance.box,
                photo=photos.get(trace.concept.key) if trace is not None and trace.concept is not None else None,
                parameters=_instance_parameters(trace) if trace is not None else {},
            )
        )
    return tuple(details)


def _photos(session: Session, study_id: int, traces: Sequence[InstanceTrace]) -> dict[str, ConceptPhoto]:
    """Return concept's key → its photo."""
    choices = {trace.concept.key: trace.concept.name for trace in traces if trace.concept is not None}
    rows = session.scalars(
        select(InputRow).where(
            InputRow.study_id == study_id, InputRow.role == Role.CONCEPT, InputRow.digest.is_not(None)
        )
    )
    inputs = [row for row in rows if row.digest is not None] if choices else []
    project_id = project_of(session, study_id, ProjectKind.CONCEPTS) if choices else None
    photos = {}
    for key, name in choices.items():
        parts = _KEY.fullmatch(key)
        row = next((row for row in inputs if parts is not None and str(row.digest).startswith(parts[1])), None)
        photos[key] = ConceptPhoto(
            name=name,
            task_id=row.task_id if row is not None else None,
            digest=str(row.digest) if row is not None else "",
            region=int(parts[2]) if parts is not None else None,
            target=LabelStudioTarget(project_id=project_id, task_id=row.task_id) if row and project_id else None,
        )
    return photos


def _instance_parameters(trace: InstanceTrace) -> dict[str, str]:
    body = {name: value for name, value in asdict(trace).items() if name not in ("concept", "details", "draws")}
    return _as_text({**body, **(trace.draws or {}), **trace.details})


def _sample_parameters(trace: Trace) -> dict[str, str]:
    rejected = {f"rejected: {reason}": count for reason, count in (trace.rejected or {}).items()}
    return _as_text({**rejected, **trace.details})


def _as_text(values: Mapping[str, object]) -> dict[str, str]:
    """Return values as text; those that are None are left out."""
    shown: dict[str, str] = {}
    for name, value in values.items():
        if value is None or len(shown) >= MAX_PARAMETERS:
            continue
        text = f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
        shown[name.replace("_", " ")] = text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
    return shown


def _verdicts(session: Session, row: SampleRow) -> tuple[GivenVerdict, ...]:
    rows = session.execute(
        select(
            VerdictRow.reviewer,
            VerdictRow.opinion,
            VerdictRow.reasons,
            VerdictRow.comment,
            verdict_sync.effective_verdicts(),
        )
        .where(VerdictRow.sample_id == row.id)
        .order_by(VerdictRow.annotation_id)
        .limit(MAX_VERDICTS)
    )
    return tuple(
        GivenVerdict(
            reviewer=reviewer,
            opinion=str(opinion),
            reasons=tuple(map(str, reasons)),
            comment=comment if len(comment) <= LONGEST_COMMENT else comment[: LONGEST_COMMENT - 1] + "…",
            counts=bool(counts),
        )
        for reviewer, opinion, reasons, comment, counts in rows
    )
