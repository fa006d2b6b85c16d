"""Copies of review tasks cost time in proportion to their number; a bounded number of verdicts on them is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select

from datagen.domain.lifecycle import SpecState, StudyState
from datagen.domain.verdict import Opinion
from datagen.entrypoints import bootstrap
from datagen.label_studio.api.models import Annotation, Task
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.verdict_rows import MAX_VERDICTS, TasksRead, full_samples, keep
from datagen.workflow.services import Services
from studio import choice, settings_of

#: Four times as many tasks may take so many times as long: work that is quadratic takes sixteen times.
MAX_RATIO = 9.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Rows of one round under review with two samples; only the rows are used."""
    chosen = settings_of({"DATAGEN_DATA_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": "a" * 40})
    chosen.make_missing_secrets()
    built = bootstrap.build_services(chosen, lambda _job_requests: None)
    built.database.upgrade()
    with built.database.write() as session:
        for row in (
            StudyRow(
                id=1, name="plates", labels=["pit"], engine="composite", preview_size=2, state=StudyState.REVIEWING
            ),
            SpecRow(id=1, study_id=1, version=1, digest="0", body={}, created_by="tester", state=SpecState.REVIEW),
            BatchRow(
                id=1, study_id=1, spec_id=1, kind=BatchKind.ROUND, number=1, first=0, count=2, requested_by="tester"
            ),
            ShardRow(id=1, batch_id=1, start=0, stop=2, state=WorkState.DONE, published_at=now()),
            SampleRow(id=1, key="s1-v1-round1-0", batch_id=1, shard_id=1, index=0, body={}, task_id=1),
            SampleRow(id=2, key="s1-v1-round1-1", batch_id=1, shard_id=1, index=1, body={}, task_id=2),
        ):
            session.add(row)
            session.flush()
    yield built
    built.database.close()
    built.label_studio.close()


def task(task_id: int, *, index: int = 0, opinion: str = "good", copied_from: int | None = None) -> Task:
    """A review task of a sample with one verdict, as Label Studio holds it."""
    annotation = Annotation(
        id=10_000 + task_id,
        result=(choice("verdict", opinion),),
        was_cancelled=False,
        completed_by="ann@example.com",
        updated_at="2026-01-01T00:00:00.000000Z",
        created_at="2026-01-01T00:00:00.000000Z",
        copied_from=copied_from,
    )
    return Task(id=task_id, data={"datagen_key": f"s1-v1-round1-{index}"}, annotations=(annotation,))


def seconds(services: Services, copies: int) -> float:
    """Processor seconds of the shortest of three readings of a round in which one task has so many copies."""
    tasks = [task(1), task(2, index=1), *(task(100 + number) for number in range(copies))]
    took = []
    for _ in range(3):
        with services.database.write() as session:
            session.execute(delete(VerdictRow))
        began = time.thread_time()
        keep(services, 1, TasksRead(tasks=tasks, as_of=1_000_000, expected={1: 1, 2: 2}))
        took.append(time.thread_time() - began)
    return min(took)


def test_four_times_as_many_copies_take_about_four_times_as_long(services: Services) -> None:
    seconds(services, 10)  # what is loaded once is loaded
    assert seconds(services, 4_000) / seconds(services, 1_000) < MAX_RATIO


def test_counting_a_samples_verdicts_takes_time_in_proportion_to_them(services: Services) -> None:
    def count(copies: int) -> float:
        with services.database.write() as session:
            session.execute(delete(VerdictRow))
            shared = {"sample_id": 1, "opinion": Opinion.GOOD, "reviewer": "ann", "updated_at": "", "task_id": 1}
            session.execute(
                insert(VerdictRow), [{"annotation_id": n, "copy_of": 10**6 + n, **shared} for n in range(copies)]
            )
        took = []
        for _ in range(3):
            began = time.thread_time()
            with services.database.read() as session:
                counted = session.scalars(
                    select(VerdictRow.annotation_id).where(verdict_sync.effective_verdicts())
                ).all()
            took.append(time.thread_time() - began)
            assert len(counted) == copies  # each is the only copy of an original that is gone
        return min(took)

    count(10)
    assert count(4_000) / count(1_000) < MAX_RATIO


def test_verdicts_on_copies_are_kept_up_to_a_bound_and_none_on_the_task_itself_is_lost(services: Services) -> None:
    copies = [task(100 + number, opinion="bad") for number in range(MAX_VERDICTS + 50)]
    keep(services, 1, TasksRead(tasks=copies, as_of=1_000_000))
    keep(services, 1, TasksRead(tasks=[task(1), task(2, index=1), *copies], as_of=1_000_000, expected={1: 1, 2: 2}))
    with services.database.read() as session:
        kept = dict(session.execute(select(VerdictRow.opinion, func.count()).group_by(VerdictRow.opinion)).all())
        assert kept == {Opinion.GOOD: 2, Opinion.BAD: MAX_VERDICTS}
        assert full_samples(session, 1) == [0]
    keep(
        services, 1, TasksRead(tasks=[task(1), task(2, index=1)], as_of=1_000_000, expected={1: 1, 2: 2})
    )  # the copies are deleted
    with services.database.read() as session:
        assert session.scalars(select(VerdictRow.annotation_id).order_by(VerdictRow.annotation_id)).all() == [
            10_001,
            10_002,
        ]
        assert full_samples(session, 1) == []


def test_a_task_of_which_nothing_is_known_keeps_its_verdict_and_its_sample(services: Services) -> None:
    keep(services, 1, TasksRead(tasks=[task(1), task(2, index=1)], as_of=1_000_000, expected={1: 1, 2: 2}))
    keep(services, 1, TasksRead(tasks=[task(1)], as_of=1_000_000, expected={1: 1, 2: 2}, unreadable=[2]))
    with services.database.read() as session:
        assert session.scalars(select(VerdictRow.task_id).order_by(VerdictRow.task_id)).all() == [1, 2]
        assert session.get_one(SampleRow, 2).task_id == 2
    keep(services, 1, TasksRead(tasks=[task(1)], as_of=1_000_000, expected={1: 1, 2: 2}))
    with services.database.read() as session:
        assert session.scalars(select(VerdictRow.task_id)).all() == [1]
        assert session.get_one(SampleRow, 2).task_id is None


def test_tasks_changed_during_the_reading_are_read_again(services: Services) -> None:
    with services.database.write() as session:
        session.get_one(SampleRow, 1).verdict_change = 5
    assert keep(services, 1, TasksRead(tasks=[task(1), task(7), task(2, index=1)], as_of=4)) == [1, 7]
    with services.database.read() as session:
        assert session.scalars(select(VerdictRow.sample_id)).all() == [2]
