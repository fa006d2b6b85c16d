"""Each decision in each state of a study: what it writes, and with which sentence it is refused.

The table of transitions itself is tested with the domain; here a study is in the state, and the rows are compared.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.lifecycle import TABLE, StudyEvent, StudyState
from datagen.errors import NotReady, Refused
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow
from datagen.workflow.services import JobKind, JobRequest
from datagen.workflow.studies.maintenance import delete_study, retry
from fake_studio import FakeStudio
from studio import Study

Prepared = tuple[FakeStudio, Study]

#: (state, decision) → state of the study, states of its versions, and the rounds and runs, oldest first.
ALLOWED = {
    ("collecting", "build preview"): ("previewing", ["rendering"], ["round 1 running"]),
    ("collecting", "stop"): ("stopped", [], []),
    ("previewing", "cancel"): ("collecting", ["stopped"], ["round 1 cancelled"]),
    ("previewing", "stop"): ("stopped", ["stopped"], ["round 1 cancelled"]),
    ("reviewing", "build preview"): ("previewing", ["superseded", "rendering"], ["round 1 done", "round 2 running"]),
    ("reviewing", "refine"): ("previewing", ["refined", "rendering"], ["round 1 done", "round 2 running"]),
    ("reviewing", "audit"): ("auditing", ["review"], ["round 1 done", "audit 1 running"]),
    ("auditing", "cancel"): ("reviewing", ["review"], ["round 1 done", "audit 1 cancelled"]),
    ("auditing", "stop"): ("stopped", ["stopped"], ["round 1 done", "audit 1 cancelled"]),
    ("reviewing", "approve"): ("generating", ["accepted"], ["round 1 done", "run 1 running"]),
    ("reviewing", "stop"): ("stopped", ["stopped"], ["round 1 done"]),
    ("generating", "cancel"): ("accepted", ["accepted"], ["round 1 done", "run 1 cancelled"]),
    ("generating", "stop"): ("stopped", ["accepted"], ["round 1 done", "run 1 cancelled"]),
    ("generating", "pause"): ("paused", ["accepted"], ["round 1 done", "run 1 paused"]),
    ("paused", "go on"): ("generating", ["accepted"], ["round 1 done", "run 1 running"]),
    ("paused", "cancel"): ("accepted", ["accepted"], ["round 1 done", "run 1 cancelled"]),
    ("paused", "stop"): ("stopped", ["accepted"], ["round 1 done", "run 1 cancelled"]),
    ("accepted", "build preview"): (
        "previewing",
        ["accepted", "rendering"],
        ["round 1 done", "run 1 done", "round 2 running"],
    ),
    ("accepted", "refine"): (
        "previewing",
        ["accepted", "rendering"],
        ["round 1 done", "run 1 done", "round 2 running"],
    ),
    ("accepted", "approve"): ("generating", ["accepted"], ["round 1 done", "run 1 done", "run 2 running"]),
    ("accepted", "stop"): ("stopped", ["accepted"], ["round 1 done", "run 1 done"]),
    ("stopped", "build preview"): ("previewing", ["stopped", "rendering"], ["round 1 done", "round 2 running"]),
}
DECISIONS = ("build preview", "refine", "audit", "approve", "pause", "go on", "cancel", "stop")
#: Why every other decision is refused.
WHY_NOT = {
    "collecting": "no preview round has been made yet. Choose “build preview” first.",
    "previewing": "a preview round is being made. Wait for it, or cancel it.",
    "reviewing": "a preview round waits for review. Choose “refine”, “audit”, “approve”, “build preview” or “stop”.",
    "auditing": "an audit is being made. Wait for it, or cancel it.",
    "generating": "a generation run is under way. Wait for it, or pause or cancel it.",
    "paused": "the generation run is paused. Choose “go on”, “cancel” or “stop”.",
    "accepted": "nothing is under way. Choose “approve” for another run, “refine” or “build preview”.",
    "stopped": "the study is stopped. Choose “build preview” to open it again.",
}
REFUSED = [pair for pair in itertools.product(WHY_NOT, DECISIONS) if pair not in ALLOWED]


@pytest.fixture
def prepared(in_state: Callable[[StudyState, Path], Prepared], tmp_path: Path) -> Iterator[Callable[[str], Prepared]]:
    """Returns a function that gives a studio whose study is in a state."""
    opened: list[FakeStudio] = []

    def give(state: str) -> Prepared:
        studio, study = in_state(StudyState(state), tmp_path)
        opened.append(studio)
        return studio, study

    yield give
    for studio in opened:
        studio.close()


def form(decision: str) -> dict[str, Any]:
    return {"approve": {"count": 4}, "audit": {"audit_count": 4}}.get(decision, {})


def jobs(studio: FakeStudio) -> set[JobRequest]:
    """The jobs that wait, without those that a reading of the inputs enqueues."""
    return {request for request in studio.queue.queued() if request.job_kind is not JobKind.PROPOSALS}


def batches(study: Study) -> list[str]:
    return [f"{batch.kind} {batch.number} {batch.state}" for batch in study.batches()]


def everything(study: Study) -> tuple[Any, ...]:
    """Return everything that a refused decision must not change."""
    return (
        str(study.row().state),
        [(spec.version, str(spec.state), spec.decided_by) for spec in study.specs()],
        batches(study),
        [(point.number, point.action, point.problem) for point in study.points()],
        study.audit(),
        [(row.kind, row.subject_id, row.revision) for row in study.outbox()],
    )


def test_table_of_transitions_has_the_decisions_of_these_tests() -> None:
    decided = {(str(state), str(event)) for state, event in TABLE if event in DECISIONS}
    assert decided == set(ALLOWED)


@pytest.mark.parametrize(("state", "decision"), list(ALLOWED))
def test_allowed_decision_moves_the_study_and_is_recorded(
    prepared: Callable[[str], Prepared], state: str, decision: str
) -> None:
    studio, study = prepared(state)
    open_before = [point.id for point in study.points() if point.action is None]
    study.act(StudyEvent(decision), **form(decision))

    expected_state, versions, expected_batches = ALLOWED[state, decision]
    assert str(study.row().state) == expected_state
    assert [str(spec.state) for spec in study.specs()] == versions
    assert batches(study) == expected_batches
    assert study.audit()[-1].startswith(f"tester: {decision}")
    answered = [point for point in study.points() if point.id in open_before]
    assert [(point.action, point.answered_by) for point in answered] == [(decision, "tester")] * len(open_before)
    ends = {"previewing": "reviewing", "auditing": "reviewing", "generating": "accepted"}
    # while work is under way, nothing waits for a person
    waits = [point.id for point in study.points() if point.action is None]
    assert len(waits) == (0 if expected_state in ends else 1)

    studio.settle()
    assert str(study.row().state) == ends.get(expected_state, expected_state)
    assert len([point for point in study.points() if point.action is None]) == 1


@pytest.mark.parametrize(("state", "decision"), REFUSED)
def test_other_decision_is_refused_with_what_is_possible_and_changes_nothing(
    prepared: Callable[[str], Prepared], state: str, decision: str
) -> None:
    studio, study = prepared(state)
    before = everything(study)
    waiting = jobs(studio)
    with pytest.raises(Refused, match=re.escape(f"“{decision}” is not possible now: {WHY_NOT[state]}")):
        study.act(StudyEvent(decision), **form(decision))
    assert everything(study) == before
    assert jobs(studio) == waiting


def test_refused_form_says_why_on_its_task_and_in_the_audit_log(prepared: Callable[[str], Prepared]) -> None:
    _, study = prepared("collecting")
    study.decide("refine")
    sentence = f"“refine” is not possible now: {WHY_NOT['collecting']}"
    assert study.points()[-1].problem == sentence
    assert sentence in study.page()
    assert study.audit()[-1] == f"annotator@example.com: refused: {sentence}"


def test_preview_without_inputs_names_what_is_missing(prepared: Callable[[str], Prepared]) -> None:
    studio, _ = prepared("collecting")
    bare = studio.open_study(inputs=False)
    studio.settle()
    with pytest.raises(
        NotReady, match=r"Missing: 6 more concept images.*; 6 more canvas images.*; 6 more background images"
    ):
        bare.act(StudyEvent.BUILD_PREVIEW)
    assert (bare.specs(), bare.batches()) == ([], [])


# -- the ends of work


def break_engine(studio: FakeStudio, study: Study) -> dict[str, Any]:
    """Have the newest version name an engine that is not installed; return the version's body as it was."""
    with studio.services.database.write() as session:
        spec = session.get_one(SpecRow, study.specs()[-1].id)
        body = dict(spec.body)
        spec.body = {**body, "engine": "no-such-engine"}
    return body


