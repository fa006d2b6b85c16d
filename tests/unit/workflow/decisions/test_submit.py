"""Decisions as people make them on decision tasks: what each writes, and what is refused with which sentence."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.spec import Spec
from datagen.errors import NotReady
from datagen.export.selection import Selection
from datagen.label_studio.api.models import Task
from datagen.queue.jobs import EVENTS, PUBLISHING
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.decisions import actions, submit
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.studies import export
from datagen.workflow.studies.audit import audit_lines
from fake_studio import FakeStudio
from studio import ROUND, Study, asked, verdict_result


def text(page: str) -> str:
    """Return the text of a page, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def round_before(study: Study) -> list[Task]:
    """The review tasks of the newest round that is made, in the order of index."""
    number = str(study.batches(BatchKind.ROUND)[-2].number)
    tasks = [task for task in study.tasks(ProjectKind.PREVIEWS) if task.data["round"] == number]
    return sorted(tasks, key=lambda task: int(task.data["index"]))


def shards(studio: FakeStudio, batch: BatchRow) -> list[ShardRow]:
    with studio.rows() as session:
        return list(session.query(ShardRow).where(ShardRow.batch_id == batch.id).order_by(ShardRow.start))


def test_refine_creates_a_child_version_with_changed_parameters_and_says_why(studio: FakeStudio, study: Study) -> None:
    parent = study.specs()[-1]
    study.judge(*[verdict_result("bad", "too small")] * ROUND)
    study.decide("refine")

    child = study.specs()[-1]
    assert (child.parent_id, child.version, str(child.state)) == (parent.id, parent.version + 1, "review")
    assert studio.email in child.created_by
    before, after = Spec.from_json(parent.body), Spec.from_json(child.body)
    assert "preference" in after.parameters
    assert (after.concepts, after.canvases, after.backgrounds) == (before.concepts, before.canvases, before.backgrounds)
    assert any(f"{ROUND} of {ROUND} verdicts say “too small”" in note for note in child.notes)
    assert "3 of 3 verdicts say “too small”" in text(study.page())
    decided = study.specs()[-2]
    assert str(decided.state) == "refined"
    assert decided.decided_at is not None
    assert studio.email in str(decided.decided_by)


def test_approve_freezes_the_version_and_fills_the_dataset(studio: FakeStudio, study: Study) -> None:
    had = len(study.tasks(ProjectKind.DATASET))
    study.decide("approve", count=5, name="first <run>")

    version, run = study.specs()[-1], study.batches(BatchKind.RUN)[-1]
    assert str(version.state) == "accepted"
    assert studio.email in str(version.decided_by)
    assert (run.name, run.count, str(run.state)) == ("first <run>", 5, "done")
    assert studio.email in run.requested_by
    tasks = [task for task in study.tasks(ProjectKind.DATASET) if task.data["run"] == str(run.number)]
    assert len(tasks) == 5
    assert len(study.tasks(ProjectKind.DATASET)) == had + 5
    assert [int(task.data["index"]) for task in tasks] == list(range(ROUND, ROUND + 5))
    kinds = {region["type"] for region in studio.client.predictions(tasks[0].id)[0]["result"]}
    assert kinds == {"polygonlabels"}
    assert "5 of 5 labelled images" in text(study.page())
    assert "first &lt;run&gt;" in study.page()
    assert "<run>" not in study.page()
    assert f"{studio.email}: approve (run {run.number} “first <run>”, 5 images)" in study.audit()[-1]


def test_second_approval_of_a_decision_is_refused_and_starts_no_second_run(studio: FakeStudio, study: Study) -> None:
    decision = study.decision_tasks()[-1]
    answer = study.decide("approve", count=2)
    runs = len(study.batches(BatchKind.RUN))

    for again in (
        lambda: studio.client.annotate(decision.id, asked("approve", count=2)),
        lambda: studio.client.update_annotation(answer, asked("approve", count=3)),
    ):
        again()
        studio.settle()
        shown = text(str(studio.client.task(decision.id).data["html"]))
        assert "Not done: “approve” was decided here by" in shown
        assert re.search(r"version \d+ is accepted and its run “run \d+” is done. Nothing was started again", shown)
    assert len(study.batches(BatchKind.RUN)) == runs


