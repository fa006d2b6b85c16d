"""Steps that browser tests share: decisions, pages and drawings of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.batches import SampleRow
from datagen.workflow.sample_mapping import sample_of
from e2e_study import Study
from stage.metal import HEIGHT, WIDTH
from stage.person import Person, Point

#: Largest distance between a drawn corner and the mouse, in pixels of the image; 0.9 of them are one pixel on the
#: screen.
TOLERANCE_PX = 2.0


#: Number of images that the person approves.
APPROVED = 8


def drawn(file: Path) -> dict[str, Any]:
    """Return the first region of the first image in a pack's list."""
    value: dict[str, Any] = json.loads(file.read_text())[0]["annotations"][0]["result"][0]["value"]
    return value


def undrawn(study: Study, project_kind: ProjectKind) -> int:
    """Return the id of the project's only task without regions."""
    (task,) = (task for task in study.tasks(project_kind) if not task.annotations)
    return task.id


def newest_decision(study: Study) -> int:
    return max(task.id for task in study.tasks(ProjectKind.DECISIONS))


def page(study: Study) -> str:
    """Return the HTML of the newest decision task."""
    return str(study.client.task(newest_decision(study)).data["html"])


def decide(person: Person, study: Study, action: str) -> None:
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    person.tick(action)
    person.submit()


def predicted(study: Study, task_id: int) -> list[dict[str, Any]]:
    """Return the regions in a task's predictions."""
    return [result for prediction in study.client.predictions(task_id) for result in prediction["result"]]


def label_bounds(study: Study, task_id: int) -> tuple[Point, Point]:
    """Return the bounding box of the first outline of a preview's label, from the rows.

    It is given by its top left and bottom right corners, in fractions of the image.
    """
    with study.database.read() as session:
        sample = session.scalars(select(SampleRow).where(SampleRow.task_id == task_id)).one()
        outline = sample_of(sample).instances[0].outlines[0]
    xs, ys = zip(*outline.points, strict=True)
    return (min(xs) / WIDTH, min(ys) / HEIGHT), (max(xs) / WIDTH, max(ys) / HEIGHT)


def near(point: Point, wanted: Point, within: float = TOLERANCE_PX) -> None:
    """Check that two points, given in fractions of the image, are at most ``within`` pixels of the image apart."""
    off = abs(point[0] - wanted[0]) * WIDTH, abs(point[1] - wanted[1]) * HEIGHT
    assert max(off) <= within, f"{point} is {off} pixels away from {wanted}"
