"""The picture of a decision task, its caption and its title."""

from __future__ import annotations

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import BatchKind
from studio import Studio, Study, verdict_result

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


def test_an_answered_decision_keeps_the_sheet_of_what_was_decided_on(studio: Studio, study: Study) -> None:
    study.review()
    first, first_version = study.batches(BatchKind.ROUND)[-1], study.specs()[-1].version
    study.decide(StudyEvent.REFINE)
    second, second_version = study.batches(BatchKind.ROUND)[-1], study.specs()[-1].version
    answered, newest = study.decision_tasks()[-2:]
    assert first.sheet is not None
    assert first.sheet in answered.data["sheet"]
    assert f"<b>Below:</b> preview round {first.number}, version {first_version}." in answered.data["html"]
    assert second.sheet is not None
    assert second.sheet in newest.data["sheet"]
    assert f"<b>Below:</b> preview round {second.number}, version {second_version}." in newest.data["html"]


def test_a_finished_run_shows_its_contact_sheet(studio: Studio, study: Study) -> None:
    study.review()
    study.act(StudyEvent.APPROVE, count=5, name="spring")
    studio.settle()
    run = study.batches(BatchKind.RUN)[-1]
    shown = study.decision_tasks()[-1]
    assert run.sheet is not None
    assert run.sheet in shown.data["sheet"]
    assert f"<b>Below:</b> the first images of run “spring”, version {study.specs()[-1].version}." in shown.data["html"]


def test_the_title_says_what_is_decided_on_and_how_it_was_judged(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad"))
    studio.settle()
    preview_round, version = study.batches(BatchKind.ROUND)[-1], study.specs()[-1].version
    open_title = study.decision_tasks()[-1].data["title"]
    assert open_title.endswith(
        f"round {preview_round.number}, version {version}, 1 good, 1 bad of {preview_round.count}"
    )
    study.decide(StudyEvent.REFINE)
    assert study.decision_tasks()[-2].data["title"] == f"{open_title} · refine"
