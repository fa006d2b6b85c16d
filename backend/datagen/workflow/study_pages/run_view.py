"""The page of a generation run: how far it is, its figures, and its images in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import file_stem_of
from datagen.domain.trace import PHOTO_DIGITS
from datagen.export.selection import Judged, Place
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.decision_tasks.batch_view import BatchName, Progress, name_of, progress_of
from datagen.workflow.generation.sample_facts import words_of
from datagen.workflow.generation.sample_table import ORDERS, TableFilter, count_of, page_of, verdicts_of
from datagen.workflow.rejection import Rejections
from datagen.workflow.study_pages.batch_figures import promise_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from datagen.workflow.study_pages.pictures import SamplePicture, picture_columns, picture_of

#: Number of images on a page.
IMAGES_A_PAGE = 60
#: Largest number of choices of a filter that are offered.
MAX_CHOICES = 300
#: The filter that leaves every image.
ALL = TableFilter()
#: Largest number of images that the figures are computed from, evenly spaced in the run.
MAX_MEASURED = 1_000
#: Numbers of columns and rows of the place map, and of bars of the size histogram.
PLACE_COLUMNS, PLACE_ROWS, SIZE_BARS = 24, 16, 24
#: Number of bars of the orientations, of 15 degrees each, and ratio of the variances across and along an instance from
#: which on it is round.
ANGLE_BARS, MOST_ROUND = 12, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of a quantity in equal intervals from ``low`` to ``high``, in its unit."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFigures:
    """The instances of a label: their number, and the longer sides of their boxes in pixels."""

    instances: int
    smallest: float
    median: float
    largest: float


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
    per_label: Mapping[str, LabelFigures]
    #: degrees, 0 to 180; None if every instance is round
    orientations: Histogram | None
    #: contrast-to-noise ratio; None if the engine did not record it
    contrasts: Histogram | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a filter, and its name for people."""

    value: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImage:
    """An image in the table of a run."""

    picture: SamplePicture
    name: str
    labels: tuple[str, ...]
    instances: int
    #: longer side of its largest box, pixels
    size: int
    background: str
    #: what people said of it in spot checks
    verdict: Judged
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
    filter: TableFilter
    order: str
    #: filter's name → its choices
    choices: Mapping[str, tuple[Choice, ...]]
    #: number of images that match the filter, on all pages
    matching: int
    images: tuple[RunImage, ...]
    #: the index after which the next page begins; None on the last page
    next_after: int | None

    @property
    def is_measured_in_part(self) -> bool:
        """Whether the figures are those of evenly spaced images of the run, because it has many."""
        return self.count > MAX_MEASURED


def run_of(
    session: Session,
    batch: BatchRow,
    figures: RunFigures | None,
    chosen: TableFilter = ALL,
    order: str = ORDERS[0],
    after: int | None = None,
) -> RunView:
    """Return a page of a run; ``figures`` are those of ``figures_of``, which take longer than the rest.

    Raises:
        InputProblem: a value of the filter cannot be compared.
    """
    progress = progress_of(session, batch)
    rejections = Rejections.from_json(batch.rejections)
    project_id = project_of(session, batch.study_id, ProjectKind.DATASET)
    facts = page_of(session, batch, chosen, order, after, IMAGES_A_PAGE + 1)
    shown, next_after = keyset_page(facts, IMAGES_A_PAGE, lambda row: row.index)
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
        promise=promise_of(batch),
        rejections=rejections.sentence,
        has_rejected=rejections.rejected > 0,
        dataset=LabelStudioTarget(project_id=project_id) if project_id is not None else None,
        figures=figures,
        filter=chosen,
        order=order if order in ORDERS else ORDERS[0],
        choices=_choices(batch),
        matching=count_of(session, batch, chosen),
        images=_images(session, batch, project_id, shown),
        next_after=next_after,
    )


def _choices(batch: BatchRow) -> dict[str, tuple[Choice, ...]]:
    """Return the choices of each filter by its name. They are read from the version, so no samples are counted."""
    body = batch.spec.body
    photos = {drawn["image"]["digest"][:PHOTO_DIGITS]: drawn["image"]["name"] for drawn in body.get("concepts", ())}
    backgrounds = sorted({image["name"] for image in body.get("backgrounds", ())})
    offered = {
        "label": [(label, label) for label in batch.study.labels],
        "place": [(place.value, place.value) for place in Place],
        "verdict": [(judged.value, judged.value) for judged in Judged],
        "concept": sorted(photos.items(), key=lambda photo: photo[1]),
        "background": [(name, name) for name in backgrounds],
    }
    return {name: tuple(starmap(Choice, values[:MAX_CHOICES])) for name, values in offered.items()}