def test_invalid_number_of_images_is_refused_until_it_is_corrected(studio: FakeStudio, study: Study) -> None:
    runs = len(study.batches(BatchKind.RUN))
    answer = study.decide("approve")
    for form, sentence in (
        (asked("approve"), "“approve” needs the number of images; give it and decide again."),
        (asked("approve", count=0), "0 images were asked for; a run makes 1 to 1,000,000."),
        (asked("approve", count=10_000_000), "10,000,000 images were asked for; a run makes 1 to 1,000,000."),
        (asked("approve", count=2.5), "the number of images, '2.5', is not a whole number; change it and update."),
        (asked(None, count=3), "no action was chosen; choose “build preview”, “refine”,"),
    ):
        studio.client.update_annotation(answer, form)
        studio.settle()
        assert f"Not done: {sentence}" in text(study.page())
        # the button is grey until the form was changed
        assert "To try the same again, untick and tick the answer, then press Update ." in text(study.page())
        assert (study.row().state, len(study.batches(BatchKind.RUN))) == ("reviewing", runs)
    assert str(study.specs()[-1].state) == "review"

    studio.client.update_annotation(answer, asked("approve", count=1))
    studio.settle()

    assert [str(run.state) for run in study.batches(BatchKind.RUN)[runs:]] == ["done"]
    assert "Not done" not in study.page(-2)


def test_cancelled_run_keeps_its_finished_shards(
    studio: FakeStudio, study: Study, tmp_path_factory: pytest.TempPathFactory
) -> None:
    had = len(study.tasks(ProjectKind.DATASET))
    study.decide("approve", count=6, settle=False)
    studio.work(EVENTS)
    run = study.batches(BatchKind.RUN)[-1]
    with studio.services.database.write() as session:  # it waited in the queue: that says nothing about the rest
        session.get_one(BatchRow, run.id).requested_at = now() - timedelta(hours=9)
    render_shard(studio.services, FittedEngineCache(studio.services), shards(studio, run)[0].id)
    studio.work(PUBLISHING)

    shown = text(study.page())
    assert re.search(rf"Run “run {run.number}”: 2 of 6 synthesized, running, about \d+ s left", shown)
    assert "To pause it, tick pause , or to end it, tick cancel in this task, then press Update ." in shown

    study.decide("cancel")  # on the task that started it

    assert [str(shard.state) for shard in shards(studio, run)] == ["done", "cancelled", "cancelled"]
    run = study.batches(BatchKind.RUN)[-1]
    assert (str(run.state), study.row().state) == ("cancelled", "accepted")
    assert run.problem == f"cancelled by {study.points()[-2].answered_by}"
    assert len(study.tasks(ProjectKind.DATASET)) == had + 2
    assert study.points()[-1].action is None
    assert "Possible now: <b>" in study.page()
    written = export.export_study(
        studio.services,
        study.name,
        tmp_path_factory.mktemp("zip") / "kept.zip",
        selection=Selection(runs=(run.number,)),
    )
    assert written.samples == 2

    study.decide("approve", count=1)
    assert study.samples_of(study.batches(BatchKind.RUN)[-1])[0].index == ROUND + 6


