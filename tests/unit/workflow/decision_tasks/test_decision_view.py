"""The values of a decision page, as they are read from the rows."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.verdict import VerdictRule
from datagen.imaging.png_encoder import encode_png
from datagen.learning.agreement import MIN_COMMON
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.decision_tasks.batch_view import BatchName
from datagen.workflow.decision_tasks.decision_sheet import Caption
from datagen.workflow.decision_tasks.decision_view import (
    DecisionView,
    InputChanges,
    LateVerdicts,
    NewestDecision,
    title_of,
    view_of,
)
from datagen.workflow.decision_tasks.inputs_view import RoleCount, UnlabelledImages
from datagen.workflow.decision_tasks.reviewers_view import Comment, Reviewers
from datagen.workflow.decision_tasks.round_view import ReasonCount, Review
from datagen.workflow.generation import batch_status
from datagen.workflow.generation.contact_sheet import MAX_CELLS
from datagen.workflow.reviews.corrections import ReviewedImage
from datagen.workflow.reviews.verdict_rows import MAX_VERDICTS
from fake_studio import FakeStudio
from studio import ROUND, SHARD, Study, plate, verdict_result

InState = Callable[[StudyState], Study]


@pytest.fixture
def study_in(in_state: Callable[[StudyState, Path], tuple[FakeStudio, Study]], tmp_path: Path) -> Iterator[InState]:
    """Returns a function that makes a study in a state, in a studio of its own."""
    studios: list[FakeStudio] = []

    def study_of(state: StudyState) -> Study:
        folder = tmp_path / str(state)
        folder.mkdir()
        studio, study = in_state(state, folder)
        studios.append(studio)
        return study

    yield study_of
    for studio in studios:
        studio.close()


def view(study: Study, number: int = -1) -> DecisionView:
    """The view of a decision, by default of the newest."""
    with study.studio.rows() as session:
        decision = session.get_one(DecisionRow, study.points()[number].id)
        return view_of(session, decision)


def change(study: Study, row: BatchRow | SpecRow | StudyRow, **values: object) -> None:
    """Write columns of a row."""
    with study.studio.services.database.write() as session:
        session.execute(update(type(row)).where(type(row).id == row.id).values(values))


def change_shard(study: Study, position: int, **values: object) -> None:
    """Write columns of a shard of the newest batch."""
    with study.studio.services.database.write() as session:
        shards = select(ShardRow).where(ShardRow.batch_id == study.batches()[-1].id).order_by(ShardRow.start)
        shard = session.scalars(shards).all()[position]
        for name, value in values.items():
            setattr(shard, name, value)


# -- an open decision: the inputs and the possible answers


def test_first_decision_shows_the_inputs(study_in: InState) -> None:
    study = study_in(StudyState.COLLECTING)
    shown = view(study)
    assert (shown.study, shown.number, shown.problem, shown.was_submitted) == (study.name, 1, "", False)
    assert shown.open is not None
    assert shown.open.actions == (StudyEvent.BUILD_PREVIEW, StudyEvent.STOP)
    assert shown.open.inputs.roles == tuple(
        RoleCount(
            role=role,
            usable=MINIMUM_PER_ROLE,
            minimum=MINIMUM_PER_ROLE,
            recommended=RECOMMENDED_BACKGROUNDS if role is Role.BACKGROUND else None,
            project_id=study.projects[kind],
        )
        for kind, role in zip((ProjectKind.CONCEPTS, ProjectKind.CANVASES, ProjectKind.BACKGROUNDS), Role, strict=True)
    )
    assert shown.open.missing == shown.open.inputs.problems == shown.open.inputs.unlabelled == ()
    assert (shown.answer, shown.progress, shown.round, shown.run, shown.newest, shown.caption) == (None,) * 6
    assert title_of(shown) == "Decision 1 · inputs"


def test_missing_inputs_are_named_and_no_preview_can_be_built(studio: FakeStudio) -> None:
    study = studio.open_study(inputs=False)
    study.give(Role.CONCEPT, [("plain.png", encode_png(plate(1)), [])])
    study.give(Role.BACKGROUND, [("broken.png", b"no picture", [])])
    studio.settle()
    shown = view(study).open
    assert shown is not None
    assert [sentence.partition(" (")[0] for sentence in shown.missing] == [
        "6 more concept images with a box round the concept",
        "6 more canvas images with a polygon where it may appear",
        "6 more background images without the concept",
    ]
    assert shown.actions == (StudyEvent.STOP,)
    assert shown.inputs.unlabelled == (UnlabelledImages(role=Role.CONCEPT, count=1),)
    [problem] = shown.inputs.problems
    assert "broken.png" in problem


def test_refused_answer_is_a_problem_of_the_decision(study_in: InState) -> None:
    study = study_in(StudyState.COLLECTING)
    study.decide("refine")
    shown = view(study)
    assert shown.problem.startswith("“refine” is not possible now: ")
    assert shown.was_submitted


def test_postponed_reading_and_unreadable_projects_are_shown_while_the_decision_is_open(study: Study) -> None:
    change(study, study.row(), waits_for="waits for the image store")
    with study.studio.services.database.write() as session:
        session.get_one(ProjectRow, study.projects[ProjectKind.CONCEPTS]).problem = "Left out: task 7"
    shown = view(study).open
    assert shown is not None
    assert (shown.reading_problem, shown.unreadable) == (
        "waits for the image store; it is tried again",
        ("Left out: task 7",),
    )
    assert view(study, 0).open is None


def test_inputs_changed_since_the_version_are_named(study: Study) -> None:
    shown = view(study).open
    assert shown is not None
    assert shown.input_changes is None
    study.give(Role.BACKGROUND, [("more.png", encode_png(plate(900)), [])])
    study.studio.settle()
    shown = view(study).open
    assert shown is not None
    assert shown.input_changes == InputChanges(version=1, changes=("1 background image added",))


# -- progress


def test_round_that_no_worker_has_begun_waits(study_in: InState) -> None:
    study = study_in(StudyState.PREVIEWING)
    shown = view(study)
    assert shown.answer is not None
    assert (shown.answer.action, shown.answer.by) == ("build preview", "tester")
    assert shown.open is None
    assert shown.newest is None
    progress = shown.progress
    assert progress is not None
    assert progress.batch == BatchName(kind=BatchKind.ROUND, number=1, name="round 1")
    assert (progress.state, progress.count, progress.rendered) == (WorkState.RUNNING, ROUND, 0)
    assert (progress.status_text, progress.time_left, progress.fit_progress) == (batch_status.QUEUED, None, None)
    assert progress.project_id == study.projects[ProjectKind.PREVIEWS]
    assert (progress.warnings, progress.problem, progress.refused_because) == ((), "", "")


def test_time_left_is_estimated_from_the_stored_shards_unless_the_batch_waits(study_in: InState) -> None:
    study = study_in(StudyState.GENERATING)
    change_shard(study, 0, state=WorkState.DONE, rendered_at=now(), seconds=20.0 * SHARD)
    progress = view(study).progress
    assert progress is not None
    assert (progress.count, progress.rendered, progress.time_left) == (SHARD + 1, SHARD, timedelta(seconds=20))
    change(study, study.batches()[-1], status_text="waits for Redis: it does not answer")
    progress = view(study).progress
    assert progress is not None
    assert (progress.status_text, progress.time_left) == ("waits for Redis: it does not answer", None)


def test_samples_of_a_running_shard_count_as_rendered(study_in: InState) -> None:
    study = study_in(StudyState.PREVIEWING)
    change_shard(study, 0, state=WorkState.RUNNING, due_at=now() + timedelta(hours=1), rendered_count=1)
    progress = view(study).progress
    assert progress is not None
    assert (progress.rendered, progress.status_text) == (1, "")


def test_fit_in_progress_is_shown_until_the_first_sample(study_in: InState) -> None:
    study = study_in(StudyState.PREVIEWING)
    change(study, study.batches()[-1], fit_progress=0.25, status_text="step 1 of 4")
    progress = view(study).progress
    assert progress is not None
    assert (progress.fit_progress, progress.status_text) == (0.25, "step 1 of 4")
    change_shard(study, 0, state=WorkState.RUNNING, rendered_count=1)
    progress = view(study).progress
    assert progress is not None
    assert progress.fit_progress is None


def test_ended_batch_has_no_activity_and_links_to_the_newest_decision(study: Study) -> None:
    change(study, study.batches()[-1], status_text="step 4 of 4", fit_progress=1.0, warnings=["dark"], problem="odd")
    shown = view(study, 0)
    assert shown.progress is not None
    assert (shown.progress.state, shown.progress.status_text) == (WorkState.DONE, "")
    assert (shown.progress.fit_progress, shown.progress.time_left) == (None, None)
    assert (shown.progress.warnings, shown.progress.problem) == (("dark",), "odd")
    newest = study.points()[-1]
    project_id = study.projects[ProjectKind.DECISIONS]
    assert shown.newest == NewestDecision(number=2, task_id=newest.task_id, project_id=project_id)
    assert view(study).newest is None


def test_decision_whose_work_is_resumed_does_not_link_to_a_later_one(study: Study) -> None:
    change(study, study.batches()[-1], state=WorkState.RUNNING)
    assert view(study, 0).newest is None


def test_change_that_label_studio_refused_is_shown_with_its_reason(study: Study) -> None:
    with study.studio.services.database.write() as session:
        row = OutboxRow(
            study_id=study.id, kind=OutboxKind.TABS, subject_id=99, state=WorkState.FAILED, error="too long"
        )
        session.add(row)
    progress = view(study, 0).progress
    assert progress is not None
    assert progress.refused_because == "too long"


# -- a round


def test_round_without_verdicts_waits_for_all_of_them(study: Study) -> None:
    shown = view(study)
    assert shown.round is not None
    assert (str(shown.round.name), shown.round.version, shown.round.count) == ("preview round 1", 1, ROUND)
    assert (shown.round.good, shown.round.bad, shown.round.judged, shown.round.problem) == (0, 0, 0, "")
    assert shown.round.review == Review(
        is_open=True,
        left=ROUND,
        deleted=0,
        project_id=study.projects[ProjectKind.PREVIEWS],
        reviewers=Reviewers(
            verdicts=0,
            images=0,
            rule=VerdictRule.EACH,
            disputed=(),
            pairs=(),
            other_pairs=0,
            min_common=MIN_COMMON,
            one_sided=(),
            study_name=shlex.quote(study.name),
        ),
        wrong=(),
        noted=(),
        full=(),
        max_verdicts=MAX_VERDICTS,
        corrections=None,
    )
    assert shown.round.details.is_first
    assert shown.round.details.findings == ("a square is painted in the middle",)
    assert shown.caption == Caption(
        batch=BatchName(kind=BatchKind.ROUND, number=1, name="round 1"), version=1, first_images=None
    )
    assert title_of(shown) == f"Decision 2 · round 1, version 1, 0 good, 0 bad of {ROUND}"


def test_verdicts_are_counted_with_their_reasons_and_comments(study: Study) -> None:
    study.judge(
        verdict_result("bad", "too small", "edges show", comment="a halo"),
        verdict_result("bad", "too small"),
        verdict_result("good"),
    )
    tasks = study.round_tasks()
    study.studio.client.annotate(tasks[0].id, verdict_result("good", "too strong"))
    study.studio.settle()
    shown = view(study)
    assert shown.round is not None
    assert (shown.round.good, shown.round.bad, shown.round.judged) == (2, 2, 3)
    review = shown.round.review
    assert review is not None
    first = ReviewedImage(number=1, task_id=tasks[0].id, project_id=study.projects[ProjectKind.PREVIEWS])
    assert (review.left, [disputed.image for disputed in review.reviewers.disputed]) == (0, [first])
    assert review.wrong == (ReasonCount(reason="too small", count=2), ReasonCount(reason="edges show", count=1))
    assert review.noted == (ReasonCount(reason="too strong", count=1),)
    assert shown.round.details.comments == (
        Comment(image=first, reviewer=study.studio.email, text="a halo", counts=True),
    )
    assert title_of(shown).endswith(f"2 good, 2 bad on 3 of {ROUND}")


def test_deleted_review_task_is_not_left_to_review(study: Study) -> None:
    with study.studio.services.database.write() as session:
        samples = select(SampleRow).where(SampleRow.batch_id == study.batches()[-1].id).order_by(SampleRow.index)
        session.scalars(samples).all()[0].task_id = None
    shown = view(study)
    assert shown.round is not None
    assert shown.round.review is not None
    assert (shown.round.review.left, shown.round.review.deleted) == (ROUND - 1, 1)


def test_round_that_was_not_completed_has_no_review(study: Study) -> None:
    change(study, study.batches()[-1], state=WorkState.FAILED, problem="rendering failed")
    shown = view(study)
    assert shown.round is not None
    assert (shown.round.review, shown.round.problem) == (None, "rendering failed")


def test_findings_are_grouped_by_their_purpose(study: Study) -> None:
    lines = ["Note: photo a: it is small", "Details: IoU 0.80", "pit: 6 examples are used."]
    change(study, study.specs()[-1], findings=lines, notes=["size is lowered"])
    shown = view(study)
    assert shown.round is not None
    details = shown.round.details
    assert (details.warnings, details.methods) == (("photo a: it is small",), ("IoU 0.80",))
    assert (details.findings, details.changes) == (("pit: 6 examples are used.",), ("size is lowered",))


def test_caption_of_a_large_round_names_the_images_on_the_sheet(study: Study) -> None:
    change(study, study.batches()[-1], count=MAX_CELLS + 1)
    caption = view(study).caption
    assert caption is not None
    assert caption.first_images == MAX_CELLS


def test_late_verdicts_are_shown_with_the_decision_that_preceded_them(study: Study) -> None:
    tasks = study.round_tasks()
    study.decide(StudyEvent.REFINE)
    study.studio.client.annotate(tasks[0].id, verdict_result("good"))
    study.studio.settle()
    late = LateVerdicts(batch="round 1", count=1, outcome="it was refined")
    decided, newest = view(study, 1), view(study)
    assert decided.late == newest.late == (late,)
    assert decided.round is not None
    assert decided.round.review is not None
    assert not decided.round.review.is_open
    assert newest.round is not None
    assert (newest.round.version, newest.round.details.is_first) == (2, False)


# -- a run


def test_approved_round_shows_the_progress_of_its_run(study_in: InState) -> None:
    study = study_in(StudyState.GENERATING)
    shown = view(study)
    assert shown.progress is not None
    assert shown.progress.batch.kind is BatchKind.RUN
    assert shown.progress.project_id == study.projects[ProjectKind.DATASET]
    assert shown.round is not None
    assert title_of(shown) == f"Decision 2 · round 1, version 1, 0 good, 0 bad of {ROUND} · approve"


def test_finished_run_says_how_much_is_published_and_how_to_export_it(study_in: InState) -> None:
    study = study_in(StudyState.ACCEPTED)
    shown = view(study)
    run = shown.run
    assert run is not None
    assert (run.state, run.count, run.published, run.annotated) == (WorkState.DONE, 3, 3, True)
    assert run.project_id == study.projects[ProjectKind.DATASET]
    assert run.export_name == shlex.quote(study.name)
    assert shown.round is None
    assert shown.open is not None
    assert shown.open.actions == (StudyEvent.BUILD_PREVIEW, StudyEvent.REFINE, StudyEvent.APPROVE, StudyEvent.STOP)
    assert title_of(shown) == f"Decision 3 · run “{run.name}”, version 1, 3 images, done"
    change(study, study.row(), annotate_up_to=2)
    larger = view(study).run
    assert larger is not None
    assert not larger.annotated


def test_failed_run_shows_its_problem_and_warnings(study_in: InState) -> None:
    study = study_in(StudyState.ACCEPTED)
    change(study, study.batches()[-1], state=WorkState.FAILED, problem="rendering failed", warnings=["dark"])
    run = view(study).run
    assert run is not None
    assert (run.state, run.problem, run.warnings) == (WorkState.FAILED, "rendering failed", ("dark",))
