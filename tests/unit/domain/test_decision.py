"""Decisions: the number of images is required, that of an audit is not, and both are limited."""

from __future__ import annotations

import pytest

from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import Refused


@pytest.mark.parametrize("count", [1, 50, 10_000, 1_000_000])
def test_a_number_within_the_bounds(count: int) -> None:
    assert Decision(action=StudyEvent.APPROVE, count=count).checked_count() == count


@pytest.mark.parametrize(
    ("count", "spoken"),
    [(0, "0 images"), (-5, "-5 images"), (1_000_001, "1,000,001"), (10_000_000, "10,000,000 images")],
)
def test_a_number_out_of_bounds_is_repeated_with_the_bounds(count: int, spoken: str) -> None:
    with pytest.raises(Refused, match=rf"{spoken}.* a run makes 1 to 1,000,000\. Decide again with such a number"):
        Decision(action=StudyEvent.APPROVE, count=count).checked_count()


def test_approval_without_a_number_names_the_field() -> None:
    with pytest.raises(Refused, match="“approve” needs the number of images; give it and decide again"):
        Decision(action=StudyEvent.APPROVE).checked_count()


@pytest.mark.parametrize("count", [1, 22, 200])
def test_audit_has_the_number_that_was_given(count: int) -> None:
    assert Decision(action=StudyEvent.AUDIT, audit_count=count).checked_audit_count(5) == count


def test_audit_without_a_number_has_the_number_of_the_settings() -> None:
    assert Decision(action=StudyEvent.AUDIT, count=9000).checked_audit_count(22) == 22


@pytest.mark.parametrize(("count", "spoken"), [(0, "0 samples were"), (-1, "-1 samples"), (201, "201 samples")])
def test_number_of_an_audit_out_of_bounds_is_repeated_with_the_bounds(count: int, spoken: str) -> None:
    with pytest.raises(Refused, match=rf"{spoken}.*; an audit has 1 to 200\. Decide again with such a number"):
        Decision(action=StudyEvent.AUDIT, audit_count=count).checked_audit_count(22)


def test_the_form_offers_what_a_person_decides_and_nothing_that_work_reports() -> None:
    assert [action.value for action in ACTIONS] == [
        "build preview",
        "refine",
        "audit",
        "approve",
        "pause",
        "go on",
        "cancel",
        "stop",
    ]
