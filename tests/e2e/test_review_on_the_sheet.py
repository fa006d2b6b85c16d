"""A round judged on the review sheet, in a real browser and on a real Label Studio: by keyboard, by two people who
disagree, through an outage and the end of a log-in, without a script, and then in Label Studio alone."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

import e2e_study
from datagen.domain.inputs import ProjectKind
from datagen.label_studio.mapping.form_answers import verdict
from datagen.store.tables.studies import StudyRow
from e2e_study import Study
from page_steps import annotations_of, expect_saved, opinion_of, page_of
from second_person import sign_up
from stage.label_studio_server import LabelStudio
from stage.person import Person
from studio_log_ins import LogIns, fill_in

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Number of images of the round, and seconds after which it counts as broken on busy cores.
IMAGES, SLOW_S = 20, 300.0
#: Milliseconds after which a page that does not show what it should counts as broken.
PATIENCE_MS = 60_000
#: The sheet, below the page of the study.
SHEET = "/round/1/review"
#: The addresses that verdicts are sent to.
VERDICTS = "**/studio/verdicts/**"
#: Every so many images are bad on Ann's round, with the second reason and the fourth.
EVERY_BAD = 5

OpenSheet = Callable[..., Page]


@pytest.fixture(scope="module")
def study(open_study: Callable[[str], Study], whole_pack: Path) -> Study:
    """A study whose round of 20 images waits for verdicts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(e2e_study, "PATIENCE_S", SLOW_S)
        created = open_study(f"Review {uuid.uuid4().hex[:6]}")
        with created.database.write() as session:
            session.scalars(select(StudyRow).where(StudyRow.name == created.name)).one().preview_size = IMAGES
        for role in ("concept", "canvas", "background"):
            created.servers.datagen("add", created.name, role, str(whole_pack / f"{role}.json"))
        created.wait(
            lambda: "Missing" not in str(created.status()) and created.status()["inputs"]["concept"] == 6, "the inputs"
        )
        created.servers.datagen("preview", created.name)
        created.wait(lambda: created.status()["state"] == "reviewing", "the preview round")
    return created


@pytest.fixture(scope="module")
def bo(label_studio: LabelStudio) -> LabelStudio:
    """The server with the account of a second person."""
    return sign_up(label_studio)


@pytest.fixture
def open_sheet(chromium: Browser, study: Study, log_ins: LogIns) -> Iterator[OpenSheet]:
    """Returns a function that opens the sheet in a window of its own, in which a person has logged in."""
    contexts = []

    def open_sheet(account: LabelStudio, **options: object) -> Page:
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        log_ins.open(page, account, page_of(study, SHEET))
        return page

    yield open_sheet
    for context in contexts:
        context.close()


def judge_all_by_keyboard(page: Page, look: Callable[[], None] = lambda: None) -> None:
    """Judge each image with one key, or three for a bad one; ``look`` is called before each verdict."""
    page.keyboard.press("ArrowRight")
    for place in range(IMAGES):
        expect(page.locator("#sheet > li").nth(place)).to_have_class(re.compile("current"))
        look()
        if place % EVERY_BAD == EVERY_BAD - 1:
            page.keyboard.press("2")
            page.keyboard.press("4")
        page.keyboard.press("b" if place % EVERY_BAD == EVERY_BAD - 1 else "g")


def test_a_round_is_judged_by_keyboard_and_each_verdict_is_the_persons_annotation(
    study: Study, open_sheet: OpenSheet, label_studio: LabelStudio, bo: LabelStudio
) -> None:
    page = open_sheet(bo)
    judge_all_by_keyboard(page)
    expect(page.locator("#judged")).to_have_text(str(IMAGES))
    expect_saved(page, IMAGES)
    written = annotations_of(study, bo)
    assert sorted(written) == list(range(1, IMAGES + 1))
    for number, annotation in written.items():
        read = verdict(annotation.result)
        assert read is not None
        is_bad = number % EVERY_BAD == 0
        assert (read.opinion, len(read.reasons)) == (("bad", 2) if is_bad else ("good", 0))
        assert any(entry["from_name"] == "label" for entry in annotation.result)
    study.wait(lambda: sum(study.status()["version_verdicts"].values()) == IMAGES, "the verdicts")


def test_two_people_see_that_they_disagree_and_one_takes_it_back(
    study: Study, open_sheet: OpenSheet, label_studio: LabelStudio, bo: LabelStudio
) -> None:
    page = open_sheet(label_studio)
    first = page.locator("#sheet > li").first
    expect(first.locator(".others")).to_contain_text(bo.email)
    first.get_by_role("button", name="Bad", exact=True).click()
    expect_saved(page, 1)
    expect(first).to_have_class(re.compile("disputed"))
    first.get_by_text("Reasons and comment").click()
    page.keyboard.press("c")
    page.keyboard.type("the edge g b 1")  # keys in a comment are letters
    page.keyboard.press("Escape")
    expect_saved(page, 1)
    study.wait(lambda: opinion_of(study, label_studio, 1) == "bad", "the verdict of the second person")
    other = open_sheet(bo)
    expect(other.locator("#sheet > li").first).to_have_class(re.compile("disputed"))
    expect(other.locator("#sheet > li").first.locator(".others")).to_contain_text("the edge g b 1")
    for _ in range(2):
        page.keyboard.press("u")
    study.wait(lambda: opinion_of(study, label_studio, 1) == "", "the verdict that was taken back")
    assert opinion_of(study, bo, 1) == "good"


