"""The life of a study, whole: every state meets everything that can happen."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from datagen.domain.decision import ACTIONS
from datagen.domain.lifecycle import TABLE, SpecState, StudyEvent, StudyState, Transition, back_to, next_transition
from datagen.errors import Refused

#: (state, what happens) → (next state, what becomes of the current version).
EXPECTED = {
    ("collecting", "build preview"): ("previewing", None),
    ("collecting", "stop"): ("stopped", None),
    ("previewing", "round ready"): ("reviewing", "review"),
    ("previewing", "round failed"): ("collecting", "failed"),
    ("previewing", "cancel"): ("collecting", "stopped"),
    ("previewing", "stop"): ("stopped", "stopped"),
    ("reviewing", "build preview"): ("previewing", "superseded"),
    ("reviewing", "refine"): ("previewing", "refined"),
    ("reviewing", "approve"): ("generating", "accepted"),
    ("reviewing", "stop"): ("stopped", "stopped"),
    ("generating", "run finished"): ("accepted", None),
    ("generating", "run failed"): ("accepted", None),
    ("generating", "cancel"): ("accepted", None),
    ("generating", "stop"): ("stopped", None),
    ("accepted", "build preview"): ("previewing", None),
    ("accepted", "refine"): ("previewing", None),
    ("accepted", "approve"): ("generating", None),
    ("accepted", "stop"): ("stopped", None),
    ("stopped", "build preview"): ("previewing", None),
    ("collecting", "retry round"): ("previewing", None),
    ("reviewing", "retry round"): ("previewing", "superseded"),
    ("accepted", "retry round"): ("previewing", None),
    ("accepted", "retry run"): ("generating", None),
}

#: Where the version came to nothing, so that an earlier one counts again.
BACK = {("previewing", "round failed"), ("previewing", "cancel")}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(StudyState, StudyEvent)))
def test_what_follows_or_why_not(state: StudyState, event: StudyEvent) -> None:
    expected = EXPECTED.get((state.value, event.value))
    if expected:
        study, spec = expected
        back = (state.value, event.value) in BACK
        assert next_transition(state, event) == Transition(StudyState(study), spec and SpecState(spec), back)
        return
    with pytest.raises(Refused) as refusal:
        next_transition(state, event)
    sentence = str(refusal.value)
    assert sentence.startswith(f"“{event.value}” is not possible now: ")
    assert sentence.endswith(".")


def test_the_table_has_nothing_else() -> None:
    assert {(state.value, event.value) for state, event in TABLE} == set(EXPECTED)


@pytest.mark.parametrize("state", StudyState)
def test_a_refusal_proposes_only_what_is_possible(state: StudyState) -> None:
    impossible = next(event for event in StudyEvent if (state, event) not in TABLE)
    with pytest.raises(Refused) as refusal:
        next_transition(state, impossible)
    _, _, advice = str(refusal.value).partition(": ")
    for action in ACTIONS:
        if f"“{action.value}”" in advice:
            assert (state, action) in TABLE


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


def test_an_accepted_version_stays_accepted() -> None:
    """What was generated must stay reproducible: nothing after acceptance touches the version."""
    assert back_to(SpecState.ACCEPTED) == Transition(StudyState.ACCEPTED)
    for (state, _), step in TABLE.items():
        if state in (StudyState.GENERATING, StudyState.ACCEPTED):
            assert step.spec is None
