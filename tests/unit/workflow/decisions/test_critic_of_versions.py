"""Refine gives the next version a critic, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.learning.critic import Critic
from datagen.store.tables.base import BatchKind
from datagen.store.tables.studies import StudyRow
from datagen.workflow.sample_mapping import trace_of
from fake_studio import FakeStudio
from fake_studio_fixtures import Make, Prepared, beside_another
from studio import Study, text_of, verdict_result

#: A round that is large enough for a critic, and for one that rejects.
ENOUGH = 45


def judged_by_size(folder: Path) -> Prepared:
    """Make a study whose round was judged by the size of what it shows."""
    studio, study = beside_another(ENOUGH, folder)
    sizes = {s.key: trace_of(s).instances[0].draws["size"] for s in study.samples_of(study.batches()[-1])}
    for task in study.round_tasks():
        opinion = "good" if sizes[str(task.data["datagen_key"])] < 1.25 else "bad"
        studio.client.annotate(task.id, verdict_result(opinion))
    studio.settle()
    return studio, study


@pytest.fixture
def judged(copy_of_made: Callable[[Make, Path], Prepared], tmp_path: Path) -> Iterator[Study]:
    studio, study = copy_of_made(judged_by_size, tmp_path)
    yield study
    studio.close()


def test_refined_version_has_a_critic_and_the_page_says_how_good_it_is(judged: Study) -> None:
    studio = judged.studio
    judged.act(StudyEvent.REFINE)
    studio.settle()
    critic = Critic.from_json(judged.specs()[-1].body["critic"])
    assert (critic.verdicts, critic.good, critic.reject_below) == (ENOUGH, 27, 0.2)
    page = text_of(judged.page())
    assert "The critic was learned from 45 verdicts (27 good)." in page
    assert "Audits and runs of this version reject what the critic calls good with less than 20 %" in page
    with studio.services.database.write() as session:
        session.get_one(StudyRow, judged.id).reject_below = 0.0
    judged.act(StudyEvent.REFINE)
    studio.settle()
    assert "reject_below" not in judged.specs()[-1].body["critic"], "the option of the study holds from then on"


def test_verdicts_on_its_round_are_compared_with_what_it_predicted(judged: Study) -> None:
    studio = judged.studio
    judged.act(StudyEvent.REFINE)
    studio.settle()
    for task in judged.round_tasks()[:3]:
        studio.client.annotate(task.id, verdict_result("good"))
    studio.settle()
    assert "The critic of this version expected" in text_of(judged.page())
    assert "of 3 verdicts to be good, and 3 are" in text_of(judged.page())


def test_few_verdicts_give_no_critic_and_the_page_says_so(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"), verdict_result("bad"))
    studio.settle()
    study.act(StudyEvent.REFINE)
    studio.settle()
    assert "critic" not in study.specs()[-1].body
    assert "The critic cannot tell yet: 2 verdicts, 1 of them good" in text_of(study.page())
    assert study.batches(BatchKind.ROUND)[-1].rejections is None