def test_verdicts_wait_in_the_browser_while_they_cannot_be_sent(
    study: Study, open_sheet: OpenSheet, label_studio: LabelStudio
) -> None:
    page = open_sheet(label_studio)

    def away(route: Route) -> None:
        route.fulfill(status=503, content_type="application/json", body='{"sentence": "away"}')

    page.route(VERDICTS, away)
    for place in (2, 3):
        page.locator("#sheet > li").nth(place).get_by_role("button", name="Bad", exact=True).click()
    expect(page.locator("#waiting")).to_have_text(
        "2 verdicts wait in this browser; they are sent when Label Studio answers."
    )
    page.reload()
    expect(page.locator("#sheet > li").nth(2)).to_have_class(re.compile("bad"))
    expect(page.locator("#waiting")).to_be_visible()
    page.unroute(VERDICTS)
    expect_saved(page, 2)
    expect(page.locator("#waiting")).to_be_hidden()
    assert [opinion_of(study, label_studio, number) for number in (3, 4)] == ["bad", "bad"]


def test_verdicts_wait_for_the_log_in_of_their_person(
    study: Study, open_sheet: OpenSheet, label_studio: LabelStudio, bo: LabelStudio
) -> None:
    page = open_sheet(label_studio)
    page.context.clear_cookies(name="datagen_session")
    page.locator("#sheet > li").nth(5).get_by_role("button", name="Bad", exact=True).click()
    expect(page.locator("#waiting")).to_contain_text("Your log-in ended. 1 verdict waits in this browser")
    page.locator("#waiting a").click()
    fill_in(page, bo)  # another person at the same browser sends nothing of it
    page.wait_for_url("**/review")
    expect(page.locator("#sheet > li").nth(5)).to_have_class(re.compile("good"))
    page.get_by_role("button", name="Log out").click()
    page.goto(page_of(study, SHEET))
    fill_in(page, label_studio)
    page.wait_for_url("**/review")
    expect_saved(page, 1)
    assert opinion_of(study, label_studio, 6) == "bad"
    assert opinion_of(study, bo, 6) == "good"


def test_a_comment_of_a_megabyte_has_a_sentence_before_it_is_sent(
    study: Study, open_sheet: OpenSheet, bo: LabelStudio
) -> None:
    page = open_sheet(bo)
    second = page.locator("#sheet > li").nth(1)
    second.get_by_text("Reasons and comment").click()
    box = second.locator("textarea")
    box.evaluate("box => { box.value = 'x'.repeat(1_000_000); }")
    box.dispatch_event("change")
    expect(second.locator(".state")).to_contain_text("The comment has 1,000,000 characters; 4,000 fit.")
    assert opinion_of(study, bo, 2) == "good"


def test_without_a_script_a_form_judges(study: Study, open_sheet: OpenSheet, label_studio: LabelStudio) -> None:
    page = open_sheet(label_studio, java_script_enabled=False)
    page.locator("#sheet > li").nth(7).get_by_role("button", name="Bad", exact=True).click()
    page.wait_for_url(re.compile("#image-"))
    expect(page.get_by_role("status").first).to_have_text("Your verdict “bad” is saved.")
    assert opinion_of(study, label_studio, 8) == "bad"


@pytest.mark.parametrize("width", [360, 2560])
def test_the_sheet_fits_every_window(study: Study, open_sheet: OpenSheet, bo: LabelStudio, width: int) -> None:
    page = open_sheet(bo)
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#sheet details").nth(1).evaluate("details => { details.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_the_study_goes_on_in_label_studio_alone(
    study: Study, open_sheet: OpenSheet, chromium: Browser, bo: LabelStudio
) -> None:
    """Bo opens what the page wrote in Label Studio's editor, changes it there, and sees it on the page."""
    [task] = [task for task in study.tasks(ProjectKind.PREVIEWS) if task.data["index"] == "10"]
    [before] = [annotation for annotation in task.annotations if annotation.completed_by.endswith(bo.email)]
    somebody = Person(chromium, bo)
    somebody.log_in()
    somebody.open_task(study.projects[ProjectKind.PREVIEWS], task.id)
    shown = sum(entry["from_name"] == "label" for entry in before.result)
    somebody.expect_regions(shown)
    assert somebody.ticked("too small") or somebody.ticked("too strong")
    somebody.press("g")
    somebody.submit()
    somebody.close()
    study.wait(lambda: opinion_of(study, bo, 10) == "good", "the verdict in Label Studio")
    page = open_sheet(bo)

    def is_shown() -> bool:
        page.reload()
        return "good" in str(page.locator("#sheet > li[data-number='10']").get_attribute("class"))

    study.wait(is_shown, "the verdict on the page")
    [row] = [item for item in annotations_of(study, bo).items() if item[0] == 10]
    assert not any(entry["from_name"] == "label" and entry.get("origin") != "prediction" for entry in row[1].result), (
        "an outline that nobody moved is a correction"
    )
