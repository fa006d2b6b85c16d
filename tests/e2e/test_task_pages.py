"""The decision and review tasks as people see them: links, both themes, a phone."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator

from datagen.domain.inputs import ProjectKind
from e2e_steps import decide, newest_decision
from e2e_study import PATIENCE_S, ROUND, Study
from stage.label_studio_server import LabelStudio
from stage.person import Person
from stage.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Least contrast of text against its background (WCAG 2.2, 1.4.3).
MIN_CONTRAST = 4.5
#: A common phone, pixels.
PHONE = (390, 844)


@pytest.fixture(scope="module")
def study(open_study: Callable[[str], Study], whole_pack: Path, chromium: Browser, label_studio: LabelStudio) -> Study:
    """A study whose first preview round waits for verdicts."""
    created = open_study(f"pages {uuid.uuid4().hex[:8]}")
    for role in ("concept", "canvas", "background"):
        created.servers.datagen("add", created.name, role, str(whole_pack / f"{role}.json"))
    created.wait(
        lambda: "Missing" not in str(created.status()) and created.status()["inputs"]["concept"] == 6, "the inputs"
    )
    person = Person(chromium, label_studio)
    person.log_in()
    decide(person, created, "build preview")
    person.close()
    created.wait(lambda: created.status()["state"] == "reviewing", "the first preview round")
    assert len(created.tasks(ProjectKind.PREVIEWS)) == ROUND
    return created


@pytest.fixture
def log_in(chromium: Browser, label_studio: LabelStudio) -> Iterator[Callable[..., Person]]:
    """Log a user in, with a window size and theme of the test's choice."""
    people: list[Person] = []

    def log_in(*, window: tuple[int, int] = (1440, 900), dark: bool = False) -> Person:
        people.append(Person(chromium, label_studio, window=window, dark=dark))
        people[-1].log_in()
        return people[-1]

    yield log_in
    for person in people:
        person.close()


def test_links_on_a_decision_task_open_by_a_plain_click(study: Study, log_in: Callable[..., Person]) -> None:
    person = log_in()
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    link = person.summary().get_by_role("link", name="review them")
    with person.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_url(f"**/projects/{study.projects[ProjectKind.PREVIEWS]}/data*")


def test_an_answered_decision_leads_to_the_newest_one_by_a_plain_click(
    study: Study, log_in: Callable[..., Person]
) -> None:
    person = log_in()
    first, newest = min(task.id for task in study.tasks(ProjectKind.DECISIONS)), newest_decision(study)
    study.wait(lambda: f"task={newest}" in str(study.client.task(first).data["html"]), "the link to the newest task")
    person.open_task(study.projects[ProjectKind.DECISIONS], first)
    with person.context.expect_page() as opened:
        person.summary().get_by_role("link", name="decision 2").click()
    opened.value.wait_for_url(f"**/projects/{study.projects[ProjectKind.DECISIONS]}/data?task={newest}*")
    opened.value.get_by_text("Possible now").first.wait_for()


def test_a_review_task_says_which_of_how_many_images_it_is(study: Study, log_in: Callable[..., Person]) -> None:
    person = log_in()
    person.open_task(study.projects[ProjectKind.PREVIEWS], study.tasks(ProjectKind.PREVIEWS)[0].id)
    person.page.get_by_text(f"version 1 · round 1 · image 1 of {ROUND}").wait_for()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_on_a_decision_task_is_legible(study: Study, log_in: Callable[..., Person], dark: bool) -> None:
    person = log_in(dark=dark)
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    assert person.page.evaluate("document.documentElement.dataset.colorScheme") == ("dark" if dark else "light")
    person.summary().get_by_text("Possible now").first.wait_for()
    texts = person.summary().locator("h2, h3, p, summary, li, a, th, td, code, [data-box]")
    seen = [text for text in texts.all() if text.is_visible() and text.inner_text().strip()]
    assert len(seen) >= 4
    # Label Studio fades its editor in
    wait_until(lambda: contrast(seen[0]) >= MIN_CONTRAST, PATIENCE_S, "a heading that can be read")
    for text in seen:
        assert contrast(text) >= MIN_CONTRAST, text.inner_text()


def test_a_review_task_on_a_phone_shows_the_picture_above_the_verdict(
    study: Study, log_in: Callable[..., Person]
) -> None:
    person = log_in(window=PHONE)
    person.open_task(study.projects[ProjectKind.PREVIEWS], study.tasks(ProjectKind.PREVIEWS)[0].id)
    picture = person.page.locator(".konvajs-content").first.bounding_box()
    verdict = person.page.locator('input[type=checkbox][name="good"]').bounding_box()
    assert picture is not None
    assert verdict is not None
    assert picture["width"] >= 0.5 * PHONE[0]
    assert verdict["y"] >= picture["y"] + picture["height"]


def contrast(element: Locator) -> float:
    """Contrast of an element's text as it is drawn: the most common colour against the one furthest from it."""
    picture = np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB")).reshape(-1, 3)
    colours, counts = np.unique(picture, axis=0, return_counts=True)
    light = luminance(colours)
    background = light[counts.argmax()]
    high, low = np.maximum(light, background), np.minimum(light, background)
    return float(((high + 0.05) / (low + 0.05)).max())


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours [n, 3] uint8, 0 to 1 (WCAG 2.2)."""
    shares = colours / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])
