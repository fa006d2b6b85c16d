"""Two people at one round: each verdict counts, and the decision page says how they are counted."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import httpx
import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import Opinion
from datagen.label_studio.api.client import LabelStudio
from datagen.store.tables.base import BatchKind
from second_person import second_person
from studio import ROUND, Studio, Study, asked, text_of, verdict_result

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


@pytest.fixture
def colleague(studio: Studio) -> Iterator[LabelStudio]:
    with second_person(studio.server) as client:
        assert client.whoami() != studio.client.whoami()
        yield client


def test_two_people_who_disagree_both_count_and_the_page_names_the_image(
    studio: Studio, study: Study, colleague: LabelStudio
) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("good"))
    colleague.annotate(study.round_tasks()[0].id, verdict_result("bad", "too small"))
    studio.settle()
    page = study.page()
    assert study.counts() == {"good": 2, "bad": 1, "still to review": ROUND - 2}
    assert "3 verdicts on 2 images: each verdict counts. Good and bad at once: image 1." in text_of(page)
    assert f"2 good, 1 bad on 2 of {ROUND}" in study.decision_tasks()[-1].data["title"]
    assert study.round_tasks()[0].data["verdict"] == "good, bad"
    assert len({row.reviewer for row in study.verdicts()}) == 2
    study.act(StudyEvent.REFINE)
    assert any("1 of 3 verdicts says “too small”" in note for note in study.specs()[-1].notes)
    study.act(StudyEvent.CANCEL)


def test_a_verdict_that_a_colleague_updates_counts_once_as_it_is_now(
    studio: Studio, study: Study, colleague: LabelStudio
) -> None:
    study.review()
    (given,) = study.judge(verdict_result("good"))
    studio.settle()
    [before] = study.verdicts()
    colleague.update_annotation(given, verdict_result("bad", "edges show"))
    studio.settle()
    assert study.counts() == {"good": 0, "bad": 1, "still to review": ROUND - 1}
    assert "What was wrong: edges show (1)" in study.page()
    assert "each verdict counts" not in study.page()
    [row] = study.verdicts()
    assert (row.annotation_id, row.opinion) == (given, Opinion.BAD)
    assert row.reviewer != before.reviewer


def test_a_verdict_sent_twice_is_refused_with_409_and_counts_once(studio: Studio, study: Study) -> None:
    """The editor sends an annotation again when its answer was lost; it has the same unique id."""
    study.review()
    task = study.round_tasks()[0]
    body = {"result": verdict_result("good"), "unique_id": str(uuid.uuid4())}
    headers = {"Authorization": f"Token {studio.server.token}"}
    url = f"{studio.server.url}/api/tasks/{task.id}/annotations/"
    codes = [httpx.post(url, json=body, headers=headers, timeout=30).status_code for _ in range(2)]
    studio.settle()
    assert codes == [httpx.codes.CREATED, httpx.codes.CONFLICT]
    assert study.counts() == {"good": 1, "bad": 0, "still to review": ROUND - 1}


def test_verdicts_that_two_people_give_at_once_all_count(studio: Studio, study: Study, colleague: LabelStudio) -> None:
    study.review()
    tasks = study.round_tasks()

    def judge(client: LabelStudio, opinion: str) -> None:
        for task in tasks:
            client.annotate(task.id, verdict_result(opinion))

    both = [
        threading.Thread(target=judge, args=arguments) for arguments in ((studio.client, "good"), (colleague, "bad"))
    ]
    for person in both:
        person.start()
    for person in both:
        person.join()
    studio.settle()
    assert study.counts() == {"good": ROUND, "bad": ROUND, "still to review": 0}
    assert f"{2 * ROUND} verdicts on {ROUND} images: each verdict counts. Good and bad at once: images 1, 2, 3." in (
        text_of(study.page())
    )


def test_of_two_people_who_decide_at_once_the_first_decides_and_the_other_is_told_who(
    studio: Studio, study: Study, colleague: LabelStudio
) -> None:
    study.review()
    rounds = len(study.batches(BatchKind.ROUND))
    task = study.decision_tasks()[-1]
    studio.client.annotate(task.id, asked("refine"))
    colleague.annotate(task.id, asked("approve", count=5))
    studio.settle()
    assert (len(study.batches(BatchKind.ROUND)), study.row().state) == (rounds + 1, "reviewing")
    page = str(studio.client.task(task.id).data["html"])
    assert f"“refine” was decided here by {study.points()[-2].answered_by} at " in page
    assert studio.server.email in str(study.points()[-2].answered_by)