@pytest.mark.parametrize("how", ["build preview", "refine"])
def test_cancelled_round_gives_the_earlier_version_back(studio: FakeStudio, study: Study, how: str) -> None:
    version = study.specs()[-1]
    study.judge(verdict_result("good"), verdict_result("bad", "too small"))
    study.decide(how, settle=False)
    studio.work(EVENTS)
    studio.client.annotate(round_before(study)[-1].id, verdict_result("good"))
    studio.work(EVENTS)
    study.decide("cancel")

    assert (study.row().state, str(study.specs()[-1].state)) == ("reviewing", "stopped")
    kept = study.specs()[-2]
    assert (kept.id, str(kept.state), kept.decided_by) == (version.id, "review", None)
    assert study.counts() == {"good": 2, "bad": 1, "still to review": 0}  # also what was said meanwhile
    assert "refine (version 1, by the verdicts up to round 1), audit (version 1, " in text(study.page())
    assert "to state what share is acceptable), approve (version 1), stop" in text(study.page())
    assert f"version {version.version}</h3>" in study.page()

    study.decide("refine")
    child = study.specs()[-1]
    assert (child.parent_id, child.version, str(child.state)) == (version.id, version.version + 2, "review")


def test_cancelled_round_leaves_an_accepted_version_accepted(studio: FakeStudio, study: Study) -> None:
    version = study.specs()[-1]
    study.decide("approve", count=1)
    study.decide("build preview", settle=False)
    studio.work(EVENTS)
    study.decide("cancel")
    assert study.row().state == "accepted"
    assert "1 of 1 labelled image is in" in text(study.page())
    study.decide("approve", count=2)
    assert study.batches(BatchKind.RUN)[-1].spec_id == version.id


def test_cancelled_first_round_leaves_the_study_collecting(studio: FakeStudio) -> None:
    new = studio.open_study()
    studio.settle()
    new.act(StudyEvent.BUILD_PREVIEW)
    new.act(StudyEvent.CANCEL)
    studio.settle()
    assert (new.row().state, str(new.specs()[-1].state)) == ("collecting", "stopped")
    assert "Possible now: <b>build preview</b>, <b>stop</b>." in new.page()


def test_stopped_study_is_reopened_by_a_new_preview(studio: FakeStudio, study: Study) -> None:
    study.decide("stop")
    assert (study.row().state, str(study.specs()[-1].state)) == ("stopped", "stopped")
    study.decide("approve", count=1)
    assert "the study is stopped. Choose “build preview” to open it again." in text(study.page())
    study.decide("build preview")
    assert study.row().state == "reviewing"


def test_further_run_of_an_accepted_version_continues_its_indices(studio: FakeStudio, study: Study) -> None:
    study.decide("approve", count=2)
    version = study.specs()[-1]
    study.decide("approve", count=3)

    first, second = study.batches(BatchKind.RUN)[-2:]
    assert first.spec_id == second.spec_id == version.id
    indices = [row.index for run in (first, second) for row in study.samples_of(run)]
    assert indices == list(range(ROUND, ROUND + 5))
    images = {row.body["image"]["digest"] for run in (first, second) for row in study.samples_of(run)}
    assert len(images) == 5


def test_start_training_without_inputs_shows_what_is_missing(studio: FakeStudio) -> None:
    bare = studio.open_study(inputs=False)
    studio.settle()
    studio.start_training(bare.projects[ProjectKind.CONCEPTS])
    studio.settle()
    assert "Not done: a preview cannot be built yet. Missing: 6 more concept images" in text(bare.page())
    with pytest.raises(NotReady, match="6 more background images"):
        bare.act(StudyEvent.BUILD_PREVIEW)


def test_answer_whose_event_arrives_twice_decides_once(studio: FakeStudio, study: Study) -> None:
    study.decide("build preview")
    state = (study.row().state, len(study.batches()), len(study.specs()), len(study.audit()))
    answer = next(event for event in reversed(study.events(ProjectKind.DECISIONS)) if event.annotation_ids)
    for _ in range(2):
        studio.replay(answer)
    studio.settle()
    assert (study.row().state, len(study.batches()), len(study.specs()), len(study.audit())) == state
    assert "Not done" not in study.page(-2)


