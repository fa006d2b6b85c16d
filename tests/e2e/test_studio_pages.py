"""The studio's pages in a real browser, on a real Label Studio: log-in, every page, both themes, phone and laptop.

On every page axe-core finds nothing, and the keyboard reaches every control and shows where it is.

The screenshots are kept in the folder that ``DATAGEN_TEST_PICTURES`` names, for whoever wants to look at the pages.
"""

from __future__ import annotations

import os
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect
from pycocotools.coco import COCO
from sqlalchemy import select

import e2e_study
from accessibility import controls_out_of_reach, violations
from datagen.domain.inputs import ProjectKind
from datagen.store.tables.batches import SampleRow
from datagen.store.tables.studies import StudyRow
from e2e_study import ROUND, Study
from stage.label_studio_server import LabelStudio
from studio import verdict_result
from studio_log_ins import LogIns

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Name of a window → its width and height in pixels, and whether the system is set to dark.
WINDOWS = {
    "laptop": (1440, 900, False),
    "laptop-dark": (1440, 900, True),
    "phone": (360, 780, False),
    "phone-dark": (360, 780, True),
    "wall": (2560, 1440, False),
}
#: Time zone of the person.
ZONE = "Asia/Kolkata"
#: Milliseconds after which a page that is not complete counts as broken, and seconds after which a round does.
PATIENCE_MS, SLOW_S = 60_000, 300.0


@pytest.fixture(scope="module")
def study(open_study: Callable[[str], Study], whole_pack: Path) -> Study:
    """A study with two judged rounds and a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(e2e_study, "PATIENCE_S", SLOW_S)  # two rounds and a run on busy cores
        return judged_twice_and_approved(open_study, whole_pack)


def judged_twice_and_approved(open_study: Callable[[str], Study], whole_pack: Path) -> Study:
    created = open_study(f"Brushed plates {uuid.uuid4().hex[:6]}")
    for role in ("concept", "canvas", "background"):
        created.servers.datagen("add", created.name, role, str(whole_pack / f"{role}.json"))
    created.wait(
        lambda: "Missing" not in str(created.status()) and created.status()["inputs"]["concept"] == 6, "the inputs"
    )
    created.servers.datagen("preview", created.name)
    bad = verdict_result("bad", "too strong", comment="stands out <b>more</b> than the real ones")
    good = verdict_result("good")
    for version, verdicts in ((1, (bad, good, bad, good)), (2, (good, good, good, bad))):
        created.wait(lambda: created.status()["state"] == "reviewing", "the preview round")
        for task, verdict in zip(created.tasks(ProjectKind.PREVIEWS)[-ROUND:], verdicts, strict=True):
            created.client.annotate(task.id, verdict)
        created.wait(lambda: sum(created.status()["version_verdicts"].values()) == ROUND, "the verdicts")
        if version == 1:
            created.servers.datagen("refine", created.name)
            created.wait(lambda: created.status()["version"] == 2, "the second version")
    created.servers.datagen("approve", created.name, "--count", "8", "--name", "first batch")
    created.wait(lambda: created.status()["state"] == "accepted", "the end of the run")
    return created


@pytest.fixture
def open_page(
    chromium: Browser, study: Study, label_studio: LabelStudio
) -> Iterator[Callable[[str], tuple[Page, list[str]]]]:
    """Returns a function that opens a page in a window of that name, and a list that collects its errors."""
    contexts = []

    def open_page(window: str) -> tuple[Page, list[str]]:
        width, height, dark = WINDOWS[window]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",  # a page scrolls to a control at once
            timezone_id=ZONE,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page, errors

    yield open_page
    for context in contexts:
        context.close()


#: Returns a page in a window of that name, and a list that collects its errors.
OpenPage = Callable[[str], tuple[Page, list[str]]]


@pytest.fixture
def enter(study: Study, label_studio: LabelStudio, log_ins: LogIns) -> Callable[[Page, str], None]:
    """Returns a function that opens the page of an address as Label Studio's user."""

    def enter(page: Page, path: str) -> None:
        log_ins.open(page, label_studio, own_url(study) + path)

    return enter


