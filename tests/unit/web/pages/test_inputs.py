"""The page of inputs: what the engine found and learned, beside and over each photo."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.imaging.overlays import DRAWN, HEAT, INSIDE, MATTE
from datagen.store.tables.base import FitPictureKind
from datagen.store.tables.batches import FitPictureRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.synthesis.engine import FittedEngine
from datagen.web.pages.static_files import StaticFiles
from datagen.workflow.generation import fit_pictures
from datagen.workflow.studies.maintenance import delete_study
from datagen.workflow.study_pages.inputs_page_view import inputs_page_of
from instant_engine import InstantEngine


def inputs(browser: Any, role: str, query: str = "") -> str:
    return str(browser.page(f"/studio/studies/{browser.study.id}/inputs/{role}{query}"))


def overlays(page: str) -> list[str]:
    return re.findall(r'class="overlay" src="([^"]+)"', page)


def pictures_of(browser: Any) -> list[FitPictureRow]:
    with browser.studio.rows() as session:
        return list(session.scalars(select(FitPictureRow).order_by(FitPictureRow.id)))


@pytest.mark.parametrize("role", list(Role))
def test_a_study_without_photos_says_what_to_add(browser: Any, role: Role) -> None:
    empty = browser.studio.open_study(inputs=False)
    assert "Nothing here yet" in browser.page(f"/studio/studies/{empty.id}/inputs/{role}")


def test_each_concept_photo_has_its_matte_which_is_off_at_first(browser: Any) -> None:
    page = inputs(browser, "concept")
    assert len(overlays(page)) == 6
    assert '<ul class="gallery inputs">' in page
    assert 'aria-pressed="false">Mattes<' in page
    assert "in version 1" in page
    answer = browser.get(overlays(page)[0])
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_form_switches_the_mattes_on_and_off_without_a_script(browser: Any) -> None:
    off = inputs(browser, "concept")
    assert '<input type="hidden" name="learned" value="yes">' in off
    on = inputs(browser, "concept", "?learned=yes")
    assert '<ul class="gallery inputs learned">' in on
    assert 'aria-pressed="true">Mattes<' in on
    assert '<input type="hidden" name="learned"' not in on, "sending the form switches them off"


def test_the_next_page_keeps_the_switch(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        session.add_all(
            InputRow(task_id=5_000_000 + n, study_id=browser.study.id, role=Role.CONCEPT, name=f"{n}", url="")
            for n in range(60)
        )
    more = r'data-keeps="learned" href="([^"]+)"'
    assert re.findall(more, inputs(browser, "concept", "?learned=yes"))[0].endswith("&amp;learned=yes")
    assert "learned" not in re.findall(more, inputs(browser, "concept"))[0]


def test_the_learned_area_is_beside_each_canvas_and_over_the_first_backgrounds(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvases = inputs(browser, "canvas")
    assert '<ul class="gallery inputs pairs learned">' in canvases
    assert len(overlays(canvases)) == 6
    assert canvases.count('<span class="layers">') == 12
    assert "aria-pressed" not in canvases
    for level in range(len(HEAT)):
        assert f"heat-{level}" in canvases
    backgrounds = inputs(browser, "background", "?learned=yes")
    assert len(overlays(backgrounds)) == 6
    assert f"first {fit_pictures.MOST_BACKGROUNDS} backgrounds" in backgrounds


def test_a_canvas_that_was_added_after_the_version_says_so(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        row = session.scalars(select(InputRow).where(InputRow.role == Role.CANVAS).limit(1)).one()
        session.query(FitPictureRow).where(FitPictureRow.picture == row.digest).delete()
    page = inputs(browser, "canvas")
    assert page.count("Not in version 1") == 1
    assert len(overlays(page)) == 5


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (StudyState.COLLECTING, "No version was fitted yet. “Build preview” fits the first one, and its mattes are"),
        (StudyState.PREVIEWING, "Version 1 is being fitted. Its mattes are shown here then."),
    ],
)
def test_a_sentence_says_why_there_is_none(
    browser_in: Callable[[StudyState], Any], state: StudyState, sentence: str
) -> None:
    browser = browser_in(state)
    browser.log_in()
    page = inputs(browser, "concept")
    assert sentence in page
    assert overlays(page) == []
    assert "aria-pressed" not in page


def test_a_version_of_an_earlier_release_has_none(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        session.query(FitPictureRow).delete()
    assert "No learned areas were kept of version 1." in inputs(browser, "canvas")


def test_an_engine_that_shows_none_says_so(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstantEngine, "shows_areas", False)
    with browser.studio.services.database.write() as session:
        session.query(FitPictureRow).where(FitPictureRow.kind == FitPictureKind.AREA).delete()
    assert "The engine “instant” shows no learned areas." in inputs(browser, "background")
    assert len(overlays(inputs(browser, "concept"))) == 6


def test_the_web_process_fits_nothing(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any) -> FittedEngine:
        raise AssertionError("a page fitted the engine")

    monkeypatch.setattr(InstantEngine, "fit", fit)
    for role in Role:
        for address in overlays(inputs(browser, role, "?learned=yes")):
            assert browser.get(address).status_code == 200


def test_a_version_keeps_its_pictures_and_the_newest_is_shown(browser: Any) -> None:
    first = pictures_of(browser)
    browser.study.act(StudyEvent.BUILD_PREVIEW)
    browser.studio.settle()
    rows = pictures_of(browser)
    assert [row.overlay for row in rows[: len(first)]] == [row.overlay for row in first]
    assert len(rows) == 2 * len(first)
    assert "in version 2" in inputs(browser, "concept")


def test_a_picture_of_another_study_is_not_found(browser: Any) -> None:
    other = browser.studio.open_study(inputs=False)
    picture = pictures_of(browser)[0]
    assert browser.get(f"/studio/pictures/{other.id}/learned/{picture.id}").status_code == 404
    assert browser.get(f"/studio/pictures/{browser.study.id}/learned/99999").status_code == 404


def test_what_the_engine_found_is_beside_its_photo_alone(browser: Any) -> None:
    photos = {"concept": "1.jpg", "canvas": "1.jpg", "background": "11.jpg"}
    with browser.studio.services.database.write() as session:
        for role, name in photos.items():
            of_role = select(InputRow).where(InputRow.role == Role(role)).limit(1)
            session.scalars(of_role).one().name = name
        session.scalars(select(SpecRow)).one().findings = [
            "Note: concept 1.jpg, box 1: more than one outline is possible",
            "Note: background 11.jpg: too small",
            "Photo 1.jpg shows more than is placed.",
        ]
    with browser.studio.rows() as session:
        findings = {
            role: [
                line
                for photo in inputs_page_of(session, browser.study.id, None, Role(role)).photos
                if photo.name == name
                for line in photo.findings
            ]
            for role, name in photos.items()
        }
    assert findings["concept"] == [
        "concept 1.jpg, box 1: more than one outline is possible",
        "Photo 1.jpg shows more than is placed.",
    ]
    assert findings["canvas"] == ["Photo 1.jpg shows more than is placed."]
    assert findings["background"] == ["background 11.jpg: too small"]
    assert "more than one outline is possible" in inputs(browser, "concept")


def test_the_legend_has_the_colours_of_the_pictures() -> None:
    file = StaticFiles().get("studio.css")
    assert file is not None
    sheet = file.data.decode()
    colours = {"matte": MATTE, "inside": INSIDE, "drawn": DRAWN} | {
        f"heat-{n}": colour for n, colour in enumerate(HEAT)
    }
    for name, (red, green, blue) in colours.items():
        assert f".swatch.{name} {{ background: rgb({red} {green} {blue})" in sheet


def test_the_pictures_are_deleted_with_their_study(browser: Any) -> None:
    overlay = pictures_of(browser)[0].overlay
    assert browser.studio.services.images.exists(overlay)
    delete_study(browser.studio.services, browser.study.name, "ann", with_projects=False)
    assert pictures_of(browser) == []
    assert not browser.studio.services.images.exists(overlay)