def mend_engine(studio: FakeStudio, study: Study, body: dict[str, Any]) -> None:
    with studio.services.database.write() as session:
        session.get_one(SpecRow, study.specs()[-1].id).body = body


@pytest.mark.parametrize(
    ("state", "decision", "after_failure", "versions", "while_retried"),
    [
        ("collecting", "build preview", "collecting", ["failed"], ["rendering"]),
        ("reviewing", "build preview", "reviewing", ["review", "failed"], ["superseded", "rendering"]),
        ("reviewing", "refine", "reviewing", ["review", "failed"], ["refined", "rendering"]),
        ("accepted", "refine", "accepted", ["accepted", "failed"], ["accepted", "rendering"]),
    ],
)
def test_round_that_fails_gives_the_earlier_version_back_and_can_be_retried(
    prepared: Callable[[str], Prepared],
    state: str,
    decision: str,
    after_failure: str,
    versions: list[str],
    while_retried: list[str],
) -> None:
    studio, study = prepared(state)
    study.act(StudyEvent(decision))
    body = break_engine(studio, study)
    studio.settle()
    assert (str(study.row().state), [str(spec.state) for spec in study.specs()]) == (after_failure, versions)
    assert batches(study)[-1].endswith(" failed")
    assert "no engine named 'no-such-engine' is installed" in study.batches()[-1].problem
    assert "engine named" in study.page()
    if state != "collecting":
        number = study.batches(BatchKind.ROUND)[-1].number
        outcome = f"preview round {number} could not be made, so version 1 is here again: "
        assert study.points()[-1].problem.startswith(outcome)

    mend_engine(studio, study, body)
    assert "goes on" in retry(studio.services, study.name, "ann").revived
    assert (str(study.row().state), [str(spec.state) for spec in study.specs()]) == ("previewing", while_retried)
    studio.settle()
    assert str(study.row().state) == "reviewing"
    assert str(study.specs()[-1].state) == "review"