def addresses(study: Study) -> dict[str, str]:
    """Name → path of each page of the study."""
    with study.database.read() as session:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == study.name)).one()
        sample_id = session.scalars(
            select(SampleRow.id).where(SampleRow.key.startswith(f"s{study_id}-")).order_by(SampleRow.id).limit(1)
        ).one()
    return {
        "home": "/studio/",
        "study": f"/studio/studies/{study_id}",
        "inputs": f"/studio/studies/{study_id}/inputs/concept",
        "mattes": f"/studio/studies/{study_id}/inputs/concept?learned=yes",
        "canvases": f"/studio/studies/{study_id}/inputs/canvas",
        "round": f"/studio/studies/{study_id}/round/1",
        "review": f"/studio/studies/{study_id}/round/2/review",
        "compare": f"/studio/studies/{study_id}/compare",
        "pairs": f"/studio/studies/{study_id}/round/2?show=background",
        "run": f"/studio/studies/{study_id}/run/1",
        "filtered run": f"/studio/studies/{study_id}/run/1?min_size=1&sort=-size",
        "push": f"/studio/studies/{study_id}/run/1/push",
        "runs": "/studio/runs",
        "sample": f"/studio/studies/{study_id}/samples/{sample_id}",
        "history": f"/studio/studies/{study_id}/history",
        "settings": f"/studio/studies/{study_id}/settings",
        "backgrounds": f"/studio/studies/{study_id}/inputs/background",
        "learned areas": f"/studio/studies/{study_id}/inputs/background?learned=yes",
        "notifications": f"/studio/studies/{study_id}/notifications",
        "licences": "/studio/licences",
        "nothing found": "/studio/?search=no+study+of+this+name",
    }


def own_url(study: Study) -> str:
    return f"http://127.0.0.1:{study.servers.environment['PORT']}"


@pytest.mark.parametrize("window", WINDOWS)
def test_every_page_is_complete_in_every_window(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None], window: str
) -> None:
    page, errors = open_page(window)
    kept = os.environ.get("DATAGEN_TEST_PICTURES")
    page.goto(own_url(study) + addresses(study)["round"])
    page.wait_for_url("**/studio/log-in*")
    if kept:
        page.screenshot(path=f"{kept}/log-in-{window}.png")
    enter(page, addresses(study)["round"])
    for name, path in addresses(study).items():
        page.goto(own_url(study) + path)
        for picture in page.locator("img:visible").all():  # others are loaded when a switch shows them
            picture.scroll_into_view_if_needed()
            # Not ``page.wait_for_function``: it evaluates a string again and again, which the page's policy forbids.
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("image => image.naturalWidth") > 0, f"{name}: {picture.get_attribute('src')}"
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        if kept:
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=f"{kept}/{name}-{window}.png", full_page=True)
    assert errors == []


@pytest.mark.parametrize("window", ["laptop", "laptop-dark", "phone", "phone-dark"])
def test_no_page_breaks_a_rule_of_accessibility(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None], window: str
) -> None:
    page, _ = open_page(window)
    page.goto(own_url(study) + "/studio/log-in")
    broken = {"log-in": violations(page)}
    enter(page, "/studio/")
    for name, path in {**addresses(study), "no such page": "/studio/nothing/here"}.items():
        page.goto(own_url(study) + path)
        broken[name] = violations(page)
    assert {name: rules for name, rules in broken.items() if rules} == {}


@pytest.mark.parametrize("window", ["laptop", "phone-dark"])
def test_every_control_is_reached_by_tab_and_shows_that_it_has_the_focus(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None], window: str
) -> None:
    page, _ = open_page(window)
    page.goto(own_url(study) + "/studio/log-in")
    wrong = {"log-in": controls_out_of_reach(page)}
    enter(page, "/studio/")
    for name, path in addresses(study).items():
        page.goto(own_url(study) + path)
        wrong[name] = controls_out_of_reach(page)
    assert {name: controls for name, controls in wrong.items() if controls} == {}


def test_mattes_are_switched_on_and_off_at_once_and_loaded_when_they_are_shown(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None]
) -> None:
    page, errors = open_page("laptop")
    enter(page, addresses(study)["inputs"])
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url) if request.is_navigation_request() else None)
    switch = page.get_by_role("button", name="Mattes")
    expect(page.locator(".overlay:visible")).to_have_count(0)
    switch.click()
    expect(page.locator(".overlay:visible")).to_have_count(6)
    expect(page.locator(".overlay").first).to_have_js_property("complete", True)
    assert page.locator(".overlay").first.evaluate("image => image.naturalWidth") > 0
    assert page.url.endswith("?learned=yes")
    switch.click()
    expect(page.locator(".overlay:visible")).to_have_count(0)
    assert "learned" not in page.url
    assert loaded == [], "no page was loaded"
    assert errors == []


def test_ticks_of_a_table_are_kept_in_the_tab_and_counted(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None]
) -> None:
    page, errors = open_page("laptop")
    enter(page, addresses(study)["run"])
    tally, boxes = page.locator("[data-tally]"), page.get_by_label(re.compile("^choose image "))
    expect(tally).to_be_hidden()
    for place in (1, 6):
        boxes.nth(place).check()
    expect(tally).to_have_text("2 images ticked, on this and other pages.")
    assert violations(page) == []
    page.reload()
    expect(boxes.nth(6)).to_be_checked()
    page.get_by_label("At least, pixels").fill("9999")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("link", name="Show all").first.click()
    expect(tally).to_have_text("2 images ticked, on this and other pages.")
    page.get_by_role("link", name="Download them").click()
    expect(page.get_by_label("those that are ticked in the table")).to_be_checked()
    page.get_by_role("button", name="Clear").click()
    expect(tally).to_be_hidden()
    expect(boxes.nth(6)).not_to_be_checked()
    assert errors == []


