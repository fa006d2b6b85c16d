"""The pictures on the pages: a reference to each, and how many of a batch are shown as an excerpt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import Role
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.inputs import InputRow
from datagen.workflow.sample_mapping import shown_number


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePicture:
    """The picture of a sample."""

    sample_id: int
    #: its number in its round, counted from 1; in a run its index
    number: int
    digest: str
    #: its size in pixels
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPicture:
    """The picture of an input."""

    task_id: int
    name: str
    digest: str
    #: its size in pixels
    width: int
    height: int


def picture_columns() -> tuple[Any, ...]:
    """Return the columns of a sample from which ``picture_of`` makes its picture; the labels are not read."""
    image = ("image", "digest"), ("image", "width"), ("image", "height")
    digest, width, height = (SampleRow.body[path] for path in image)
    return SampleRow.id, SampleRow.index, digest.as_string(), width.as_integer(), height.as_integer()


def picture_of(batch: BatchRow, values: Sequence[Any]) -> SamplePicture:
    """Return the picture of a sample from the values of ``picture_columns``."""
    sample_id, index, digest, width, height = values
    number = shown_number(batch, index)
    return SamplePicture(sample_id=sample_id, number=number, digest=digest, width=width, height=height)


def first_pictures(session: Session, batches: Sequence[BatchRow], most: int) -> dict[int, tuple[SamplePicture, ...]]:
    """Return the pictures of the first ``most`` samples of each batch, by the batch's id. Executes one statement."""
    if not batches:
        return {}
    by_id = {batch.id: batch for batch in batches}
    wanted = or_(
        *((SampleRow.batch_id == batch.id) & (SampleRow.index < batch.first + most) for batch in by_id.values())
    )
    rows = session.execute(
        select(SampleRow.batch_id, *picture_columns()).where(wanted).order_by(SampleRow.batch_id, SampleRow.index)
    )
    pictures: dict[int, list[SamplePicture]] = {}
    for batch_id, *values in rows:
        pictures.setdefault(batch_id, []).append(picture_of(by_id[batch_id], values))
    return {batch_id: tuple(of_batch) for batch_id, of_batch in pictures.items()}


def first_inputs(
    session: Session, study_ids: Sequence[int], most: int
) -> dict[tuple[int, Role], tuple[InputPicture, ...]]:
    """Return the first ``most`` pictures of each role, by the study's id and the role. Executes one statement."""
    if not study_ids:
        return {}
    place = func.row_number().over(partition_by=(InputRow.study_id, InputRow.role), order_by=InputRow.task_id)
    of_studies = (InputRow.study_id.in_(study_ids), InputRow.digest.is_not(None))
    numbered = select(InputRow.task_id, place.label("place")).where(*of_studies).subquery()
    rows = session.execute(
        select(
            InputRow.study_id,
            InputRow.role,
            InputRow.task_id,
            InputRow.name,
            InputRow.digest,
            InputRow.width,
            InputRow.height,
        )
        .join(numbered, numbered.c.task_id == InputRow.task_id)
        .where(numbered.c.place <= most)
        .order_by(InputRow.task_id)
    )
    pictures: dict[tuple[int, Role], list[InputPicture]] = {}
    for study_id, role, task_id, name, digest, width, height in rows:
        picture = InputPicture(task_id=task_id, name=name, digest=str(digest), width=width, height=height)
        pictures.setdefault((study_id, role), []).append(picture)
    return {key: tuple(of_key) for key, of_key in pictures.items()}
