"""An approval with few or bad verdicts, and a refinement without any, have to be confirmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import NotConfirmed
from datagen.store.tables import BatchKind, StudyRow
from studio import ROUND, Studio, Study, said

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


@pytest.fixture
def reviewed(studio: Studio, study: Study) -> Iterator[Study]:
    """A study whose newest round waits for verdicts; no work is left under way."""
    study.review()
    yield study
    if study.row().state in (StudyState.PREVIEWING, StudyState.GENERATING):
        study.act(StudyEvent.CANCEL)


def test_a_round_that_nobody_judged_is_approved_only_when_confirmed(studio: Studio, reviewed: Study) -> None:
    reviewed.decide("approve", count=1, confirmed=False)
    assert f"This approval stands on 0 of {ROUND} previews judged. To go on, tick “I have looked”" in reviewed.page()
    assert reviewed.row().state == StudyState.REVIEWING
    reviewed.act(StudyEvent.APPROVE, count=1, confirmed=True)
    assert reviewed.row().state == StudyState.GENERATING


def test_a_round_of_mostly_bad_previews_is_approved_only_when_confirmed(studio: Studio, reviewed: Study) -> None:
    reviewed.judge(said("bad"), said("bad"), said("good"))
    studio.settle()
    with pytest.raises(NotConfirmed, match=f"stands on 3 of {ROUND} previews judged, 1 of 3 verdicts good"):
        reviewed.act(StudyEvent.APPROVE, count=1, confirmed=False)


def test_a_well_judged_round_needs_no_confirmation(studio: Studio, reviewed: Study) -> None:
    reviewed.judge(said("good"), said("good"), said("bad"))
    studio.settle()
    reviewed.act(StudyEvent.APPROVE, count=1, confirmed=False)
    assert reviewed.row().state == StudyState.GENERATING


def test_the_study_says_which_shares_are_enough(studio: Studio, reviewed: Study) -> None:
    with studio.services.database.write() as session:
        session.get_one(StudyRow, reviewed.id).least_judged = 0.0
    try:
        reviewed.act(StudyEvent.APPROVE, count=1, confirmed=False)
        assert reviewed.row().state == StudyState.GENERATING
    finally:
        with studio.services.database.write() as session:
            session.get_one(StudyRow, reviewed.id).least_judged = None


def test_a_round_without_a_verdict_is_refined_only_when_confirmed(studio: Studio, reviewed: Study) -> None:
    """Refine used up a round without a question, though there was nothing to refine by."""
    number = reviewed.batches(BatchKind.ROUND)[-1].number
    reviewed.decide("refine", confirmed=False)
    page = reviewed.page()
    assert f"No image of preview round {number} is judged yet, so “refine” would only make {ROUND} new samples" in page
    assert "Judge some images in the project Previews first, then refine. To go on, tick “I have looked”" in page
    assert (reviewed.row().state, len(reviewed.batches(BatchKind.ROUND))) == (StudyState.REVIEWING, number)
    reviewed.act(StudyEvent.REFINE, confirmed=True)
    assert reviewed.row().state == StudyState.PREVIEWING


def test_one_verdict_is_enough_to_refine(studio: Studio, reviewed: Study) -> None:
    reviewed.judge(said("bad", "too small"))
    reviewed.act(StudyEvent.REFINE, confirmed=False)  # the verdict is read although no event announced it
    assert reviewed.row().state == StudyState.PREVIEWING