@pytest.mark.parametrize("window", ["laptop", "phone-dark"])
def test_the_pages_that_follow_a_form_break_no_rule(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None], window: str
) -> None:
    page, errors = open_page(window)
    enter(page, addresses(study)["study"])
    page.get_by_role("button", name="Clone this study").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Clone as"))
    assert violations(page) == []
    page.goto(own_url(study) + addresses(study)["backgrounds"])
    page.get_by_text("Choose backgrounds from a project").click()
    page.get_by_label("Project number").fill(str(study.projects[ProjectKind.CONCEPTS]))
    page.get_by_role("button", name="Show the matches").click()
    tally = page.locator("[data-tally]")
    expect(tally).to_have_text("6 tasks ticked, on this and other pages.")
    page.get_by_label(re.compile("^task ")).first.uncheck()
    expect(tally).to_have_text("5 tasks ticked, on this and other pages.")
    assert violations(page) == []
    assert errors == []


def test_a_picture_opens_in_a_viewer_that_zooms_to_single_pixels_by_keyboard(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None]
) -> None:
    page, errors = open_page("laptop")
    enter(page, addresses(study)["round"])
    link = page.get_by_role("link", name="Every pixel of image 2")
    link.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog", name="Every pixel")
    line = viewer.get_by_role("status")
    expect(line).to_have_text(re.compile(r"Image 2 · 512 × 384 pixels · \d+ %"))
    assert violations(page) == []
    at_first = percent(line.inner_text())
    page.keyboard.press("z")
    expect(line).not_to_have_text(re.compile(f" {at_first} %"))
    expect(viewer.locator("img.squares")).to_be_visible()
    assert percent(line.inner_text()) >= 300
    page.keyboard.press("ArrowRight")
    expect(line).to_have_text(re.compile("Image 3 "))
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(link).to_be_focused()
    assert page.url.endswith("/round/1"), "the arrows belong to the viewer while it is open"
    assert errors == []


def percent(line: str) -> int:
    match = re.search(r"(\d+) %", line)
    assert match is not None, line
    return int(match[1])


def test_a_download_is_chosen_waited_for_and_opened_with_its_tool(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None], tmp_path: Path
) -> None:
    page, errors = open_page("laptop")
    enter(page, addresses(study)["run"])
    page.get_by_text("Download images with their labels").click()
    page.get_by_label("voc", exact=False).check()
    page.get_by_label("Split, percent").fill("50,50")
    page.get_by_label("Splits share no").select_option("background")
    page.get_by_label("Image files").select_option("jpeg")
    page.get_by_role("button", name="Make the download").click()
    page.wait_for_url("**/run/1#handovers")
    link = page.get_by_role("link", name=re.compile("Download 8 images"))
    expect(link).to_be_visible(timeout=SLOW_S * 1000)  # it appears by the stream of events
    with page.expect_download() as started:
        link.click()
    saved = tmp_path / "set.zip"
    started.value.save_as(saved)
    with zipfile.ZipFile(saved) as archive:
        archive.extractall(tmp_path / "set")
    coco_files = [*(tmp_path / "set").rglob("*coco*.json")]
    images = [image for file in coco_files for image in COCO(str(file)).dataset["images"]]
    assert len({image["file_name"] for image in images}) == 8
    assert all((tmp_path / "set" / image["file_name"]).suffix == ".jpg" for image in images)
    assert [*(tmp_path / "set").rglob("*.xml")], "VOC was chosen, too"
    assert errors == []


def test_without_a_script_the_link_leads_to_the_whole_picture(
    chromium: Browser, study: Study, enter: Callable[[Page, str], None]
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    enter(page, addresses(study)["sample"])
    with page.expect_response("**/full?*") as answer:
        page.get_by_role("link", name="Every pixel").click()
    assert answer.value.headers["content-type"] == "image/png"
    context.close()


def test_an_earlier_day_is_a_date_of_the_readers_calendar(
    study: Study, open_page: OpenPage, enter: Callable[[Page, str], None]
) -> None:
    page, _ = open_page("laptop")
    enter(page, addresses(study)["round"])
    recent = page.locator("time").first
    assert re.search("ago|just now", recent.inner_text())
    at = datetime.fromisoformat(recent.get_attribute("datetime") or "").astimezone(ZoneInfo(ZONE))
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=3))
    page.reload()
    assert page.locator("time").first.inner_text() == f"{at:%-d %b %Y, %H:%M}"
