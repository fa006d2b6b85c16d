"""Text from outside with NUL, half surrogate pairs or excessive length is stored by both databases."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from datagen.domain.foreign_text import read_json
from datagen.domain.inputs import Role
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.task_inputs import read_tasks
from datagen.store import leases
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.studies import StudyRow
from datagen.web.prediction_lookup import NOTHING, predictions_of
from datagen.workflow.inputs.input_pictures import Fetched
from datagen.workflow.inputs.input_sync import _row
from datagen.workflow.inputs.parsed_results import parse, to_text

BAD = "a\x00b\ud800"


def add_study(database: Database) -> None:
    with database.write() as session:
        session.add(StudyRow(id=1, name="plates", labels=["pit"], engine="composite", preview_size=1))


@pytest.mark.parametrize(
    "data",
    [
        {"image": "/data/upload/1/x.png", "name": BAD},
        {"image": "/data/upload/1/12345678-a%00b.png"},
        {"image": f"/data/{BAD}.png", BAD: BAD},
        {"image": "/data/local-files/?d=a%00b.png"},
        {"image": "/data/upload/" + "x" * 5000},
        {"image": "/tasks/1/resolve/?fileuri=YQBi"},
    ],
    ids=["name", "percent", "address", "query", "long", "storage"],
)
def test_an_input_with_such_a_name_address_or_drawing_is_kept(database: Database, data: dict[str, str]) -> None:
    add_study(database)
    drawn = {"from_name": BAD, "value": {"text": [BAD], "x": float("inf"), "labels": {BAD: BAD}}}
    who = {"first_name": BAD, "last_name": "x" * 300, "email": "a@example.com"}
    annotation = {"id": 2, "result": [drawn], "completed_by": who, "updated_at": "2026-01-01T00:00:00Z"}
    body = json.dumps({"id": 1, "data": data, "annotations": [annotation]})
    task = Task.from_json(read_json(body))
    [raw] = read_tasks([task])
    with database.write() as session:
        row = _row(1, Role.CONCEPT, raw, Fetched(problem="none"))
        row.parsed = to_text(parse(Role.CONCEPT, raw.result or (), 100, 100, ["pit"]))
        session.add(row)
    with database.read() as session:
        row = session.scalars(select(InputRow)).one()
    assert "\x00" not in row.name + row.url + (row.parsed or "")
    assert raw.result is not None
    assert raw.result[0]["value"]["text"] == ["a?b?"]
    assert len(task.annotations[0].completed_by) <= 200


def test_a_prediction_is_given_to_each_task_that_can_have_one(database: Database) -> None:
    add_study(database)
    with database.write() as session:
        for row in (
            SpecRow(id=1, study_id=1, version=1, digest="0", body={}, created_by="tester"),
            BatchRow(
                id=1, study_id=1, spec_id=1, kind=BatchKind.ROUND, number=1, first=0, count=2, requested_by="tester"
            ),
            ShardRow(id=1, batch_id=1, start=0, stop=2),
            SampleRow(id=1, key="whole", batch_id=1, shard_id=1, index=0, body=_body()),
            SampleRow(id=2, key="broken", batch_id=1, shard_id=1, index=1, body={"image": 7}),
        ):
            session.add(row)
            session.flush()
    keys = [BAD, "\x00", "\udfff", "x" * 100_000, "broken", "whole"]
    *others, known = predictions_of(
        database, [{"id": 2**40 + n, "data": {"datagen_key": key}} for n, key in enumerate(keys)]
    )
    assert others == [NOTHING] * 5
    assert known["result"][0]["value"]["polygonlabels"] == ["pit"]


def _body() -> dict[str, object]:
    image = {"digest": "0" * 64, "width": 10, "height": 10, "name": "x.png"}
    box = {"x": 1, "y": 1, "width": 4, "height": 4}
    outline = {"points": [[1, 1], [5, 1], [5, 5]]}
    provenance = {"engine": "e", "engine_version": "1", "spec_digest": "0", "index": 0, "seed": 1, "steps": {}}
    return {
        "image": image,
        "mask": image,
        "instances": [{"label": "pit", "box": box, "outlines": [outline]}],
        "provenance": {**provenance, "background": image},
    }


@pytest.mark.parametrize("kind", [InboxRow, OutboxRow])
def test_the_reason_of_a_failure_is_kept_whatever_it_holds(
    database: Database, kind: type[InboxRow | OutboxRow]
) -> None:
    add_study(database)
    with database.write() as session:
        session.add(InboxRow(id=1, fingerprint="x", action="x"))
        session.add(OutboxRow(id=1, study_id=1, kind="tabs", subject_id=1))
    for end in (lambda row: leases.postpone(row, BAD, now()), lambda row: leases.give_up(row, BAD)):
        with database.write() as session:
            end(session.get_one(kind, 1))
        with database.read() as session:
            assert session.get_one(kind, 1).error == "a?b?"
