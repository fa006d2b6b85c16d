"""A run of a million images is approved in milliseconds, divided in portions, and not started by accident."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.entrypoints import bootstrap
from datagen.errors import NotConfirmed, Refused
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import spec_versions, submit
from datagen.workflow.studies.open import open_study
from datagen.workflow.study_options import StudyOptions
from studio import Studio, Study, asked

pytest_plugins = ("studio_fixtures",)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database with one study and its version."""
    migrated = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    migrated.upgrade()
    with migrated.write() as session:
        session.add(StudyRow(id=1, name="plates", labels=["pit"], engine="composite", preview_size=3))
        session.flush()
        session.add(
            SpecRow(id=1, study_id=1, version=1, digest="0" * 64, body={"engine": "composite"}, created_by="tester")
        )
    yield migrated
    migrated.close()


@pytest.mark.integration
def test_a_run_of_more_shards_than_are_cut_ahead_comes_out_whole(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec_versions, "AHEAD", 2)
    study.review()
    had = len(study.tasks(ProjectKind.DATASET))
    study.decide("approve", count=9)
    run = study.batches(BatchKind.RUN)[-1]
    assert (run.state, study.row().state) == (WorkState.DONE, StudyState.ACCEPTED)
    assert run.rendered_at is not None
    tasks = [task for task in study.tasks(ProjectKind.DATASET) if task.data["run"] == str(run.number)]
    assert sorted(int(task.data["index"]) for task in tasks) == list(range(run.first, run.first + 9))
    assert len(study.tasks(ProjectKind.DATASET)) == had + 9


@pytest.mark.integration
def test_a_run_whose_workers_were_killed_comes_out_whole(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec_versions, "AHEAD", 2)
    study.review()
    study.act(StudyEvent.APPROVE, count=7)
    run = study.batches(BatchKind.RUN)[-1]
    with studio.services.database.write() as session:  # both were claimed, and their workers sent no heartbeat since
        session.execute(
            update(ShardRow).where(ShardRow.batch_id == run.id).values(state=WorkState.RUNNING, due_at=now())
        )
    studio.settle()
    assert study.batches(BatchKind.RUN)[-1].state == WorkState.DONE
    with studio.rows() as session:
        cut = session.execute(select(ShardRow.start, ShardRow.stop).where(ShardRow.batch_id == run.id)).all()
    assert sum(stop - start for start, stop in cut) == 7


@pytest.fixture
def careful(studio: Studio, study: Study) -> Iterator[Study]:
    """The study, in which runs of more than two images have to be confirmed."""
    study.review()
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).confirm_above = 2
    yield study
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).confirm_above = None


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.mark.integration
def test_a_large_run_starts_once_the_tick_is_set(studio: Studio, careful: Study) -> None:
    runs = len(careful.batches(BatchKind.RUN))
    answer = careful.decide("approve", count=3, confirmed=False)
    assert len(careful.batches(BatchKind.RUN)) == runs
    shown = text(careful.page())
    assert re.search(
        r"3 images were asked for; more than 2 have to be confirmed\. At [\d.e-]+ s an image, .* take one worker about "
        r"[\d.]+ min, several workers less\. They need about 0\.0 GiB in the image store\. To go on, tick “I have "
        rf"looked” and press Update, or run: datagen approve '{careful.name}' --count 3 --confirm",
        shown,
    ), shown

    confirm = {"from_name": "confirm", "to_name": "summary", "type": "choices", "value": {"choices": ["I have looked"]}}
    studio.client.update_annotation(answer, [*asked("approve", count=3, confirmed=False), confirm])
    studio.settle()
    [run] = careful.batches(BatchKind.RUN)[runs:]
    assert (run.count, run.state) == (3, WorkState.DONE)


@pytest.mark.integration
def test_a_run_of_the_number_itself_needs_no_tick(studio: Studio, careful: Study) -> None:
    careful.act(StudyEvent.APPROVE, count=2)
    studio.settle()
    assert careful.batches(BatchKind.RUN)[-1].count == 2


@pytest.mark.integration
def test_ten_thousand_is_the_number_of_a_study_that_gave_none(studio: Studio, study: Study) -> None:
    study.review()
    with pytest.raises(NotConfirmed, match=r"10,001 images were asked for; more than 10,000 have to be confirmed\."):
        study.act(StudyEvent.APPROVE, count=10_001, confirmed=False)


@pytest.mark.integration
def test_what_is_not_possible_need_not_be_confirmed(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    with pytest.raises(Refused, match="no preview round has been made yet") as refusal:
        study.act(StudyEvent.APPROVE, count=1_000_000, confirmed=False)
    assert not isinstance(refusal.value, NotConfirmed)


@pytest.mark.integration
def test_a_run_larger_than_the_setting_allows_is_refused_though_it_is_confirmed(studio: Studio, study: Study) -> None:
    study.review()
    services = replace(studio.services, max_run_images=5)
    wish = Decision(action=StudyEvent.APPROVE, count=6, confirmed=True)
    with pytest.raises(Refused, match=r"a run makes 1 to 5 \(DATAGEN_MAX_RUN_IMAGES\)"):
        submit.decide(services, submit.DecisionCommand(study_id=study.id, decision=wish, who="tester"))


@pytest.mark.integration
def test_provisioning_sets_the_number_and_leaves_it(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    access = bootstrap.server_access_of(studio.settings)
    for given, kept in ((2000, 2000), (None, 2000), (0, 0)):
        open_study(
            studio.services,
            study.name,
            [],
            access,
            engine=None,
            preview_size=3,
            options=StudyOptions(confirm_above=given),
        )
        assert study.row().confirm_above == kept
