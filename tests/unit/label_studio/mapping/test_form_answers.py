"""Form answers are read by the name of their control, whatever else the annotation holds."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import InputProblem
from datagen.label_studio.mapping.form_answers import background_use, decision, verdict
from drawn import choice, number, polygon, text

COPIED = polygon((1, 1), (9, 1), (9, 9), control="label", label="good", origin="prediction")


def test_a_verdict_is_read_though_the_label_of_the_prediction_is_called_good() -> None:
    message = verdict(
        [COPIED, choice("verdict", "bad"), choice("reasons", "too small", "edges show"), text("comment", " a ")]
    )
    assert message == Verdict(
        opinion=Opinion.BAD, reasons=frozenset({Reason.TOO_SMALL, Reason.EDGES_SHOW}), comment="a"
    )


def test_a_comment_of_several_lines_keeps_them() -> None:
    message = verdict([choice("verdict", "good"), text("comment", "one", "", "two")])
    assert message is not None
    assert message.comment == "one\ntwo"


def test_unknown_reason_is_left_out() -> None:
    message = verdict([choice("verdict", "bad"), choice("reasons", "too green", "too large")])
    assert message is not None
    assert message.reasons == {Reason.TOO_LARGE}


@pytest.mark.parametrize(
    "result",
    [
        [],
        None,
        [COPIED],
        [choice("verdict")],
        [choice("verdict", "maybe")],
        [choice("verdict", "good", "bad")],
        [7, {}],
    ],
)
def test_without_good_or_bad_there_is_no_verdict(result: Any) -> None:
    assert verdict(result) is None


@pytest.mark.parametrize(
    ("result", "used"),
    [(None, True), ([], True), ([choice("use", "use")], True), ([choice("use", "exclude")], False), (["junk"], True)],
)
def test_background_is_used_unless_it_was_excluded(result: Any, used: bool) -> None:
    assert background_use(result) is used


def test_a_decision_is_read_from_the_form() -> None:
    form = [choice("action", "approve"), number("count", 200), text("name", "night shift"), text("note", "ok")]
    assert decision(form) == Decision(action=StudyEvent.APPROVE, count=200, name="night shift", note="ok")


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_of_the_form_is_understood(action: StudyEvent) -> None:
    assert decision([choice("action", str(action))]).action is action


@pytest.mark.parametrize("result", [[], None, [choice("action")], [choice("action", "round ready")], ["junk"]])
def test_without_an_action_the_sentence_names_the_choices(result: Any) -> None:
    with pytest.raises(InputProblem, match="“build preview”"):
        decision(result)


@pytest.mark.parametrize("count", [1.5, math.nan, math.inf, "200", True, [200]])
def test_a_number_that_is_no_whole_number_is_a_sentence(count: object) -> None:
    with pytest.raises(InputProblem, match="not a whole number"):
        decision([choice("action", "approve"), number("count", count)])


@pytest.mark.parametrize(("message", "count"), [(200.0, 200), (0, 0), (-3, -3), (10**7, 10**7), (None, None)])
def test_a_number_out_of_bounds_is_kept_for_the_domain_to_refuse(message: object, count: int | None) -> None:
    assert decision([choice("action", "approve"), number("count", message)]).count == count


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
results = st.fixed_dictionaries(
    {
        "from_name": st.sampled_from(["verdict", "reasons", "comment", "action", "count", "name", "use"]) | junk,
        "value": st.fixed_dictionaries({}, optional={"choices": junk, "text": junk, "number": junk}) | junk,
    }
)


@given(st.lists(results | junk, max_size=6))
def test_junk_is_no_answer_and_never_an_exception(result: list[Any]) -> None:
    verdict(result)
    background_use(result)
    with suppress(InputProblem):
        decision(result)
