"""Migrations of existing rows: rows written before are read after it with the same meaning."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

import datagen.store.database
from datagen.domain.notification import Facts
from datagen.domain.spec import Spec
from datagen.domain.verdict import Opinion
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.inputs import FetchedPictureRow, InputReadingRow, InputRow, ProposalMakingRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.notifications import DeliveryRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.generation.sample_facts import facts_of

#: The value of a column of this type where a test needs no particular one.
_ANYTHING: dict[type, Any] = {
    str: "x",
    int: 1,
    float: 0.0,
    bool: False,
    object: {},
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database without a schema."""
    opened = Database(database_url)
    yield opened
    opened.close()


def put(connection: Connection, table: Table, **values: Any) -> None:
    """Write a row of a schema that the code no longer has."""
    for column in table.columns:
        if not column.nullable and column.name not in values:
            values[column.name] = _ANYTHING[column.type.python_type]
    connection.execute(insert(table).values(values))


def _downgrade(database: Database, revision: str) -> None:
    """Move the schema back, as ``Database.upgrade`` moves it forward."""
    config = Config()
    config.set_main_option("script_location", str(Path(datagen.store.database.__file__).parent / "migrations"))
    with database.engine.execution_options(datagen_writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def put_two_samples(database: Database) -> MetaData:
    """A study with a version, a round, a shard and its two samples; every number is 1 but the second sample's."""
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        for name in ("study", "spec", "batch", "shard"):
            put(connection, schema.tables[name], id=1)
        for number in (1, 2):
            put(connection, schema.tables["sample"], id=number, index=number, key=f"sample-{number}")
    return schema


def test_verdict_gets_its_samples_task_as_its_task(database: Database) -> None:
    database.upgrade("0004")
    schema = put_two_samples(database)
    sample, verdict = schema.tables["sample"], schema.tables["verdict"]
    with database.engine.begin() as connection:
        connection.execute(update(sample).where(sample.c.id == 1).values(task_id=77))
        for number in (1, 2):
            put(connection, verdict, annotation_id=number, sample_id=number, opinion="good")
    database.upgrade()
    with database.read() as session:
        kept = session.execute(select(VerdictRow.sample_id, VerdictRow.task_id, VerdictRow.copy_of))
        assert sorted(map(tuple, kept)) == [(1, 77, None), (2, None, None)]


def test_verdicts_are_kept_and_a_number_may_come_again_for_another_sample(database: Database) -> None:
    database.upgrade("0003")
    schema = put_two_samples(database)
    with database.engine.begin() as connection:
        put(connection, schema.tables["verdict"], annotation_id=2**40, sample_id=1, opinion="good", reviewer="Ann")

    database.upgrade()

    def say(sample: int, opinion: Opinion) -> VerdictRow:
        return VerdictRow(annotation_id=2**40, sample_id=sample, opinion=opinion, reviewer="Bob", updated_at="")

    with database.write() as session:
        session.add(say(2, Opinion.BAD))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(say(1, Opinion.BAD))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(say(3, Opinion.BAD))  # there is no such sample: what points is still checked
    with database.read() as session:
        kept = session.execute(select(VerdictRow.sample_id, VerdictRow.opinion, VerdictRow.reviewer))
        assert sorted(map(tuple, kept)) == [(1, Opinion.GOOD, "Ann"), (2, Opinion.BAD, "Bob")]


def test_inputs_of_before_are_kept_and_every_study_reads_them_again(database: Database) -> None:
    database.upgrade("0007")
    schema = MetaData()
    drawn = [{"from_name": "canvas", "type": "polygonlabels"}]
    with database.engine.begin() as connection:
        schema.reflect(connection)
        put(connection, schema.tables["study"], id=1, state="collecting", inputs_changed=4, inputs_read=4)
        put(connection, schema.tables["input"], task_id=7, study_id=1, role="canvas", result=drawn, digest="d" * 64)

    database.upgrade()

    with database.read() as session:
        row = session.get_one(InputRow, 7)
        assert (row.result, row.parsed, row.annotation_id) == (drawn, None, None)
        study = session.get_one(StudyRow, 1)
        assert (study.inputs_changed, study.inputs_read, study.inputs_reading) == (5, 4, 0)


def test_going_back_to_0007_has_inputs_read_again(database: Database) -> None:
    database.upgrade()
    with database.write() as session:
        session.add(StudyRow(id=1, name="x", labels=[], engine="composite", preview_size=1, inputs_read=1))
        session.flush()
        session.add(FetchedPictureRow(study_id=1, address="a" * 64, conditions="x"))
    _downgrade(database, "0007")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        study = schema.tables["study"]
        assert connection.execute(select(study.c.inputs_changed, study.c.inputs_read)).one() == (2, 1)
        assert "fetched_picture" not in schema.tables
        assert "parsed" not in schema.tables["input"].columns
    database.upgrade()


def test_work_on_inputs_that_was_postponed_is_leased_and_goes_back(database: Database) -> None:
    database.upgrade("0014")
    schema = MetaData()
    later = datetime(2030, 1, 1, tzinfo=UTC)
    with database.engine.begin() as connection:
        schema.reflect(connection)
        study = schema.tables["study"]
        common = {"state": "collecting", "inputs_changed": 4, "inputs_read": 4}
        put(connection, study, **common | {"id": 1, "name": "read"})
        put(connection, study, **common | {"id": 2, "name": "unread", "inputs_read": 3, "inputs_waits": 2})
        put(connection, study, **common | {"id": 3, "name": "failed picture"})
        put(connection, study, **common | {"id": 4, "name": "proposals", "proposals_due_at": later})
        connection.execute(update(study).where(study.c.id == 2).values(inputs_due_at=later))
        put(connection, schema.tables["fetched_picture"], study_id=3, address="a" * 64, retry_at=later)

    database.upgrade()

    with database.read() as session:
        readings = {row.id: row for row in session.scalars(select(InputReadingRow))}
        assert {number: (str(row.state), row.due_at, row.waits) for number, row in readings.items()} == {
            2: ("pending", later, 2),
            3: ("pending", later, 0),
        }
        [making] = session.scalars(select(ProposalMakingRow))
        assert (making.id, str(making.state), making.due_at) == (4, "pending", later)

    _downgrade(database, "0014")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        study = schema.tables["study"]
        rows = connection.execute(
            select(study.c.id, study.c.inputs_waits, study.c.inputs_due_at, study.c.proposals_due_at).order_by(
                study.c.id
            )
        )
        kept = [(row[0], row[1], row[2] is not None, row[3] is not None) for row in rows]
    assert kept == [(1, 0, False, False), (2, 2, True, False), (3, 0, False, False), (4, 0, False, True)]
    assert "input_reading" not in schema.tables
    database.upgrade()


def _spec(parameters: dict[str, Any]) -> Spec:
    return Spec(labels=("pit",), concepts=(), canvases=(), backgrounds=(), engine="diffusion", parameters=parameters)


def test_renamed_columns_and_keys_keep_their_values_in_both_directions(database: Database) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    old, new = (_spec({"size": 1.5, "diffusion": {key: "none", "steps": 2}}) for key in ("levers", "optimizations"))
    plain = _spec({"diffusion": {"steps": 2}})
    trace = {"device": "cpu", "levers": ["compiled"]}
    database.upgrade("0014")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        tables = schema.tables
        put(connection, tables["study"], id=1, state="collecting", least_judged=0.25, least_good=0.75)
        put(connection, tables["outbox"], id=1, kind="tabs", state="done", told_at=at)
        for number, spec in enumerate((old, plain), start=1):
            values = {"version": number, "state": "accepted", "body": spec.to_json(), "digest": spec.digest}
            put(connection, tables["spec"], id=number, **values)
        put(connection, tables["batch"], id=1)
        put(connection, tables["shard"], id=1)
        put(connection, tables["sample"], id=1, body={"provenance": {"steps": trace}})

    database.upgrade()

    with database.read() as session:
        study = session.get_one(StudyRow, 1)
        assert (study.min_judged, study.min_good) == (0.25, 0.75)
        assert session.get_one(OutboxRow, 1).published_at == at
        specs = session.scalars(select(SpecRow).order_by(SpecRow.id)).all()
        assert [Spec.from_json(row.body) for row in specs] == [new, plain]
        assert [row.digest for row in specs] == [new.digest, plain.digest]
        [sample] = session.scalars(select(SampleRow))
        assert sample.body["provenance"]["steps"] == {"device": "cpu", "optimizations": ["compiled"]}

    _downgrade(database, "0014")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        tables = schema.tables
        shares = select(tables["study"].c.least_judged, tables["study"].c.least_good)
        assert tuple(connection.execute(shares).one()) == (0.25, 0.75)
        assert connection.execute(select(tables["outbox"].c.told_at)).scalar_one() is not None
        spec = tables["spec"].c
        assert [*connection.execute(select(spec.digest).order_by(spec.id)).scalars()] == [old.digest, plain.digest]
        assert connection.execute(select(tables["sample"].c.body)).scalar_one() == {"provenance": {"steps": trace}}
    database.upgrade()


def test_going_back_to_0016_deletes_audits_and_what_refers_to_them(database: Database) -> None:
    database.upgrade("0017")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        tables = schema.tables
        put(connection, tables["study"], id=1, state="auditing")
        put(connection, tables["spec"], id=1, state="review")
        for number, kind in enumerate(("round", "audit"), start=1):
            put(connection, tables["batch"], id=number, kind=kind, promise={"good": 1} if kind == "round" else None)
            put(connection, tables["shard"], id=number, batch_id=number, state="done")
            put(connection, tables["sample"], id=number, batch_id=number, shard_id=number, key=f"key {number}")
            put(connection, tables["verdict"], annotation_id=number, sample_id=number, opinion="good")
            put(connection, tables["decision"], id=number, number=number, batch_id=number, started_id=number)
            put(connection, tables["outbox"], id=number, kind="samples", subject_id=number, state="done")
            put(connection, tables["outbox"], id=number + 2, kind="review_tasks", subject_id=number, state="done")

    _downgrade(database, "0016")

    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        tables = schema.tables
        for name in ("batch", "shard", "sample"):
            assert connection.execute(select(tables[name].c.id)).scalars().all() == [1]
        assert connection.execute(select(tables["verdict"].c.sample_id)).scalars().all() == [1]
        assert sorted(connection.execute(select(tables["outbox"].c.id)).scalars()) == [1, 3]
        decision = tables["decision"].c
        shown = select(decision.batch_id, decision.started_id).order_by(decision.id)
        assert [tuple(row) for row in connection.execute(shown)] == [(1, 1), (None, None)]
        assert connection.execute(select(tables["study"].c.state)).scalar_one() == "reviewing"
        assert "promise" not in tables["batch"].c
    database.upgrade()


def test_time_of_a_verdict_becomes_the_time_at_which_it_was_given(database: Database) -> None:
    database.upgrade("0017")
    schema = put_two_samples(database)
    at = "2026-01-02T03:04:05.000000Z"
    with database.engine.begin() as connection:
        put(connection, schema.tables["verdict"], annotation_id=1, sample_id=1, opinion="good", updated_at=at)

    database.upgrade()

    with database.read() as session:
        assert session.scalars(select(VerdictRow.given_at)).all() == [at]
        assert session.scalars(select(StudyRow.verdict_rule)).all() == [None]
    _downgrade(database, "0017")
    database.upgrade()
    with database.read() as session:
        assert session.scalars(select(VerdictRow.given_at)).all() == [at]


def test_batches_get_their_indices_and_going_back_to_0018_deletes_rejected_candidates(database: Database) -> None:
    database.upgrade("0018")
    schema = put_two_samples(database)
    with database.engine.begin() as connection:
        batch = schema.tables["batch"]
        connection.execute(update(batch).values(kind="run", state="done", number=1, first=3, count=7))

    database.upgrade()

    with database.write() as session:
        run = session.scalars(select(BatchRow)).one()
        assert (run.stride, run.reserved, run.rejections) == (7, 7, None)
        kept = BatchRow(
            id=2, study_id=1, spec_id=1, kind=BatchKind.REJECTED, number=1, first=3, count=7, requested_by="Ann"
        )
        session.add(kept)
        session.flush()
        part = ShardRow(id=2, batch_id=kept.id, start=3, stop=4, state=WorkState.DONE)
        session.add(part)
        session.flush()
        session.add(SampleRow(id=3, key="rejected", batch_id=kept.id, shard_id=part.id, index=10, body={}))

    _downgrade(database, "0018")

    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        assert connection.execute(select(schema.tables["batch"].c.kind)).scalars().all() == ["run"]
        assert connection.execute(select(schema.tables["shard"].c.id)).scalars().all() == [1]
        assert sorted(connection.execute(select(schema.tables["sample"].c.id)).scalars()) == [1, 2]
        assert not {"stride", "reserved", "rejections"} & {*schema.tables["batch"].c.keys()}
        assert "reject_below" not in schema.tables["study"].c
    database.upgrade()


def test_samples_of_runs_get_what_they_are_searched_and_sorted_by(database: Database) -> None:
    database.upgrade("0019")
    schema = put_two_samples(database)
    batch, sample = schema.tables["batch"], schema.tables["sample"]
    body = {
        "image": {"digest": "1" * 64, "width": 90, "height": 60, "name": "1.png"},
        "instances": [
            {"label": "scratch", "box": {"x": 0, "y": 0, "width": 20, "height": 5}, "outlines": []},
            {"label": "dent", "box": {"x": 70, "y": 50, "width": 8, "height": 9}, "outlines": []},
        ],
        "provenance": {
            "background": {"name": "plain.jpg"},
            "steps": {"instances": [{"concept": f"{'a' * 12}:0"}, {"concept": f"{'b' * 12}:3"}]},
        },
    }
    with database.engine.begin() as connection:
        connection.execute(update(batch).values(kind="run"))
        connection.execute(update(sample).where(sample.c.id == 1).values(body=body))

    database.upgrade()

    with database.read() as session:
        facts, unreadable = session.scalars(select(SampleFactsRow).order_by(SampleFactsRow.index)).all()
        expected = facts_of(SampleRow(batch_id=1, index=1, body=body))
        for column in SampleFactsRow.__table__.columns:
            assert getattr(facts, column.name) == getattr(expected, column.name), column
        assert (facts.instances, facts.size, facts.places) == (2, 20, 0b100000001)
        assert (unreadable.index, unreadable.instances, unreadable.labels) == (2, 0, "")
    _downgrade(database, "0019")
    database.upgrade()


def test_studies_before_descriptions_are_shown_and_have_none(database: Database) -> None:
    database.upgrade("0019")
    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        put(connection, schema.tables["study"], id=1, name="ab", state="reviewing")
    database.upgrade()
    with database.write() as session:
        study = session.get_one(StudyRow, 1)
        assert (study.name, study.description, study.archived_at) == ("ab", "", None)
        study.description, study.archived_at = "scratches", datetime(2026, 1, 1, tzinfo=UTC)

    _downgrade(database, "0019")

    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        assert connection.execute(select(schema.tables["study"].c.name)).scalars().all() == ["ab"]
        assert not {"description", "archived_at"} & {*schema.tables["study"].c.keys()}
    database.upgrade()


def test_going_back_to_0025_removes_the_person_from_notifications(database: Database) -> None:
    """Earlier versions refuse facts that they do not know."""
    database.upgrade()
    schema = put_two_samples(database)
    facts = Facts(study_id=1, study="a study", kind="run", number=1, by="Ann").to_json()
    with database.engine.begin() as connection:
        put(connection, schema.tables["recipient"], id=1)
        put(connection, schema.tables["delivery"], id=1, facts=facts)

    _downgrade(database, "0025")

    with database.engine.begin() as connection:
        delivery = schema.tables["delivery"]
        assert connection.scalars(select(delivery.c.facts)).one() == {
            name: value for name, value in facts.items() if name != "by"
        }
    database.upgrade()
    with database.read() as session:
        assert Facts.from_json(session.scalars(select(DeliveryRow.facts)).one()).by == ""


def test_paused_runs_before_pauses_by_people_were_paused_by_nobody_and_going_back_keeps_them_paused(
    database: Database,
) -> None:
    database.upgrade("0025")
    schema = put_two_samples(database)
    with database.engine.begin() as connection:
        connection.execute(update(schema.tables["batch"]).values(kind="run", state="paused", problem="an alarm"))
    database.upgrade()
    with database.write() as session:
        run = session.scalars(select(BatchRow)).one()
        assert (run.state, run.paused_by, run.paused_at) == (WorkState.PAUSED, None, None)
        run.paused_by, run.paused_at = "Ann", datetime(2026, 1, 1, tzinfo=UTC)

    _downgrade(database, "0025")

    schema = MetaData()
    with database.engine.begin() as connection:
        schema.reflect(connection)
        batch = schema.tables["batch"]
        assert connection.execute(select(batch.c.state, batch.c.problem)).all() == [("paused", "an alarm")]
        assert not {"paused_by", "paused_at"} & {*batch.c.keys()}
    database.upgrade()
