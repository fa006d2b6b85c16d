"""An approval with few or bad verdicts has to be confirmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import NotConfirmed
from datagen.store.tables import StudyRow
from studio import ROUND, Studio, Study, said

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


@pytest.fixture
def reviewed(studio: Studio, study: Study) -> Iterator[Study]:
    """A study whose newest round waits for verdicts; no run is left under way."""
    study.review()
    yield study
    if study.row().state == StudyState.GENERATING:
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
