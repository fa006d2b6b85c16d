"""Annotations are converted once, before any transaction; a transaction only writes the results."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from sqlalchemy import select, update

from datagen.domain.inputs import CanvasArea, Inputs, ProjectKind, Role
from datagen.imaging.png_encoder import encode_png
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.inputs import input_sync as reading
from datagen.workflow.inputs.input_requests import request_reading
from datagen.workflow.inputs.input_sync import collect, refresh
from datagen.workflow.services import UnitOfWork
from studio import ANYWHERE, Studio, Study, plate, polygon

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def tangle(corners: int) -> dict[str, Any]:
    draw = random.Random(corners)
    return polygon([(100 * draw.random(), 100 * draw.random()) for _ in range(corners)])


def read(studio: Studio, study: Study) -> Inputs:
    with studio.rows() as session:
        return collect(session, study.row())


def rows(studio: Studio, study: Study) -> list[InputRow]:
    with studio.rows() as session:
        return list(session.scalars(select(InputRow).where(InputRow.study_id == study.id).order_by(InputRow.task_id)))


@pytest.fixture(scope="module")
def _drawn(_of_this_module: Studio) -> Study:
    study = _of_this_module.open_study(inputs=False)
    study.give(Role.CANVAS, [(f"c{n}.png", encode_png(plate(930 + n)), [polygon(ANYWHERE)]) for n in range(3)])
    return study


@pytest.fixture
def drawn(studio: Studio, _drawn: Study) -> Study:
    """A study with three canvases, read."""
    refresh(studio.services, _drawn.id, force=True)
    return _drawn


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Role]:
    """The role of each input that is parsed from now on, in order."""
    worked_out: list[Role] = []
    parse = reading.parse

    def counting(role: Role, *args: Any) -> Any:
        worked_out.append(role)
        return parse(role, *args)

    monkeypatch.setattr(reading, "parse", counting)
    return worked_out


def test_self_crossing_polygon_is_reported_and_the_other_regions_of_its_task_are_used(
    studio: Studio, drawn: Study
) -> None:
    square = [(20.0, 20.0), (60.0, 20.0), (60.0, 60.0)]
    (task,) = drawn.give(Role.CANVAS, [("tangle.png", encode_png(plate(940)), [tangle(450), polygon(square)])])
    inputs = refresh(studio.services, drawn.id, force=True)
    (problem,) = inputs.problems
    assert problem.item == f"task {task} (tangle.png)"
    assert "crosses itself more than 200 times; draw it with fewer crossings" in problem.reason
    assert len(next(canvas for canvas in inputs.canvases if canvas.image.name == "tangle.png").areas) == 1
    studio.client.delete_tasks(drawn.projects[ProjectKind.CANVASES], [task])


def test_others_write_while_drawings_are_worked_out(
    studio: Studio, drawn: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = reading.parse
    wrote = 0

    def writing(*args: Any) -> Any:
        nonlocal wrote
        with studio.services.database.write() as session:  # of another connection: it would wait for an open one
            session.add(AuditRow(study="none", who="a test", what="wrote"))
        wrote += 1
        return parse(*args)

    monkeypatch.setattr(reading, "parse", writing)
    with studio.services.database.write() as session:
        session.execute(update(InputRow).where(InputRow.study_id == drawn.id).values(parsed=None))
    refresh(studio.services, drawn.id, force=True)
    assert wrote == 3


def test_unchanged_annotations_are_not_converted_again(studio: Studio, drawn: Study, counted: list[Role]) -> None:
    before = read(studio, drawn)
    assert refresh(studio.services, drawn.id, force=True) == before
    assert counted == []
    task = drawn.tasks(ProjectKind.CANVASES)[0]
    assert task.newest is not None
    studio.client.update_annotation(task.newest.id, [polygon([(10.0, 10.0), (50.0, 10.0), (50.0, 50.0)])])
    assert refresh(studio.services, drawn.id, force=True) != before
    assert counted == [Role.CANVAS]
    studio.client.update_annotation(task.newest.id, [polygon(ANYWHERE)])


def test_collecting_works_nothing_out(studio: Studio, drawn: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: Any) -> Any:
        raise AssertionError("worked out again")

    before = read(studio, drawn)
    monkeypatch.setattr("datagen.workflow.inputs.parsed_results.parse", never)
    assert read(studio, drawn) == before
    assert all(isinstance(area, CanvasArea) for canvas in before.canvases for area in canvas.areas)


def test_rows_of_a_version_before_are_used_until_inputs_are_read_again(studio: Studio, drawn: Study) -> None:
    before = read(studio, drawn)
    results = {task.id: list(task.newest.result) for task in drawn.tasks(ProjectKind.CANVASES) if task.newest}
    with studio.services.database.write() as session:
        for row in session.scalars(select(InputRow).where(InputRow.study_id == drawn.id)):
            row.result, row.parsed, row.annotation_id = results[row.task_id], None, None
    assert read(studio, drawn) == before
    assert refresh(studio.services, drawn.id, force=True) == before
    assert all(row.parsed and row.annotation_id and row.result == [] for row in rows(studio, drawn))


def test_reading_over_its_time_limit_continues_in_the_next(
    studio: Studio, drawn: Study, counted: list[Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(studio, drawn)
    with studio.services.database.write() as session:
        session.execute(update(InputRow).where(InputRow.study_id == drawn.id).values(parsed=None))
        request_reading(UnitOfWork(session=session), session.get_one(StudyRow, drawn.id))
    monkeypatch.setattr(reading, "PARSING_SECONDS", 0.0)
    for unread in (2, 1, 0):
        inputs = refresh(studio.services, drawn.id)
        assert (inputs.unread, len(inputs.canvases)) == (unread, 3 - unread)
        assert (drawn.row().inputs_read == drawn.row().inputs_changed) == (unread == 0)
    assert inputs == before
    assert len(counted) == 3


def test_an_older_reading_writes_nothing_after_a_newer_one(
    studio: Studio, drawn: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = drawn.tasks(ProjectKind.CANVASES)[0]
    assert task.newest is not None
    annotation = task.newest.id
    small = [polygon([(10.0, 10.0), (30.0, 10.0), (30.0, 30.0)])]
    with studio.services.database.write() as session:
        session.execute(update(InputRow).where(InputRow.study_id == drawn.id).values(parsed=None))
    parse = reading.parse

    def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(reading, "parse", parse)
        studio.client.update_annotation(annotation, small)
        with studio.services.database.write() as session:
            request_reading(UnitOfWork(session=session), session.get_one(StudyRow, drawn.id))
        refresh(studio.services, drawn.id)
        return parse(*args)

    monkeypatch.setattr(reading, "parse", overtaken)
    refresh(studio.services, drawn.id, force=True)

    (row,) = (row for row in rows(studio, drawn) if row.task_id == task.id)
    assert row.parsed is not None
    assert len(json.loads(row.parsed)["areas"][0]["polygon"]["points"]) == 3
    assert drawn.row().inputs_read == drawn.row().inputs_changed
    studio.client.update_annotation(annotation, [polygon(ANYWHERE)])


def test_rows_are_written_some_at_a_time(studio: Studio, drawn: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(studio, drawn)
    with studio.services.database.write() as session:
        session.execute(update(InputRow).where(InputRow.study_id == drawn.id).values(parsed=None))
    monkeypatch.setattr(reading, "TEXT_AT_A_TIME", 1)
    refresh(studio.services, drawn.id, force=True)
    assert read(studio, drawn) == before
