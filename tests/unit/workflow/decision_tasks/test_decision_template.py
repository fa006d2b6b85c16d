"""The template of the decision page shows every text of a view, and shows it as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html.parser import HTMLParser
from importlib.resources import files
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from jinja2 import UndefinedError

from datagen.store.tables.base import BatchKind, WorkState
from datagen.workflow.decision_tasks.decision_template import render
from datagen.workflow.decision_tasks.decision_view import DecisionView, LateVerdicts
from datagen.workflow.decision_tasks.reviewers_view import DisputedImage
from datagen.workflow.reviews.corrections import ReviewedImage

HOSTILE = "<b>&\"'"
#: Enough variants for every value of the largest enumeration.
VARIANTS = range(7)
WHEN = datetime(2026, 5, 4, 13, 7, tzinfo=UTC)
NUMBERS: dict[type, Any] = {int: 3, float: 0.25, datetime: WHEN, timedelta: timedelta(minutes=7)}


def filled(kind: Any, path: str, variant: int, text: Callable[[str], str]) -> Any:
    """A value of a field's type with nothing left out: ``text`` makes each string from the path of its field."""
    arguments = get_args(kind)
    if get_origin(kind) is UnionType:
        [kind] = [argument for argument in arguments if argument is not NoneType]
        return filled(kind, path, variant, text)
    if get_origin(kind) is tuple:
        assert arguments[1:] == (...,), f"{path}: {kind} is no sequence"
        return tuple(filled(arguments[0], f"{path}[{index}]", variant, text) for index in range(2))
    if is_dataclass(kind):
        assert kind.__dataclass_params__.frozen, f"{path}: {kind} can be changed"
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        return kind(**{name: filled(hints[name], f"{path}.{name}", variant, text) for name in names})
    if issubclass(kind, StrEnum):
        return list(kind)[variant % len(kind)]
    if kind is bool:
        return bool(variant % 2)
    return text(path) if kind is str else NUMBERS[kind]


def filled_view(variant: int, text: Callable[[str], str] = "a {}".format) -> DecisionView:
    return filled(DecisionView, "view", variant, text)


def empty_view() -> DecisionView:
    """The view of a page with nothing to show."""
    hints = get_type_hints(DecisionView)
    values = {
        name: None if NoneType in get_args(hint) else () if get_origin(hint) is tuple else NUMBERS.get(hint, "")
        for name, hint in hints.items()
    }
    return DecisionView(**values | {"was_submitted": False})


class Structure(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(view: DecisionView) -> str:
    """The text of a page, with its white space as a browser shows it."""
    return " ".join(Structure(render(view)).text.split())


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_text_of_a_view_becomes_markup(variant: int) -> None:
    page = render(filled_view(variant, f"{HOSTILE}{{}};".format))
    assert Structure(page).tags == Structure(render(filled_view(variant))).tags
    assert HOSTILE not in page
    assert len(re.findall(r"\bview\.[^;]+;", page)) == page.count("&lt;b&gt;&amp;&#34;&#39;view.")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_markup_of_the_template_is_escaped(variant: int) -> None:
    """A macro whose HTML is handed on as text would be shown as text."""
    assert "&" not in render(filled_view(variant))


def test_every_text_of_a_view_is_shown_as_it_is() -> None:
    paths: set[str] = set()

    def text(path: str) -> str:
        paths.add(path)
        return f"{HOSTILE}{path};"

    pages = "".join(Structure(render(filled_view(variant, text))).text for variant in VARIANTS)
    assert {path for path in paths if f"{HOSTILE}{path};" not in pages} == set()
    assert len(paths) > 30


def test_page_of_an_empty_view_has_a_heading_only() -> None:
    view = replace(empty_view(), study="a study", number=2)
    assert text_of(view) == "a study · decision 2"
    assert [tag for tag, _ in Structure(render(view)).tags] == ["div", "h2"]


def test_value_that_a_view_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="has no attribute 'study'"):
        render(object())  # type: ignore[arg-type]


def test_no_template_marks_a_text_as_safe() -> None:
    folder = files("datagen.workflow.decision_tasks").joinpath("templates")
    sources = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert "decision.html.j2" in sources
    assert not [name for name, source in sources.items() if re.search(r"\bsafe\b|autoescape|Markup", source)]


def test_projects_are_linked_once_they_are_provisioned() -> None:
    newest = filled_view(0).newest
    assert newest is not None
    page = render(replace(empty_view(), newest=newest))
    assert '<a href="/projects/3/data?task=3" target="_blank">decision 3</a>' in page
    assert '<a href="/projects/3/data" target="_blank">Decisions</a>' in page
    unprovisioned = replace(empty_view(), newest=replace(newest, project_id=None, task_id=None))
    assert "<a" not in render(unprovisioned)
    assert "Go on at decision 3; the newest decision task is the first in Decisions." in text_of(unprovisioned)


