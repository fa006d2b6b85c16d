"""Audits: further samples of the version under review, whose verdicts promise a share and train nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import SpecState, StudyEvent, StudyState
from datagen.errors import EngineError, NotConfirmed, Refused
from datagen.label_studio.api.models import Task
from datagen.queue.jobs import PREVIEWS
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.generation import shard_rendering
from datagen.workflow.reviews.audits import threshold_acceptance_of
from datagen.workflow.sample_mapping import trace_of
from datagen.workflow.studies.audit import audit_lines
from datagen.workflow.studies.maintenance import retry
from datagen.workflow.studies.queries import describe
from fake_studio import FakeStudio
from fake_studio_fixtures import Make, Prepared, made_in
from instant_engine import InstantEngine
from studio import ROUND, Study, text_of, verdict_result

GOOD, BAD = verdict_result("good"), verdict_result("bad", "too small")
PROMISE = "At least 56 % acceptable, at 90 % confidence: 4 audit verdicts, 0 bad."


def audit(study: Study, count: int = 4) -> BatchRow:
    """Audit the version with so many samples; return the audit once its review tasks are in Label Studio."""
    study.act(StudyEvent.AUDIT, audit_count=count)
    study.studio.settle()
    return study.batches(BatchKind.AUDIT)[-1]


def size_of(row: SampleRow) -> float:
    return float(trace_of(row).instances[0].draws["size"])


def tasks_of(study: Study, batch: BatchRow) -> list[Task]:
    """The review tasks of an audit, in the order of index."""
    name = f"audit-{study.id}-{batch.number}"
    tasks = [task for task in study.tasks(ProjectKind.PREVIEWS) if task.data["batch"] == name]
    return sorted(tasks, key=lambda task: int(task.data["index"]))


def judge(study: Study, batch: BatchRow, *forms: list[dict[str, Any]]) -> list[int]:
    """Submit these review forms for an audit's tasks, in order; return the annotations' ids."""
    annotations = [
        study.studio.client.annotate(task.id, form) for task, form in zip(tasks_of(study, batch), forms, strict=False)
    ]
    study.studio.settle()
    return annotations


def test_audit_posts_the_next_samples_of_the_version_as_tasks_like_those_of_its_round(
    studio: FakeStudio, study: Study
) -> None:
    study.decide("audit", audit_count=4)
    batch, preview = study.batches(BatchKind.AUDIT)[0], study.batches(BatchKind.ROUND)[-1]
    assert (batch.spec_id, batch.first, batch.count, batch.state) == (
        preview.spec_id,
        preview.first + preview.count,
        4,
        WorkState.DONE,
    )
    assert (study.row().state, study.specs()[-1].state) == (StudyState.REVIEWING, SpecState.REVIEW)
    tasks = tasks_of(study, batch)
    assert [task.data["index"] for task in tasks] == ["1", "2", "3", "4"]
    of_round = next(task for task in study.round_tasks() if task.id not in {audited.id for audited in tasks})
    assert tasks[0].data.keys() == of_round.data.keys(), "the reviewer sees no difference"
    assert tasks[0].data["round"] == of_round.data["round"], "and finds them in the same tab"


def test_audit_without_a_number_has_the_number_of_the_settings(studio: FakeStudio, study: Study) -> None:
    study.decide("audit", count=200)  # the form holds a number of images for every action
    assert study.batches(BatchKind.AUDIT)[0].count == studio.services.audit_size == 22


def test_page_states_the_promise_and_approval_stores_it_with_the_run_and_in_the_audit_log(
    studio: FakeStudio, study: Study
) -> None:
    batch = audit(study)
    judge(study, batch, GOOD, GOOD, GOOD, GOOD)
    page = text_of(study.page())
    assert "Audit 1, version 1 4 good, 0 bad, 0 still to review" in page
    assert PROMISE in page
    study.decide("approve", count=3)
    run = study.batches(BatchKind.RUN)[0]
    assert run.promise is not None
    assert run.promise["sentence"] == PROMISE
    line = audit_lines(studio.services.database, study.name)[-1]["what"]
    assert line == f"approve (run 1, 3 images), stated: {PROMISE}"
    assert f"Stated when version 1 was approved: {PROMISE}" in text_of(study.page())
    assert f"Stated: {PROMISE}" in text_of(study.page(-2)), "on the answered decision"


def test_verdict_that_is_changed_after_the_approval_leaves_what_was_stated(studio: FakeStudio, study: Study) -> None:
    annotations = judge(study, audit(study), GOOD, GOOD, GOOD, GOOD)
    study.decide("approve", count=3)
    study.change(annotations[0], result=BAD)
    studio.settle()
    page = text_of(study.page())
    assert f"Stated when version 1 was approved: {PROMISE}" in page
    assert "1 verdict on audit 1 came or changed after it was approved" in page
    study.act(StudyEvent.APPROVE, count=2)  # another run of the same version
    assert [run.promise["sentence"] for run in study.batches(BatchKind.RUN) if run.promise] == [PROMISE, PROMISE]


def test_verdicts_of_an_audit_are_not_given_to_refine(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    refine = InstantEngine.refine

    def noted(self, parameters, reviewed):
        given.append(len(reviewed))
        return refine(self, parameters, reviewed)

    monkeypatch.setattr(InstantEngine, "refine", noted)
    round_verdicts = study.judge(BAD)
    judge(study, audit(study), BAD, BAD, BAD, BAD)
    study.act(StudyEvent.REFINE)
    studio.settle()
    assert len(round_verdicts) == 1
    assert set(given) == {1}
    tasks = tasks_of(study, study.batches(BatchKind.AUDIT)[0])
    assert {task.data["status"] for task in tasks} == {"reviewed; closed: refined"}
    assert "At least" not in text_of(study.page()), "the refined version was not audited"


def test_verdicts_of_an_audit_are_not_mixed_with_those_of_the_round(studio: FakeStudio, study: Study) -> None:
    study.judge(GOOD)
    batch = audit(study)
    judge(study, batch, BAD)
    assert "1 bad, 3 missing and counted as bad" in text_of(study.page())
    with pytest.raises(NotConfirmed, match="stands on 1 of 3 previews judged, 1 of 1 verdict good"):
        study.act(StudyEvent.APPROVE, count=1, confirmed=False)


def test_status_counts_verdicts_of_an_audit_apart_from_those_on_previews(studio: FakeStudio, study: Study) -> None:
    """They measure a version, and were shown as if they were verdicts on its previews."""
    study.judge(GOOD)
    judge(study, audit(study), GOOD, BAD)
    [status] = describe(studio.services.database, study.name)
    assert (status["verdicts"], status["audit_verdicts"]) == ({"good": 1, "bad": 0}, {"good": 1, "bad": 1})
    assert status["verdicts_text"].endswith("1 on all versions; 2 on audit samples (1 good, 1 bad)")


def test_half_judged_audit_counts_what_is_missing_as_bad(studio: FakeStudio, study: Study) -> None:
    judge(study, audit(study), GOOD, GOOD)
    page = text_of(study.page())
    assert "2 of 4 audit verdicts, 0 bad, 2 missing and counted as bad." in page
    assert "2 audit samples wait for a verdict; judge them first." in page


def test_deleted_review_task_of_an_audit_counts_as_bad(studio: FakeStudio, study: Study) -> None:
    batch = audit(study)
    judge(study, batch, GOOD, GOOD, GOOD, BAD)
    studio.client.delete_tasks(study.projects[ProjectKind.PREVIEWS], [tasks_of(study, batch)[3].id])
    studio.settle()
    assert "3 of 4 audit verdicts, 0 bad, 1 missing and counted as bad." in text_of(study.page())


def test_sample_with_a_good_and_a_bad_verdict_is_not_acceptable(studio: FakeStudio, study: Study) -> None:
    batch = audit(study)
    judge(study, batch, GOOD, GOOD, GOOD, GOOD)
    judge(study, batch, BAD)
    assert "4 audit verdicts, 1 bad." in text_of(study.page())


def test_audit_before_any_verdict_on_the_round_has_to_be_confirmed(studio: FakeStudio, study: Study) -> None:
    study.decide("audit", confirmed=False)
    page = text_of(study.page())
    assert "No image of preview round 1 is judged yet. An audit measures a version and improves nothing" in page
    assert f"or run: datagen audit-samples '{study.name}' --confirm" in page
    assert study.batches(BatchKind.AUDIT) == []


def test_second_audit_has_to_be_confirmed_and_lowers_the_confidence(studio: FakeStudio, study: Study) -> None:
    study.judge(GOOD)
    judge(study, audit(study), GOOD, GOOD, GOOD)
    with pytest.raises(NotConfirmed) as refusal:
        study.act(StudyEvent.AUDIT, audit_count=3, confirmed=False)
    assert "audited already. 1 sample of it waits for a verdict, and counts as bad until then." in str(refusal.value)
    assert "what both promise together holds at 85 % confidence" in str(refusal.value)
    assert "--count 3" in str(refusal.value)
    second = audit(study, 3)
    judge(study, second, GOOD, GOOD, GOOD)
    assert "at 85 % confidence: 6 of 7 audit verdicts of 2 audits, 0 bad, 1 missing" in text_of(study.page())
    first = study.batches(BatchKind.AUDIT)[0]
    studio.client.annotate(tasks_of(study, first)[3].id, GOOD)
    studio.settle()
    assert "7 audit verdicts of 2 audits, 0 bad." in text_of(study.page()), "the page shows the second audit"


@pytest.mark.parametrize("count", [0, 201, 10**9])
def test_number_out_of_range_is_refused_on_the_page(studio: FakeStudio, study: Study, count: int) -> None:
    study.decide("audit", audit_count=count)
    assert f"{count:,} samples were asked for; an audit has 1 to 200." in text_of(study.page())
    assert study.row().state == StudyState.REVIEWING


def test_audit_under_way_is_cancelled_and_the_round_is_decided_on_again(studio: FakeStudio, study: Study) -> None:
    study.judge(GOOD)
    study.act(StudyEvent.AUDIT, audit_count=4)
    with pytest.raises(Refused, match="“approve” is not possible now: an audit is being made"):
        study.act(StudyEvent.APPROVE, count=1)
    study.act(StudyEvent.CANCEL)
    studio.settle()
    assert study.row().state == StudyState.REVIEWING
    assert study.batches(BatchKind.AUDIT)[0].state == WorkState.CANCELLED
    assert "Preview round 1, version 1" in text_of(study.page())
    judge(study, audit(study), GOOD, GOOD, GOOD, GOOD)
    assert PROMISE in text_of(study.page()), "the cancelled audit was not looked at"


def test_samples_of_an_audit_that_is_cancelled_before_they_are_posted_are_closed(
    studio: FakeStudio, study: Study
) -> None:
    study.act(StudyEvent.AUDIT, audit_count=2)
    studio.work(PREVIEWS)
    study.act(StudyEvent.CANCEL)
    studio.settle()
    batch = study.batches(BatchKind.AUDIT)[0]
    tasks = tasks_of(study, batch)
    assert [(task.is_finished, task.data["status"]) for task in tasks] == [
        (True, "closed: cancelled; a verdict no longer counts")
    ] * 2
    judge(study, batch, GOOD, GOOD)
    assert [verdict.late for verdict in study.verdicts_of(batch)] == [True, True]
    assert "2 verdicts on audit 1 came or changed after it was cancelled" in text_of(study.page())
    assert "At least" not in text_of(study.page())


def test_stopped_study_closes_its_audit(studio: FakeStudio, study: Study) -> None:
    batch = audit(study)
    study.act(StudyEvent.STOP)
    studio.settle()
    assert {task.is_finished for task in tasks_of(study, batch)} == {True}


def test_failed_audit_says_why_and_can_be_resumed(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise EngineError("the engine is broken")

    with monkeypatch.context() as patch:
        patch.setattr(shard_rendering.FittedEngineCache, "fitted", broken)
        study.act(StudyEvent.AUDIT, audit_count=4)
        studio.settle()
    assert study.row().state == StudyState.REVIEWING
    page = text_of(study.page())
    assert "audit 1 could not be made: the engine is broken" in page
    assert "Preview round 1, version 1" in page
    assert retry(studio.services, study.name, "tester").revived.startswith("audit 1 goes on")
    assert study.row().state == StudyState.AUDITING
    studio.settle()
    judge(study, study.batches(BatchKind.AUDIT)[0], GOOD, GOOD, GOOD, GOOD)
    assert PROMISE in text_of(study.page())


def test_audit_is_offered_after_a_round_that_is_judged_and_good(studio: FakeStudio, study: Study) -> None:
    assert "choose “audit”" not in text_of(study.page())
    study.judge(*[GOOD] * ROUND)
    studio.settle()
    page = text_of(study.page())
    assert "3 of 3 verdicts on this round are good." in page
    assert "Approving without a promise needs no audit." in page
    audit(study)
    assert "verdicts on this round are good" not in text_of(study.page())


def test_lost_verdicts_of_an_audit_are_read_before_the_approval(studio: FakeStudio, study: Study) -> None:
    batch = audit(study)
    studio.hears = False
    for task in tasks_of(study, batch):
        studio.client.annotate(task.id, GOOD)
    study.act(StudyEvent.APPROVE, count=1)
    run = study.batches(BatchKind.RUN)[0]
    assert run.promise is not None
    assert run.promise["sentence"] == PROMISE


def test_approval_without_an_audit_states_nothing(studio: FakeStudio, study: Study) -> None:
    study.decide("approve", count=1)
    assert study.batches(BatchKind.RUN)[0].promise is None
    assert "Stated" not in text_of(study.page())
    assert "stated" not in audit_lines(studio.services.database, study.name)[-1]["what"]


def test_outline_that_is_corrected_in_an_audit_is_not_promised_to_refine(studio: FakeStudio, study: Study) -> None:
    batch = audit(study)
    value = {"points": [[40, 40], [60, 40], [60, 60]], "closed": True, "polygonlabels": ["pit"]}
    drawn = {"from_name": "label", "to_name": "image", "type": "polygonlabels", "id": "new", "origin": "manual"}
    judge(study, batch, [*BAD, {**drawn, "value": value}])
    page = text_of(study.page())
    assert "1 outline was corrected (image 1). An audit changes nothing, so it is not used" in page
    assert "refine cuts out" not in page


def with_critic(folder: Path) -> Prepared:
    """Make a study whose second version has a critic and rejects nothing: of the sizes 1.0 to 1.4, two were bad."""
    studio, _ = made_in(StudyState.REVIEWING, folder)
    study = studio.open_study(preview_size=45)
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).reject_below = 0.0
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.settle()
    sizes = {row.key: size_of(row) for row in study.samples_of(study.batches()[-1])}
    for task in study.round_tasks():
        opinion = GOOD if sizes[str(task.data["datagen_key"])] < 1.25 else BAD
        studio.client.annotate(task.id, opinion)
    studio.settle()
    study.act(StudyEvent.REFINE)
    studio.settle()
    return studio, study


class TestThreshold:
    """The promise of the audits at a higher threshold of the version's critic."""

    @pytest.fixture
    def _prepared(self, copy_of_made: Callable[[Make, Path], Prepared], tmp_path: Path) -> Iterator[Prepared]:
        studio, study = copy_of_made(with_critic, tmp_path)
        yield studio, study
        studio.close()

    def test_page_and_status_state_what_a_threshold_would_give(self, studio: FakeStudio, study: Study) -> None:
        batch = audit(study, 30)
        assert "critic's threshold" not in text_of(study.page()), "no audit verdict is given yet"
        sizes = {row.task_id: size_of(row) for row in study.samples_of(batch)}
        judge(study, batch, *(GOOD if sizes[task.id] < 1.25 else BAD for task in tasks_of(study, batch)))
        page = text_of(study.page())
        with studio.services.database.read() as session:
            acceptance = threshold_acceptance_of(session, session.get_one(SpecRow, study.specs()[-1].id))
        assert acceptance is not None
        assert (acceptance.samples, acceptance.kept - acceptance.good) == (30, 0), "it keeps none that is bad"
        assert 10 <= acceptance.kept < 30
        assert acceptance.sentence in page
        assert "run: datagen provision" in page
        [status] = describe(studio.services.database, study.name)
        promise, threshold = status["acceptance"]
        assert promise.startswith("At least 46 % acceptable")
        assert acceptance.sentence in threshold

    def test_threshold_does_not_depend_on_verdicts_on_the_version(self, studio: FakeStudio, study: Study) -> None:
        stated = []
        for opinion in (GOOD, BAD):
            judge(study, audit(study, 30), *[opinion] * 30)
            with studio.services.database.read() as session:
                acceptance = threshold_acceptance_of(session, session.get_one(SpecRow, study.specs()[-1].id))
            assert acceptance is not None
            stated.append(acceptance.threshold)
        assert stated[0] == stated[1]

    def test_unjudged_sample_counts_as_bad(self, study: Study) -> None:
        judge(study, audit(study, 10), GOOD)
        assert "6 of 10 audit samples are left, 5 of them bad or without a verdict" in text_of(study.page())
