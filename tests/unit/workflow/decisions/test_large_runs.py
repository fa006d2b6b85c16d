"""A run of a million images is approved in milliseconds, divided in portions, and not started by accident."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import batch_end, spec_versions
from datagen.workflow.services import JobKind, UnitOfWork
from run_approval import approve


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database with one study and its version."""
    opened = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'rows.sqlite3')}")
    with opened.write() as session:
        session.add(StudyRow(id=1, name="plates", labels=["pit"], engine="composite", preview_size=3))
        session.flush()
        session.add(
            SpecRow(id=1, study_id=1, version=1, digest="0" * 64, body={"engine": "composite"}, created_by="tester")
        )
    yield opened
    opened.close()


def shards(database: Database, batch_id: int) -> list[tuple[int, int]]:
    with database.read() as session:
        bounds = select(ShardRow.start, ShardRow.stop).where(ShardRow.batch_id == batch_id).order_by(ShardRow.start)
        return [tuple(row) for row in session.execute(bounds)]


def finish(database: Database, batch_id: int, size: int = 50) -> bool:
    """Finish the oldest shard that waits, as a worker does; False when there is none."""
    with database.write() as session:
        unit = UnitOfWork(session=session)
        waits = (ShardRow.batch_id == batch_id, ShardRow.state == WorkState.PENDING)
        shard = session.scalar(select(ShardRow).where(*waits).order_by(ShardRow.start).limit(1))
        if shard is None:
            return False
        shard.state = WorkState.DONE
        spec_versions.add_shards(unit, session.get_one(BatchRow, batch_id), size, JobKind.SHARD)
        return True


def test_approving_a_million_images_costs_what_approving_twenty_thousand_costs(database: Database) -> None:
    few, enqueued_for_few, statements_for_few = approve(database, 20_000)
    many, enqueued, statements = approve(database, 1_000_000)
    assert len(shards(database, many)) == len(shards(database, few)) == spec_versions.AHEAD
    assert len(enqueued) == len(enqueued_for_few) == spec_versions.AHEAD
    assert statements == statements_for_few


def test_a_run_is_cut_as_it_goes_without_gap_or_double(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_versions, "AHEAD", 3)
    batch_id, _, _ = approve(database, 23, size=4)
    assert shards(database, batch_id) == [(0, 4), (4, 8), (8, 12)]
    with database.read() as session:
        batch = session.get_one(BatchRow, batch_id)
        assert not batch_end.is_rendered(session, batch)
    assert finish(database, batch_id, size=4)
    assert shards(database, batch_id)[-1] == (12, 16)
    assert finish(database, batch_id, size=10)  # DATAGEN_SHARD_SIZE was changed meanwhile
    while finish(database, batch_id, size=4):
        pass
    cut = shards(database, batch_id)
    assert [start for start, _ in cut] == [0, *(stop for _, stop in cut[:-1])]
    assert cut[-1][1] == 23
    with database.read() as session:
        assert batch_end.is_rendered(session, session.get_one(BatchRow, batch_id))


def test_a_run_is_not_made_while_samples_are_in_no_shard(database: Database) -> None:
    batch_id, _, _ = approve(database, 1_000_000)
    with database.write() as session:
        session.execute(update(ShardRow).values(state=WorkState.DONE, published_at=now()))
    with database.read() as session:
        batch = session.get_one(BatchRow, batch_id)
        assert not batch_end.is_rendered(session, batch)
        assert not batch_end.is_published(session, batch)


def test_a_cancelled_run_is_cut_no_further(database: Database) -> None:
    batch_id, _, _ = approve(database, 1_000_000)
    with database.write() as session:
        batch_end.cancel(UnitOfWork(session=session), session.get_one(BatchRow, batch_id), "cancelled by tester")
    with database.read() as session:
        states = dict(session.execute(select(ShardRow.state, func.count()).group_by(ShardRow.state)).all())
    assert states == {WorkState.CANCELLED: spec_versions.AHEAD}
