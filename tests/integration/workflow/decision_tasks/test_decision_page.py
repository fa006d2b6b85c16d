"""The contents of the decision page: each event, in words, with the next action."""

from __future__ import annotations

import html
import re

import pytest

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.imaging.png_encoder import encode_png
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import ShardRow
from datagen.workflow.generation import batch_status
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.studies.queries import describe
from studio import ROUND, Studio, Study, choice, plate, verdict_result

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


def text(page: str) -> str:
    """Return the text of a page, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_reasons_on_a_good_image_are_shown_apart_from_what_was_wrong(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good", "too small"), verdict_result("bad", "edges show"))
    studio.settle()
    page = text(study.page())
    assert "What was wrong: edges show (1) Noted on good images, changes nothing: too small (1)" in page
    study.act(StudyEvent.REFINE)
    notes = study.specs()[-1].notes
    assert not any("“too small”" in note for note in notes)
    assert any("ticked on 1 good image changes nothing" in note for note in notes)
    study.act(StudyEvent.CANCEL)


def test_late_verdicts_are_told_on_the_page_where_they_are_news_alone(studio: Studio, study: Study) -> None:
    """“3 verdicts on round 1 came after it was refined” stood on every later page."""
    study.review()
    first = study.round_tasks()
    sentence = f"verdict on round {first[0].data['round']} came or changed after it was refined"
    study.decide(StudyEvent.REFINE)
    studio.client.annotate(first[0].id, verdict_result("good"))
    studio.settle()
    assert f"1 {sentence}" in study.page()
    study.decide(StudyEvent.REFINE)
    pages = [text(study.page(number)) for number in (-3, -2, -1)]
    assert [sentence in page for page in pages] == [True, True, False]
    studio.client.annotate(first[1].id, verdict_result("good"))  # … and one more, two rounds later
    studio.settle()
    assert f"1 {sentence}" in study.page()
    assert f"1 {sentence}" in study.page(-2)
    assert f"2 {sentence.replace('verdict', 'verdicts')}" in study.page(-3)


def test_a_verdict_changed_late_again_is_news_again(studio: Studio, study: Study) -> None:
    study.review()
    (given, *_) = study.judge(verdict_result("bad"), verdict_result("bad"))
    studio.settle()
    study.decide(StudyEvent.REFINE)
    study.change(given, result=verdict_result("good"))
    studio.settle()
    assert "came or changed after it was refined" in study.page()
    study.decide(StudyEvent.REFINE)
    assert "came or changed after" not in study.page()
    study.change(given, result=verdict_result("bad", "edges show"))
    studio.settle()
    assert "1 verdict on round" in study.page()


def test_inputs_changed_since_the_version_are_named_with_what_to_do(studio: Studio, study: Study) -> None:
    version = study.review()
    assert "The inputs changed" not in study.page()
    new, other = study.give(Role.BACKGROUND, [(f"more-{n}.png", encode_png(plate(900 + n)), []) for n in range(2)])
    canvas = study.tasks(ProjectKind.CANVASES)[0]
    drawn_anew = [
        {**region, "value": {**region["value"], "points": [[20, 20], [80, 20], [80, 80], [20, 80]]}}
        for region in canvas.annotations[0].result
    ]
    studio.client.update_annotation(canvas.annotations[0].id, drawn_anew)
    studio.client.annotate(other, [choice("use", "exclude")])
    studio.settle()
    page = text(study.page())
    assert f"The inputs changed since version {version.version} was built: " in page
    assert "1 canvas image drawn anew, 1 background image added. refine and approve go on with the inputs of" in page
    assert "build preview makes a new version from the inputs as they are now." in page
    study.decide(StudyEvent.BUILD_PREVIEW)
    assert "The inputs changed" not in study.page()
    studio.client.delete_tasks(study.projects[ProjectKind.BACKGROUNDS], [new])
    studio.settle()
    assert "was built: 1 background image no longer used." in text(study.page())


def test_an_answered_decision_links_to_the_newest_one(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good"))
    study.decide(StudyEvent.REFINE)
    newest = study.decision_tasks()[-1]
    address = f"/projects/{study.projects[ProjectKind.DECISIONS]}/data?task={newest.id}"
    assert f'Go on at <a href="{address}" target="_blank">decision {study.points()[-1].number}</a>' in study.page(-2)
    assert "Go on at" not in study.page()


def test_a_round_waits_for_a_worker_and_then_says_that_one_has_begun(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """“0 of 20 synthesized, running” stood there until the worker's first report."""
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    assert f"0 of {ROUND} synthesized, running, {batch_status.QUEUED}" in study.shown()
    assert describe(studio.services.database, study.name)[0]["under_way"].endswith(batch_status.QUEUED)
    preview_round = study.batches(BatchKind.ROUND)[-1]
    with studio.rows() as session:
        [shard] = session.query(ShardRow).where(ShardRow.batch_id == preview_round.id).all()
    while_fitting: list[str] = []
    published: list[int] = []
    fit = FittedEngineCache.fitted

    def fitted(cache: FittedEngineCache, *arguments: object) -> object:
        while_fitting.append(study.shown())
        published.append(sum(row.revision for row in study.outbox()))
        return fit(cache, *arguments)  # type: ignore[arg-type]

    before = sum(row.revision for row in study.outbox())
    monkeypatch.setattr(FittedEngineCache, "fitted", fitted)
    render_shard(studio.services, FittedEngineCache(studio.services), shard.id)
    assert f"0 of {ROUND} synthesized, running, {batch_status.BEGUN}" in while_fitting[0]
    assert published[0] > before  # the page is published again when the shard is claimed
    assert batch_status.BEGUN not in study.shown()
    studio.settle()


def test_versions_are_described_in_sentences_without_internal_names(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(*[verdict_result("bad", "too small", "edges show")] * ROUND)
    study.decide(StudyEvent.REFINE)
    study.decide(StudyEvent.BUILD_PREVIEW)
    page = text(study.page())
    version = study.specs()[-2].version
    assert "Built from 6 concept images, " in page
    assert f"The settings of version {version} are kept, with what was refined: what the verdicts taught." in page
    assert "_" not in page.replace(study.name, "")


def test_the_page_of_a_preview_says_of_how_many_images_it_is_one(studio: Studio, study: Study) -> None:
    study.review()
    assert {task.data["round_size"] for task in study.round_tasks()} == {str(ROUND)}
    config = str(studio.client.project(study.projects[ProjectKind.PREVIEWS]).options["label_config"])
    assert "image $index of $round_size" in config
