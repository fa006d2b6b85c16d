"""A study is led from its inputs to its dataset by the forms of its page alone, in a real browser on a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

import e2e_study
from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.studies import StudyRow
from e2e_study import ROUND, Study
from page_steps import decide_on_page, page_of
from stage.label_studio_server import LabelStudio
from studio import verdict_result
from studio_log_ins import LogIns

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Milliseconds that a page may take on busy cores, and seconds that a round may.
PATIENCE_MS, SLOW_S = 90_000, 400.0
GOOD, BAD = verdict_result("good"), verdict_result("bad", "too strong")


@pytest.fixture
def study(open_study: Callable[[str], Study], whole_pack: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose inputs are complete."""
    monkeypatch.setattr(e2e_study, "PATIENCE_S", SLOW_S)
    created = open_study(f"Decided {uuid.uuid4().hex[:6]}")
    for role in ("concept", "canvas", "background"):
        created.servers.datagen("add", created.name, role, str(whole_pack / f"{role}.json"))
    created.wait(
        lambda: "Missing" not in str(created.status()) and created.status()["inputs"]["concept"] == 6, "the inputs"
    )
    return created


@pytest.fixture
def page(chromium: Browser, study: Study, label_studio: LabelStudio, log_ins: LogIns) -> Iterator[Page]:
    """The page of the study, after the log-in."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    log_ins.open(opened, label_studio, page_of(study))
    yield opened
    context.close()


def judge(study: Study, number: int, opinion: list[dict[str, Any]], *, of: int) -> None:
    """Give the newest ``number`` review tasks a verdict, once there are ``of`` of them."""
    study.wait(lambda: len(study.tasks(ProjectKind.PREVIEWS)) == of, "the review tasks")
    before = sum(sum(study.status()[verdicts].values()) for verdicts in ("verdicts", "audit_verdicts"))
    for task in study.tasks(ProjectKind.PREVIEWS)[-number:]:
        study.client.annotate(task.id, opinion)

    def are_read() -> bool:
        counted = sum(sum(study.status()[verdicts].values()) for verdicts in ("verdicts", "audit_verdicts"))
        return counted == before + number

    study.wait(are_read, "the verdicts")


def test_the_whole_loop_is_decided_on_the_pages(study: Study, page: Page, label_studio: LabelStudio) -> None:
    decide_on_page(page, "Build preview")
    expect(page.get_by_role("status")).to_have_text(f"“build preview” was decided by {label_studio.email}.")
    study.wait(lambda: study.status()["state"] == "reviewing", "the first round")

    decide_on_page(page, "Refine", note="before any verdict")
    expect(page.get_by_role("heading", level=1)).to_have_text("Refine: are you sure?")
    expect(page.locator("main")).to_contain_text("No image of preview round 1 is judged yet")
    page.get_by_role("link", name="Back").click()
    judge(study, ROUND, BAD, of=ROUND)
    decide_on_page(page, "Refine", note="less strong")
    study.wait(lambda: study.status()["version"] == 2 and study.status()["state"] == "reviewing", "the second round")

    judge(study, ROUND, GOOD, of=2 * ROUND)
    decide_on_page(page, "Audit", audit_count="3")
    study.wait(lambda: study.status()["state"] == "reviewing", "the audit")
    judge(study, 3, GOOD, of=2 * ROUND + 3)
    page.reload()
    expect(page.locator(".before")).to_contain_text("“approve” states it.")

    decide_on_page(page, "Approve", count="4", name="first batch", note="good enough")
    study.wait(lambda: study.status()["state"] == "accepted", "the run")
    with study.database.read() as session:
        run = session.scalars(
            select(BatchRow).join(StudyRow).where(StudyRow.name == study.name, BatchRow.kind == BatchKind.RUN)
        ).one()
        assert (run.count, run.name, run.note, run.requested_by) == (
            4,
            "first batch",
            "good enough",
            label_studio.email,
        )

    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("approve (run 1 “first batch”, 4 images), stated: ")
    page.go_back()
    page.reload()
    page.locator(".strip a").first.click()
    page.get_by_role("button", name="Render it again").click()
    again = page.get_by_text("Image: the same bytes")
    while not again.is_visible():  # each look takes a page view, and the test has a time limit
        page.get_by_role("link", name="Look again").or_(again).first.click()
