"""The page of a generation run: how far it is, its figures, and its images in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.learning.acceptance import sentence_of
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.decision_tasks.batch_view import BatchName, Progress, name_of, progress_of
from datagen.workflow.rejection import Rejections
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from datagen.workflow.study_pages.pictures import SamplePicture, picture_columns, picture_of

#: Number of images on a page.
IMAGES_A_PAGE = 60
#: Largest number of images that the figures are computed from, evenly spaced in the run.
MAX_MEASURED = 1_000
#: Numbers of columns and rows of the place map, and of bars of the size histogram.
PLACE_COLUMNS, PLACE_ROWS, SIZE_BARS = 24, 16, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of a quantity in equal intervals from ``low`` to ``high``, in its unit."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """Figures of a run's images."""

    #: number of images that they were computed from
    measured: int
    instances: int
    #: larger side of the instances' boxes, pixels
    sizes: Histogram
    #: number of instances whose box has its centre there, [rows][columns]; the picture is divided evenly
    places: tuple[tuple[int, ...], ...]
    #: number of instances in an image → number of images
    per_image: Mapping[int, int]
    per_label: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImage:
    """An image in the table of a run."""

    picture: SamplePicture
    name: str
    #: label → number of instances
    labels: Mapping[str, int]
    background: str
    target: LabelStudioTarget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The page of a run."""

    study_id: int
    study: str
    number: int
    name: BatchName
    version: int
    count: int
    note: str
    requested_by: str
    requested_at: datetime
    progress: Progress
    #: what its approval stated; empty if it stated nothing
    promise: str
    #: how many candidates the critic rejected, and why; empty if its version rejects nothing
    rejections: str
    #: whether rejected candidates are stored; they have a gallery of their own
    has_rejected: bool
    dataset: LabelStudioTarget | None
    #: None before the first image
    figures: RunFigures | None
    images: tuple[RunImage, ...]
    #: the index after which the next page begins; None on the last page
    next_after: int | None


def run_of(session: Session, batch: BatchRow, figures: RunFigures | None, after: int | None = None) -> RunView:
    """Return a page of a run; ``figures`` are those of ``figures_of``, which take longer than the rest."""
    progress = progress_of(session, batch)
    rejections = Rejections.from_json(batch.rejections)
    project_id = project_of(session, batch.study_id, ProjectKind.DATASET)
    images, next_after = _images(session, batch, project_id, after)
    return RunView(
        study_id=batch.study_id,
        study=batch.study.name,
        number=batch.number,
        name=name_of(batch),
        version=batch.spec.version,
        count=batch.count,
        note=batch.note,
        requested_by=batch.requested_by,
        requested_at=batch.requested_at,
        progress=progress,
        promise=sentence_of(batch.promise),
        rejections=rejections.sentence,
        has_rejected=rejections.rejected > 0,
        dataset=LabelStudioTarget(project_id=project_id) if project_id is not None else None,
        figures=figures,
        images=images,
        next_after=next_after,
    )


def _images(
    session: Session, batch: BatchRow, project_id: int | None, after: int | None
) -> tuple[tuple[RunImage, ...], int | None]:
    background = SampleRow.body["provenance", "background", "name"].as_string()
    query = select(*picture_columns(), SampleRow.task_id, background, SampleRow.body["instances"]).where(
        SampleRow.batch_id == batch.id
    )
    if after is not None:
        query = query.where(SampleRow.index > after)
    rows = session.execute(query.order_by(SampleRow.index).limit(IMAGES_A_PAGE + 1)).all()
    images = []
    for *values, task_id, background_name, instances in rows[:IMAGES_A_PAGE]:
        has_task = project_id is not None and task_id is not None
        images.append(
            RunImage(
                picture=picture_of(batch, values),
                name=f"{batch.spec.digest[:8]}_{values[1]:07d}",
                labels=Counter(instance["label"] for instance in instances),
                background=background_name,
                target=LabelStudioTarget(project_id=project_id, task_id=task_id) if has_task and project_id else None,
            )
        )
    return tuple(images), images[-1].picture.number if len(rows) > len(images) else None


def figures_of(session: Session, batch: BatchRow) -> RunFigures | None:
    """Compute the figures of a run from at most ``MAX_MEASURED`` of its images; None before the first image."""
    step = max(1, -(-batch.count // MAX_MEASURED))
    rows = session.execute(
        select(
            SampleRow.body["image", "width"].as_integer(),
            SampleRow.body["image", "height"].as_integer(),
            SampleRow.body["instances"],
        ).where(SampleRow.batch_id == batch.id, (SampleRow.index - batch.first) % step == 0)
    ).all()
    return _figures(rows) if rows else None


def _figures(rows: Sequence[Any]) -> RunFigures:
    sides: list[float] = []
    places = np.zeros((PLACE_ROWS, PLACE_COLUMNS), int)
    per_image: Counter[int] = Counter()
    per_label: Counter[str] = Counter()
    for width, height, instances in rows:
        per_image[len(instances)] += 1
        for instance in instances:
            box = instance["box"]
            per_label[instance["label"]] += 1
            sides.append(max(box["width"], box["height"]))
            column = int((box["x"] + box["width"] / 2) / width * PLACE_COLUMNS)
            row = int((box["y"] + box["height"] / 2) / height * PLACE_ROWS)
            places[min(max(row, 0), PLACE_ROWS - 1), min(max(column, 0), PLACE_COLUMNS - 1)] += 1
    low, high = (min(sides), max(sides)) if sides else (0.0, 1.0)
    if high - low < SIZE_BARS:  # a bar is one pixel wide at least
        low, high = max(0.0, low - SIZE_BARS / 2), max(0.0, low - SIZE_BARS / 2) + SIZE_BARS
    counts, _ = np.histogram(sides, bins=SIZE_BARS, range=(low, high))
    return RunFigures(
        measured=len(rows),
        instances=len(sides),
        sizes=Histogram(low=low, high=high, counts=tuple(map(int, counts))),
        places=tuple(tuple(map(int, row)) for row in places),
        per_image=dict(sorted(per_image.items())),
        per_label=dict(per_label.most_common()),
    )


def rendered_count(session: Session, batch: BatchRow) -> int:
    """Return the number of a batch's stored samples, by which cached figures are known to be outdated."""
    return session.scalar(select(func.count()).select_from(SampleRow).where(SampleRow.batch_id == batch.id)) or 0