def test_deleted_decision_task_is_created_again(studio: FakeStudio, study: Study) -> None:
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [study.decision_tasks()[-1].id])
    study.judge(verdict_result("good"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 0, "still to review": 2}
    assert [task.id for task in study.decision_tasks()][-1] == study.points()[-1].task_id


def test_skipped_decision_decides_nothing(studio: FakeStudio, study: Study) -> None:
    before = len(study.batches())
    studio.client.annotate(study.decision_tasks()[-1].id, asked("build preview"), was_cancelled=True)
    studio.settle()
    assert len(study.batches()) == before
    assert study.points()[-1].action is None


def test_first_of_the_answers_on_a_task_and_its_copy_decides(studio: FakeStudio, study: Study) -> None:
    rounds = len(study.batches())
    task = study.decision_tasks()[-1]
    [copy] = study.copy(ProjectKind.DECISIONS, task.id, with_annotations=False)
    for each in (copy, task.id):
        studio.client.annotate(each, asked("refine"))
    studio.settle()
    assert len(study.batches()) == rounds + 1
    refused = [line for line in study.audit() if "“refine” was decided here by" in line]
    assert len(refused) == 1


def test_copy_of_a_decision_task_in_another_study_decides_nothing(studio: FakeStudio, study: Study) -> None:
    rounds = len(study.batches())
    other = studio.open_study(inputs=False)
    data = study.decision_tasks()[-1].data
    [elsewhere] = studio.client.import_tasks(other.projects[ProjectKind.DECISIONS], [{"data": data}])
    studio.client.annotate(elsewhere, asked("refine"))
    studio.settle()
    assert len(study.batches()) == rounds


def test_answer_inherited_by_a_copy_decides_nothing_though_the_original_is_deleted(
    studio: FakeStudio, study: Study
) -> None:
    task = study.decision_tasks()[-1]
    studio.client.annotate(task.id, asked("stop"))
    studio.settle()
    [copy] = study.copy(ProjectKind.DECISIONS, task.id)
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [task.id])
    study.review()
    submit.handle_answer(studio.services, study.projects[ProjectKind.DECISIONS], studio.client.task(copy))
    assert study.row().state == StudyState.REVIEWING


def test_answer_on_a_replacement_task_whose_id_is_not_stored_decides(studio: FakeStudio, study: Study) -> None:
    """As after a worker was killed between creating the new task and storing its id."""
    rounds = len(study.batches())
    task = study.decision_tasks()[-1]
    [new] = study.copy(ProjectKind.DECISIONS, task.id, with_annotations=False)
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [task.id])
    studio.client.annotate(new, asked("refine"))
    studio.settle()
    assert len(study.batches()) == rounds + 1


def test_event_of_several_answers_is_handled_though_one_task_is_deleted(studio: FakeStudio, study: Study) -> None:
    rounds = len(study.batches())
    task = study.decision_tasks()[-1]
    gone = study.copy(ProjectKind.DECISIONS, task.id, with_annotations=False)
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], gone)
    annotation = studio.client.annotate(task.id, asked("refine"))
    with studio.services.database.write() as session:  # Label Studio's own event of it
        session.execute(delete(InboxRow).where(InboxRow.project_id == study.projects[ProjectKind.DECISIONS]))
    body = {
        "action": "ANNOTATIONS_CREATED",
        "project": {"id": study.projects[ProjectKind.DECISIONS]},
        "task": [{"id": gone[0]}, {"id": task.id}],
        "annotation": [{"id": annotation}],
    }
    studio.post_webhook(json.dumps(body).encode(), secret=studio.secret_of(study.id))
    studio.settle()
    assert len(study.batches()) == rounds + 1


def test_open_decision_whose_task_is_deleted_gets_a_new_task(studio: FakeStudio, study: Study) -> None:
    rounds = len(study.batches())
    deleted = study.decision_tasks()[-1]
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [deleted.id])
    studio.settle()
    assert study.decision_tasks()[-1].data["datagen_key"] == deleted.data["datagen_key"]
    study.decide("refine")
    assert len(study.batches()) == rounds + 1