@pytest.mark.parametrize(("was_submitted", "button"), [(False, "Submit"), (True, "Update")])
def test_page_names_the_button_of_the_task(was_submitted: bool, button: str) -> None:
    shown = replace(filled_view(0), was_submitted=was_submitted)
    assert shown.progress is not None
    running = replace(shown, progress=replace(shown.progress, state=WorkState.RUNNING))
    page = render(running)
    assert f"tick <b>cancel</b> in this task, then press <b>{button}</b>." in page
    assert (f"Choose, press <b>{button}</b>" in page) is not was_submitted
    assert ("Change the answer, then press <b>Update</b>." in page) is was_submitted


def test_progress_is_a_sentence_and_a_bar() -> None:
    progress = filled_view(0).progress
    assert progress is not None
    begun = replace(progress, state=WorkState.RUNNING, count=2000, rendered=1500, fit_progress=None)
    page = render(replace(empty_view(), progress=begun))
    words = "1,500 of 2,000 synthesized, running, about 7 min left, a view.progress.status_text"
    assert f"<p>Preview round 3: {words}</p>" in page
    assert "background:#b0006a;border-radius:4px;height:10px;width:75.0%" in page
    fitting = render(replace(empty_view(), progress=replace(progress, rendered=0, fit_progress=0.25)))
    assert "background:#b0006a80;border-radius:4px;height:10px;width:25.0%" in fitting
    run = replace(begun.batch, kind=BatchKind.RUN, name="spring")
    unknown = replace(begun, batch=run, rendered=2001, time_left=None, status_text="")
    page = render(replace(empty_view(), progress=unknown))
    assert "<p>Run “spring”: 2,001 of 2,000 synthesized, running</p>" in page
    assert "width:100.0%" in page


def test_long_list_ends_with_the_number_of_further_items() -> None:
    shown = filled_view(0).round
    assert shown is not None
    shown = replace(shown, details=replace(shown.details, methods=tuple(f"number {n}" for n in range(15))))
    text = text_of(replace(empty_view(), round=shown))
    assert "Number 11 … and 3 more" in text
    assert "Number 12" not in text


def test_first_warnings_are_shown_and_the_others_are_folded() -> None:
    shown = filled_view(0).round
    assert shown is not None
    shown = replace(shown, details=replace(shown.details, warnings=tuple(f"photo {n}" for n in range(5))))
    page = render(replace(empty_view(), round=shown))
    assert page.index("Inputs to look at: 5</summary>") < page.index("Photo 2") < page.index("2 more</summary>")
    assert page.index("2 more</summary>") < page.index("Photo 3")


def test_numbers_of_many_images_end_with_and_more() -> None:
    shown = filled_view(0).round
    assert shown is not None
    assert shown.review is not None
    images = (ReviewedImage(number=n, task_id=n + 100, project_id=7) for n in range(1, 14))
    disputed = tuple(DisputedImage(image=image, opinions=()) for image in images)
    reviewers = replace(shown.review.reviewers, disputed=disputed, images=13, verdicts=26)
    shown = replace(shown, review=replace(shown.review, reviewers=reviewers))
    view = replace(empty_view(), round=shown)
    assert '<a href="/projects/7/data?task=105" target="_blank">5</a>, ' in render(view)
    text = text_of(view)
    assert "Good and bad at once: images 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and more." in text


def test_one_late_verdict_is_named_in_the_singular() -> None:
    late = LateVerdicts(batch="round 2", count=1, outcome="it was refined")
    assert "1 verdict on round 2 came or changed after it was refined; it is kept, and does not count." in text_of(
        replace(empty_view(), late=(late,))
    )
    assert "2 verdicts on round 2 came or changed after it was refined; they are kept, and do not count." in text_of(
        replace(empty_view(), late=(replace(late, count=2),))
    )


def test_boxes_and_bars_have_the_colours_of_the_studios_pages() -> None:
    """Except the yellow: on the pages it is the colour of a text, and darker."""
    sheet = (files("datagen.web.pages") / "static" / "studio.css").read_text()
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", sheet.partition("@media")[0]))
    boxes = re.search(
        r"BOXES = (\{.*?\})", (files("datagen.workflow.decision_tasks") / "templates" / "macros.html.j2").read_text()
    )
    assert boxes is not None
    assert {light["bad"], light["accent"]} < set(re.findall("#[0-9a-f]{6}", boxes[1]))