def test_run_that_fails_leaves_its_version_accepted_and_can_be_retried(prepared: Callable[[str], Prepared]) -> None:
    studio, study = prepared("generating")
    body = break_engine(studio, study)
    studio.settle()
    assert (str(study.row().state), batches(study)[-1]) == ("accepted", "run 1 failed")
    mend_engine(studio, study, body)
    assert retry(studio.services, study.name, "ann").revived == "run 1 goes on: 0 finished shards are kept"
    assert str(study.row().state) == "generating"
    studio.settle()
    assert (str(study.row().state), batches(study)[-1]) == ("accepted", "run 1 done")


@pytest.mark.parametrize("state", list(WHY_NOT))
def test_study_is_deleted_with_its_projects_in_any_state(prepared: Callable[[str], Prepared], state: str) -> None:
    studio, study = prepared(state)
    if state in ("previewing", "auditing", "generating", "paused"):
        with pytest.raises(Refused, match="cancel"):
            delete_study(studio.services, study.name, "ann", with_projects=True)
        study.act(StudyEvent.CANCEL)
    delete_study(studio.services, study.name, "ann", with_projects=True)
    for decision in (StudyEvent.STOP, StudyEvent.BUILD_PREVIEW):
        with pytest.raises(Refused, match="the study is not there any more"):
            study.act(decision)
    assert studio.client.find_projects(study.name) == []
    studio.queue.enqueue([JobRequest(kind, study.id) for kind in (JobKind.INPUTS, JobKind.PROPOSALS)])
    studio.work()  # jobs that waited for it have nothing to do
    assert not studio.unfinished()
