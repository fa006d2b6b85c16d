"""Steps that browser tests on the studio's pages share: addresses, decisions, and the verdicts of a person."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.models import Annotation
from datagen.label_studio.mapping.form_answers import verdict
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.studies import StudyRow
from e2e_study import Study
from stage.label_studio_server import LabelStudio

#: Milliseconds after which verdicts that are not saved count as lost: Label Studio stores one in a second or less, and
#: on busy cores in ten.
SAVED_MS = 400_000


def page_of(study: Study, below: str = "") -> str:
    """Return the address of the study's page, or of the page ``below`` it, such as “/history”."""
    with study.database.read() as session:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == study.name)).one()
    return f"http://127.0.0.1:{study.servers.environment['PORT']}/studio/studies/{study_id}{below}"


def decide_on_page(page: Page, button: str, **fields: str) -> None:
    """Fill in the form of a decision on the study's page, as it is now, and send it."""
    page.reload()
    form = page.locator("form.offer", has=page.get_by_role("heading", name=button, exact=True))
    while not form.is_visible():  # inputs may still be read; each look takes a page view, and the test has a time limit
        page.reload()
    for name, value in fields.items():
        form.locator(f"input[name={name}]").fill(value)
    form.get_by_role("button", name=button, exact=True).click()


def expect_saved(page: Page, count: int) -> None:
    """Wait until ``count`` images on a review sheet say that they are saved."""
    expect(page.locator("#sheet .state", has_text=re.compile("^saved$"))).to_have_count(count, timeout=SAVED_MS)


def annotations_of(
    study: Study, account: LabelStudio, kind: BatchKind = BatchKind.ROUND, number: int = 1
) -> dict[int, Annotation]:
    """Number of an image of a round or audit → the annotation of a person in Label Studio; there is one at most."""
    with study.database.read() as session:
        of_batch = BatchRow.kind == kind, BatchRow.number == number
        task_ids = session.scalars(
            select(SampleRow.task_id)
            .join(BatchRow)
            .join(StudyRow)
            .where(StudyRow.name == study.name, *of_batch)
            .order_by(SampleRow.index)
        )
        number_of = {task_id: place for place, task_id in enumerate(task_ids, 1)}
    by_number: dict[int, Annotation] = {}
    for task in study.tasks(ProjectKind.PREVIEWS):
        own = [annotation for annotation in task.annotations if annotation.completed_by.endswith(account.email)]
        assert len(own) <= 1, own
        if own and task.id in number_of:
            by_number[number_of[task.id]] = own[0]
    return by_number


def opinion_of(
    study: Study, account: LabelStudio, image: int, kind: BatchKind = BatchKind.ROUND, number: int = 1
) -> str:
    """Return what a person says of an image in Label Studio; "" if nothing."""
    given = annotations_of(study, account, kind, number).get(image)
    read = verdict(given.result) if given is not None else None
    return str(read.opinion) if read is not None else ""