def _images(
    session: Session, batch: BatchRow, project_id: int | None, facts: Sequence[SampleFactsRow]
) -> tuple[RunImage, ...]:
    indices = [row.index for row in facts]
    samples = session.execute(
        select(*picture_columns(), SampleRow.task_id).where(
            SampleRow.batch_id == batch.id, SampleRow.index.in_(indices)
        )
    )
    by_index = {values[1]: values for values in samples}
    verdicts = verdicts_of(session, batch, indices)
    images = []
    for row in facts:
        *values, task_id = by_index[row.index]
        has_task = project_id is not None and task_id is not None
        images.append(
            RunImage(
                picture=picture_of(batch, values),
                name=file_stem_of(batch.spec.digest, row.index),
                labels=tuple(words_of(row.labels)),
                instances=row.instances,
                size=row.size,
                background=row.background,
                verdict=verdicts[row.index],
                target=LabelStudioTarget(project_id=project_id, task_id=task_id) if has_task and project_id else None,
            )
        )
    return tuple(images)


def figures_of(session: Session, batch: BatchRow, label: str = "") -> RunFigures | None:
    """Compute the figures of a run from at most ``MAX_MEASURED`` of its images; None before the first image.

    With a ``label``, they are those of the instances that have it.
    """
    step = max(1, -(-batch.count // MAX_MEASURED))
    rows = session.execute(
        select(
            SampleRow.body["image", "width"].as_integer(),
            SampleRow.body["image", "height"].as_integer(),
            SampleRow.body["instances"],
            SampleRow.body["provenance", "steps", "instances"],
        ).where(SampleRow.batch_id == batch.id, (SampleRow.index - batch.first) % step == 0)
    ).all()
    return _figures(rows, label) if rows else None


def _figures(rows: Sequence[Any], label: str) -> RunFigures:
    sizes: dict[str, list[float]] = {}
    angles: list[float] = []
    contrasts: list[float] = []
    places = np.zeros((PLACE_ROWS, PLACE_COLUMNS), int)
    per_image: Counter[int] = Counter()
    for width, height, instances, traces in rows:
        shown = [(i, each) for i, each in enumerate(instances) if not label or each["label"] == label]
        per_image[len(shown)] += 1
        for number, instance in shown:
            box = instance["box"]
            sizes.setdefault(instance["label"], []).append(max(box["width"], box["height"]))
            column = int((box["x"] + box["width"] / 2) / width * PLACE_COLUMNS)
            row = int((box["y"] + box["height"] / 2) / height * PLACE_ROWS)
            places[min(max(row, 0), PLACE_ROWS - 1), min(max(column, 0), PLACE_COLUMNS - 1)] += 1
            if (angle := orientation_of(instance["outlines"])) is not None:
                angles.append(angle)
            trace = traces[number] if traces and number < len(traces) else {}
            if isinstance(contrast := trace.get("contrast"), int | float):
                contrasts.append(contrast)
    sides = [side for of_label in sizes.values() for side in of_label]
    return RunFigures(
        measured=len(rows),
        instances=len(sides),
        sizes=_histogram(sides, 1.0),
        places=tuple(tuple(map(int, row)) for row in places),
        per_image=dict(sorted(per_image.items())),
        per_label={
            name: LabelFigures(
                instances=len(of_label),
                smallest=min(of_label),
                median=float(np.median(of_label)),
                largest=max(of_label),
            )
            for name, of_label in sorted(sizes.items(), key=lambda item: -len(item[1]))
        },
        orientations=_histogram(angles, 0.0, (0.0, 180.0), ANGLE_BARS) if angles else None,
        contrasts=_histogram(contrasts, 0.0) if contrasts else None,
    )


def _histogram(
    values: Sequence[float], narrowest: float, limits: tuple[float, float] | None = None, bars: int = SIZE_BARS
) -> Histogram:
    """Return the counts of values; a bar is ``narrowest`` wide at least. Without ``limits`` they are those values'."""
    low, high = limits or ((min(values), max(values)) if values else (0.0, 1.0))
    least = max(narrowest * bars, 1e-6)
    if high - low < least:
        low = max(0.0, low - least / 2)
        high = low + least
    counts, _ = np.histogram(values, bins=bars, range=(low, high))
    return Histogram(low=low, high=high, counts=tuple(map(int, counts)))


def orientation_of(outlines: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the direction of the longest extent of an instance's outlines, 0 to 180 degrees from the horizontal.

    It is counted counterclockwise in the image as displayed. None for a shape that is as long as it is wide.
    """
    points = np.array([point for outline in outlines for point in outline["points"]], float)
    if len(points) < 3:
        return None
    spread, axes = np.linalg.eigh(np.cov((points - points.mean(axis=0)).T))
    if spread[1] <= 0 or spread[0] / spread[1] > MOST_ROUND:
        return None
    x, y = axes[:, 1]
    return float(np.degrees(np.arctan2(-y, x)) % 180)
