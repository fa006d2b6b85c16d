"""The life cycle of a study: what each event means, and which events are refused."""

from __future__ import annotations

from collections import deque

import pytest

from datagen.domain.decision import ACTIONS
from datagen.domain.lifecycle import TABLE, SpecState, StudyEvent, StudyState, Transition, back_to, next_transition
from datagen.errors import Refused

S, V, E = StudyState, SpecState, StudyEvent
#: States in which workers render for the study, or wait for a decision about a run.
BUSY = {S.PREVIEWING, S.AUDITING, S.GENERATING, S.PAUSED}


def states_that_permit(event: StudyEvent) -> set[StudyState]:
    return {state for state in StudyState if (state, event) in TABLE}


def walk(*events: StudyEvent) -> list[Transition]:
    """The transitions of a new study that meets these events, one after the other."""
    state, transitions = S.COLLECTING, []
    for event in events:
        transitions.append(next_transition(state, event))
        state = transitions[-1].study
    return transitions


def test_study_from_its_first_round_over_a_refinement_to_its_second_run() -> None:
    rounds = [E.BUILD_PREVIEW, E.ROUND_READY, E.REFINE, E.ROUND_READY]
    runs = [E.APPROVE, E.RUN_FINISHED, E.APPROVE, E.RUN_FAILED, E.RETRY_RUN, E.RUN_FINISHED]
    assert walk(*rounds, *runs) == [
        Transition(S.PREVIEWING),
        Transition(S.REVIEWING, V.REVIEW),
        Transition(S.PREVIEWING, V.REFINED),
        Transition(S.REVIEWING, V.REVIEW),
        Transition(S.GENERATING, V.ACCEPTED),
        Transition(S.ACCEPTED),
        Transition(S.GENERATING),
        Transition(S.ACCEPTED),
        Transition(S.GENERATING),
        Transition(S.ACCEPTED),
    ]


def test_version_that_is_replaced_by_changed_inputs_is_superseded() -> None:
    assert walk(E.BUILD_PREVIEW, E.ROUND_READY, E.BUILD_PREVIEW)[-1] == Transition(S.PREVIEWING, V.SUPERSEDED)


def test_round_that_failed_can_be_resumed_with_the_version_it_has() -> None:
    failed, resumed = walk(E.BUILD_PREVIEW, E.ROUND_FAILED, E.RETRY_ROUND)[1:]
    assert failed == Transition(S.COLLECTING, V.FAILED, back=True)
    assert resumed == Transition(S.PREVIEWING)
    # the version that replaced the failed one in the meantime is superseded again; an accepted one is kept
    assert next_transition(S.REVIEWING, E.RETRY_ROUND) == Transition(S.PREVIEWING, V.SUPERSEDED)
    assert next_transition(S.ACCEPTED, E.RETRY_ROUND) == Transition(S.PREVIEWING)


def test_nothing_else_is_started_while_workers_render() -> None:
    starting = {E.BUILD_PREVIEW, E.REFINE, E.AUDIT, E.APPROVE, E.RETRY_ROUND, E.RETRY_AUDIT, E.RETRY_RUN}
    assert [(state, event) for state in BUSY for event in starting if (state, event) in TABLE] == []


def test_whatever_starts_work_leads_to_the_state_of_that_work() -> None:
    led_to = {event: {step.study for (_, known), step in TABLE.items() if known is event} for event in StudyEvent}
    for event in (E.BUILD_PREVIEW, E.REFINE, E.RETRY_ROUND):
        assert led_to[event] == {S.PREVIEWING}
    for event in (E.AUDIT, E.RETRY_AUDIT):
        assert led_to[event] == {S.AUDITING}
    for event in (E.APPROVE, E.RESUME, E.RETRY_RUN):
        assert led_to[event] == {S.GENERATING}


