"""Verdicts given on the pages: one annotation of each person, in Label Studio first, and in the rows at once."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import LabelStudioUnavailable, NotReady, Refused
from datagen.label_studio.mapping.form_answers import verdict as verdict_of
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleRow, ShardRow
from datagen.workflow.reviews import page_verdicts
from datagen.workflow.reviews.page_verdicts import LATE, LONGEST_COMMENT, judge
from fake_studio import FakeStudio
from studio import Study, polygon, verdict_result

OWN, BO = 1, 2
GOOD = Verdict(opinion=Opinion.GOOD)
BAD = Verdict(opinion=Opinion.BAD, reasons=frozenset({Reason.TOO_SMALL, Reason.EDGES_SHOW}), comment="hardly there")


@pytest.fixture(autouse=True)
def _bo(studio: FakeStudio) -> None:
    studio.client.people[BO] = "bo@example.com"


def sample_of(study: Study, place: int = 0) -> SampleRow:
    return study.samples_of(study.batches(BatchKind.ROUND)[-1])[place]


def give(study: Study, verdict: Verdict | None, account_id: int = BO, place: int = 0) -> str:
    return judge(study.studio.services, study.id, sample_of(study, place).id, verdict, account_id)


def writes(studio: FakeStudio) -> list[str]:
    """The requests that changed annotations."""
    return [name for name, _ in studio.client.requests if name in ("annotate", "edit_annotation", "delete_annotation")]


def test_a_verdict_is_that_persons_annotation_and_a_row_before_any_job_runs(studio: FakeStudio, study: Study) -> None:
    assert give(study, BAD) == ""
    [row] = study.verdicts()
    assert (row.opinion, row.reasons, row.comment) == (Opinion.BAD, ["edges show", "too small"], "hardly there")
    assert (row.reviewer, row.late, row.outlines) == ("bo@example.com", False, [])
    [annotation] = study.round_tasks()[0].annotations
    assert (annotation.submitted_by, verdict_of(annotation.result)) == (BO, BAD)


def test_the_outlines_of_the_task_are_kept_as_label_studio_keeps_them(studio: FakeStudio, study: Study) -> None:
    give(study, GOOD)
    [task, *_] = study.round_tasks()
    [shown] = studio.client.predictions(task.id)
    drawn = [entry for entry in task.annotations[0].result if entry["from_name"] == "label"]
    assert drawn == [{**region, "origin": "prediction"} for region in shown["result"]]
    assert len(drawn) > 0


def test_a_copied_mark_makes_no_verdict_of_its_person(studio: FakeStudio, study: Study) -> None:
    give(study, GOOD)
    [judged, other, *_] = study.round_tasks()
    with studio.client.acting_as(3, "eve@example.com"):
        studio.client.annotate(other.id, judged.annotations[0].result, completed_by=BO)
    studio.settle()
    reviewers = [row.reviewer for row in study.verdicts()]
    assert sorted(reviewers) == ["bo@example.com", "user 3"]


def test_the_webhook_that_follows_changes_nothing(studio: FakeStudio, study: Study) -> None:
    give(study, GOOD)
    before = study.row().verdict_changes
    studio.settle()
    assert study.row().verdict_changes == before
    assert study.counts()["good"] == 1


def test_a_changed_verdict_changes_the_annotation_and_one_taken_back_deletes_it(
    studio: FakeStudio, study: Study
) -> None:
    for verdict in (GOOD, BAD, GOOD):
        give(study, verdict)
        [annotation] = study.round_tasks()[0].annotations
        assert verdict_of(annotation.result) == verdict
        assert [(row.opinion, row.reviewer) for row in study.verdicts()] == [(verdict.opinion, "bo@example.com")]
    for _ in range(2):
        give(study, None)
        assert (study.verdicts(), study.round_tasks()[0].annotations) == ([], ())


def test_the_same_request_again_writes_nothing(studio: FakeStudio, study: Study) -> None:
    give(study, BAD)
    before = writes(studio)
    give(study, Verdict(opinion=BAD.opinion, reasons=BAD.reasons, comment=" hardly there\r\n"))
    assert writes(studio) == before


def test_a_request_whose_answer_was_lost_is_sent_again_without_a_second_annotation(
    studio: FakeStudio, study: Study
) -> None:
    studio.client.after_request = lambda name: name == "annotate"
    with pytest.raises(LabelStudioUnavailable):
        give(study, GOOD)
    studio.client.after_request = None
    give(study, GOOD)
    assert len(study.round_tasks()[0].annotations) == 1
    assert len(study.verdicts()) == 1


def test_two_requests_at_once_make_one_annotation(studio: FakeStudio, study: Study) -> None:
    both = [threading.Thread(target=give, args=(study, verdict)) for verdict in (GOOD, BAD)]
    for request in both:
        request.start()
    for request in both:
        request.join()
    assert len(study.round_tasks()[0].annotations) == 1


def test_a_request_that_waits_too_long_for_the_one_before_is_to_be_sent_again(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_verdicts, "_WAIT_SECONDS", 0.0)
    lock = page_verdicts._FIRST_LOCK + BO
    with studio.services.database.one_at_a_time(lock, 0.0), pytest.raises(NotReady, match="in a moment"):
        give(study, GOOD)
    assert writes(studio) == []


def test_nobody_changes_or_deletes_the_annotation_of_another_person(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    give(study, BAD)
    give(study, None)
    [left] = study.round_tasks()[0].annotations
    assert (left.submitted_by, verdict_of(left.result)) == (OWN, GOOD)
    give(study, BAD, OWN)  # one's own, given in Label Studio, is changed
    [left] = study.round_tasks()[0].annotations
    assert (left.submitted_by, verdict_of(left.result)) == (OWN, BAD)


def test_two_people_who_disagree_both_have_a_verdict(studio: FakeStudio, study: Study) -> None:
    give(study, GOOD, OWN)
    give(study, BAD, BO)
    assert {(row.reviewer, row.opinion) for row in study.verdicts()} == {
        (studio.email, Opinion.GOOD),
        ("bo@example.com", Opinion.BAD),
    }


def test_a_drawn_outline_stays_when_the_verdict_changes_and_is_not_deleted_with_it(
    studio: FakeStudio, study: Study
) -> None:
    drawn = {**polygon([(10, 10), (60, 10), (60, 60)], label="pit"), "from_name": "label", "origin": "manual"}
    with studio.client.acting_as(BO, "bo@example.com"):
        study.judge([*verdict_result("bad", "label is off"), drawn])
    give(study, GOOD)
    [annotation] = study.round_tasks()[0].annotations
    assert drawn in annotation.result
    [row] = study.verdicts()
    assert (row.opinion, len(row.outlines)) == (Opinion.GOOD, 1)
    with pytest.raises(Refused, match="drawn in Label Studio"):
        give(study, None)
    assert study.verdicts() != []


def test_a_skip_in_label_studio_is_no_verdict_to_change(studio: FakeStudio, study: Study) -> None:
    with studio.client.acting_as(BO, "bo@example.com"):
        studio.client.annotate(study.round_tasks()[0].id, [], was_cancelled=True)
    give(study, GOOD)
    assert [annotation.was_cancelled for annotation in study.round_tasks()[0].annotations] == [True, False]


def test_a_verdict_on_a_closed_round_is_kept_as_a_late_one(studio: FakeStudio, study: Study) -> None:
    sample = sample_of(study)
    study.act(StudyEvent.STOP)
    studio.settle()
    assert judge(studio.services, study.id, sample.id, GOOD, BO) == LATE
    assert [(row.opinion, row.late) for row in study.verdicts()] == [(Opinion.GOOD, True)]


@pytest.mark.parametrize(
    "comment", ["x" * (LONGEST_COMMENT + 1), "😀" * LONGEST_COMMENT, "x" * 1_000_000], ids=["long", "bytes", "1 MB"]
)
def test_a_comment_that_is_too_long_is_refused_before_anything_is_written(
    studio: FakeStudio, study: Study, comment: str
) -> None:
    before = len(studio.client.requests)
    with pytest.raises(Refused, match="4,000 characters"):
        give(study, Verdict(opinion=Opinion.GOOD, comment=comment))
    assert len(studio.client.requests) == before


def test_an_image_without_a_review_task_says_whether_it_will_have_one(studio: FakeStudio, study: Study) -> None:
    sample = sample_of(study)
    with studio.services.database.write() as session:
        session.execute(update(SampleRow).where(SampleRow.id == sample.id).values(task_id=None))
    with pytest.raises(Refused, match="image 1 was deleted in Label Studio"):
        give(study, GOOD)
    with studio.services.database.write() as session:
        session.execute(update(ShardRow).where(ShardRow.id == sample.shard_id).values(published_at=None))
    with pytest.raises(NotReady, match="no review task in Label Studio yet"):
        give(study, GOOD)


def test_a_task_that_was_just_deleted_is_named(studio: FakeStudio, study: Study) -> None:
    studio.hears = False
    studio.client.delete_tasks(study.projects[ProjectKind.PREVIEWS], [study.round_tasks()[0].id])
    with pytest.raises(Refused, match="image 1 was deleted in Label Studio"):
        give(study, GOOD)


def test_no_more_verdicts_than_are_kept_are_written(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_verdicts, "MAX_VERDICTS", 1)
    study.judge(verdict_result("good"))
    with pytest.raises(Refused, match="Image 1 has 1 verdict already"):
        give(study, BAD)
    give(study, BAD, OWN)  # who has one may still change it


@pytest.mark.parametrize("sample_id", [0, 10**9])
def test_there_is_no_verdict_on_an_image_of_another_study(studio: FakeStudio, study: Study, sample_id: int) -> None:
    with pytest.raises(Refused, match="no image at this address"):
        judge(studio.services, study.id, sample_id, GOOD, BO)
    with pytest.raises(Refused, match="no image at this address"):
        judge(studio.services, study.id + 1, sample_of(study).id, GOOD, BO)


def test_nothing_is_stored_while_label_studio_does_not_answer(studio: FakeStudio, study: Study) -> None:
    studio.client.switch_off()
    with pytest.raises(LabelStudioUnavailable):
        give(study, GOOD)
    studio.client.switch_on()
    assert study.verdicts() == []