def test_answers_beyond_the_limit_are_refused(studio: FakeStudio, study: Study) -> None:
    """Each answer costs a reading of the round: whoever may annotate could keep a worker busy for ever."""
    decision = study.decision_tasks()[-1]
    with studio.services.database.write() as session:
        point = session.scalars(select(DecisionRow).where(DecisionRow.task_id == decision.id)).one()
        point.answer = {str(-number): "earlier" for number in range(submit.MAX_ANSWERS)}
    versions = len(study.specs())
    studio.client.annotate(decision.id, asked("refine"))
    studio.settle()
    assert len(study.specs()) == versions
    assert f"More than {submit.MAX_ANSWERS} answers were given on this decision task" in text(study.page())


def test_second_answer_is_refused_before_the_round_is_read(studio: FakeStudio, study: Study) -> None:
    decision = study.decision_tasks()[-1]
    study.decide("refine")
    project = study.projects[ProjectKind.PREVIEWS]
    studio.client.annotate(decision.id, asked("refine"))
    before = len(studio.client.requests)
    submit.handle_answered_tasks(studio.services, study.projects[ProjectKind.DECISIONS], ids=[decision.id])
    requests = studio.client.requests[before:]
    assert requests
    assert not [name for name, args in requests if project in args]
    studio.settle()
    assert "“refine” was decided here by" in text(str(studio.client.task(decision.id).data["html"]))


def test_name_and_note_are_in_the_audit_and_on_the_decided_task(studio: FakeStudio, study: Study) -> None:
    """Notes that were typed at refine and approve, and the run's name, were shown nowhere."""
    study.decide("refine", note="the spots are\ntoo dark")
    study.decide("approve", count=1, name="spring", note="good enough")
    study.decide("stop", note="done for now")
    lines = [line["what"] for line in audit_lines(studio.services.database, study.name)][-3:]
    number = study.batches(BatchKind.ROUND)[-1].number
    assert lines == [
        f"refine (round {number}, {ROUND} images), note: the spots are too dark",
        "approve (run 1 “spring”, 1 image), note: good enough",
        "stop, note: done for now",
    ]
    refined, approved, stopped = (text(study.page(number)) for number in (-4, -3, -2))
    assert "Note: the spots are too dark" in refined
    assert "Run: “spring” Note: good enough" in approved
    assert "Note: done for now" in stopped


def test_possible_actions_say_what_they_are_about(studio: FakeStudio, study: Study) -> None:
    """“Possible now: refine” after a run did not say of what, and “build preview” not that it ends the open round."""
    number, version = study.batches(BatchKind.ROUND)[-1].number, study.specs()[-1].version
    page = text(study.page())
    assert f"build preview (it ends round {number}, and its verdicts change nothing in the new version)," in page
    assert (
        f"refine (version {version}, by the verdicts up to round {number}), audit (version {version}, to state" in page
    )
    assert f"approve (version {version})," in page
    study.decide("approve", count=1)
    page = text(study.page())
    assert "build preview (a new version from the inputs)," in page
    assert f"refine (version {version}, by the verdicts up to round {number})," in page
    assert f"approve (version {version}, another run)," in page


@pytest.mark.parametrize("meanwhile", ["nothing", "a verdict"])
def test_refinement_is_computed_before_the_study_is_locked_and_again_if_a_verdict_came_meanwhile(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    study.judge(verdict_result("bad", "too small"))
    studio.settle()
    prepare, refine_for, rounds = submit.prepare, actions.refine_for, []

    def prepared(*arguments):
        done = prepare(*arguments)
        if meanwhile == "a verdict":
            studio.client.annotate(study.round_tasks()[1].id, verdict_result("bad", "too large"))
            studio.work(EVENTS)
        return done

    def counted(engine, parameters, judged):
        rounds.append(len(judged[-1]))
        return refine_for(engine, parameters, judged)

    monkeypatch.setattr(submit, "prepare", prepared)
    monkeypatch.setattr(actions, "refine_for", counted)
    study.act(StudyEvent.REFINE)
    assert rounds == ([1] if meanwhile == "nothing" else [1, 2])
    notes = " ".join(study.specs()[-1].notes)
    assert ("too large" in notes) == (meanwhile == "a verdict")