def test_each_event_is_possible_where_it_has_a_meaning_and_refused_elsewhere() -> None:
    not_busy = set(StudyState) - BUSY
    assert states_that_permit(E.BUILD_PREVIEW) == not_busy, "inputs can be frozen whenever no work is under way"
    assert states_that_permit(E.REFINE) == states_that_permit(E.APPROVE) == {S.REVIEWING, S.ACCEPTED}, "a version"
    assert states_that_permit(E.AUDIT) == {S.REVIEWING}, "a version that is not decided on"
    assert states_that_permit(E.CANCEL) == BUSY
    assert states_that_permit(E.STOP) == set(StudyState) - {S.STOPPED}
    assert states_that_permit(E.ROUND_READY) == states_that_permit(E.ROUND_FAILED) == {S.PREVIEWING}
    assert states_that_permit(E.AUDIT_READY) == states_that_permit(E.AUDIT_FAILED) == {S.AUDITING}
    assert states_that_permit(E.ALARM) == {S.GENERATING, S.PAUSED}, "a run that a person paused may raise one too"
    assert states_that_permit(E.PAUSE) == {S.GENERATING}
    assert states_that_permit(E.RESUME) == {S.PAUSED}
    assert states_that_permit(E.RETRY_AUDIT) == {S.REVIEWING}
    assert states_that_permit(E.RUN_FINISHED) == states_that_permit(E.RUN_FAILED) == {S.GENERATING}
    assert states_that_permit(E.RETRY_ROUND) == not_busy - {S.STOPPED}
    assert states_that_permit(E.RETRY_RUN) == {S.ACCEPTED}


@pytest.mark.parametrize("state", sorted(states_that_permit(E.STOP)))
def test_stop_ends_the_study_and_the_version_that_is_not_decided_on(state: StudyState) -> None:
    undecided = state in (S.PREVIEWING, S.REVIEWING, S.AUDITING)
    assert next_transition(state, E.STOP) == Transition(S.STOPPED, V.STOPPED if undecided else None)


def test_cancelled_round_stops_its_version_and_a_cancelled_run_keeps_it() -> None:
    assert next_transition(S.PREVIEWING, E.CANCEL) == Transition(S.COLLECTING, V.STOPPED, back=True)
    assert next_transition(S.GENERATING, E.CANCEL) == Transition(S.ACCEPTED)


@pytest.mark.parametrize("end", [E.AUDIT_READY, E.AUDIT_FAILED, E.CANCEL])
def test_version_stays_under_review_however_its_audit_ends(end: StudyEvent) -> None:
    assert walk(E.BUILD_PREVIEW, E.ROUND_READY, E.AUDIT, end)[-2:] == [Transition(S.AUDITING), Transition(S.REVIEWING)]


def test_earlier_version_counts_again_only_where_a_round_came_to_nothing() -> None:
    assert {pair for pair, step in TABLE.items() if step.back} == {
        (S.PREVIEWING, E.ROUND_FAILED),
        (S.PREVIEWING, E.CANCEL),
    }


@pytest.mark.parametrize("state", StudyState)
def test_refusal_names_the_event_and_proposes_only_what_is_possible(state: StudyState) -> None:
    impossible = [event for event in StudyEvent if (state, event) not in TABLE]
    assert impossible
    for event in impossible:
        with pytest.raises(Refused) as refusal:
            next_transition(state, event)
        refused, _, advice = str(refusal.value).partition(": ")
        assert refused == f"“{event.value}” is not possible now"
        assert advice.endswith(".")
        assert [action for action in ACTIONS if f"“{action}”" in advice and (state, action) not in TABLE] == []


def test_no_second_approval_while_a_run_is_under_way() -> None:
    with pytest.raises(Refused, match="“approve” is not possible now: a generation run is under way"):
        next_transition(StudyState.GENERATING, StudyEvent.APPROVE)


def test_every_state_is_reached_and_none_is_a_dead_end() -> None:
    for start in StudyState:
        reached, waiting = {start}, deque([start])
        while waiting:
            here = waiting.popleft()
            for (state, _), step in TABLE.items():
                if state == here and step.study not in reached:
                    reached.add(step.study)
                    waiting.append(step.study)
        assert reached >= set(StudyState) - {StudyState.COLLECTING}
        assert StudyState.COLLECTING in reached


@pytest.mark.parametrize("earlier", SpecState)
def test_after_a_round_that_came_to_nothing_the_earlier_version_can_be_decided_on(earlier: SpecState) -> None:
    step = back_to(earlier)
    assert {(step.study, action) in TABLE for action in (StudyEvent.REFINE, StudyEvent.APPROVE)} == {True}
    assert step.study is not StudyState.REVIEWING or step.spec is SpecState.REVIEW


def test_accepted_version_stays_accepted() -> None:
    """Generated images must stay reproducible: nothing changes a version after its acceptance."""
    assert back_to(V.ACCEPTED) == Transition(S.ACCEPTED)
    of_accepted = (S.GENERATING, S.PAUSED, S.ACCEPTED)
    assert {step.spec for (state, _), step in TABLE.items() if state in of_accepted} == {None}


def test_stopped_version_stays_stopped_when_the_study_is_reopened() -> None:
    assert next_transition(S.STOPPED, E.BUILD_PREVIEW) == Transition(S.PREVIEWING)
