"""An approval that is based on few verdicts, and a refinement that is based on none, have to be confirmed."""

from __future__ import annotations

import pytest

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import NotConfirmed
from datagen.store.tables.base import BatchKind
from datagen.store.tables.studies import StudyRow
from fake_studio import FakeStudio
from studio import ROUND, Study, verdict_result


def test_round_without_verdicts_is_approved_only_when_confirmed(studio: FakeStudio, study: Study) -> None:
    study.decide("approve", count=1, confirmed=False)
    assert f"This approval stands on 0 of {ROUND} previews judged. To go on, tick “I have looked”" in study.page()
    assert study.row().state == StudyState.REVIEWING
    study.act(StudyEvent.APPROVE, count=1, confirmed=True)
    assert study.row().state == StudyState.GENERATING


def test_round_of_mostly_bad_previews_is_approved_only_when_confirmed(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad"), verdict_result("bad"), verdict_result("good"))
    studio.settle()
    with pytest.raises(NotConfirmed, match=f"stands on 3 of {ROUND} previews judged, 1 of 3 verdicts good"):
        study.act(StudyEvent.APPROVE, count=1, confirmed=False)


def test_well_judged_round_needs_no_confirmation(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"), verdict_result("good"), verdict_result("bad"))
    studio.settle()
    study.act(StudyEvent.APPROVE, count=1, confirmed=False)
    assert study.row().state == StudyState.GENERATING


def test_study_says_which_shares_are_enough(studio: FakeStudio, study: Study) -> None:
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).min_judged = 0.0
    study.act(StudyEvent.APPROVE, count=1, confirmed=False)
    assert study.row().state == StudyState.GENERATING


def test_round_without_a_verdict_is_refined_only_when_confirmed(studio: FakeStudio, study: Study) -> None:
    """Refine used up a round without a question, though there was nothing to refine by."""
    number = study.batches(BatchKind.ROUND)[-1].number
    study.decide("refine", confirmed=False)
    page = study.page()
    assert f"No image of preview round {number} is judged yet, so “refine” would only make {ROUND} new samples" in page
    assert "Judge some images in the project Previews first, then refine. To go on, tick “I have looked”" in page
    assert (study.row().state, len(study.batches(BatchKind.ROUND))) == (StudyState.REVIEWING, number)
    study.act(StudyEvent.REFINE, confirmed=True)
    assert study.row().state == StudyState.PREVIEWING


def test_one_verdict_is_enough_to_refine(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad", "too small"))
    study.act(StudyEvent.REFINE, confirmed=False)  # the verdict is read although its event is not handled yet
    assert study.row().state == StudyState.PREVIEWING
