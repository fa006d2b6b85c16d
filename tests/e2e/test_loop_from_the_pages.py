"""The whole loop from the studio's pages alone, by two people with different rights, and then in Label Studio alone.

Ann owns the organization of Label Studio and leads the study. Bo is a member of it: he judges by keyboard, audits, and
goes on in Label Studio alone. Label Studio shows Dee, who is a member too, the projects of another organization. At the
end Ann removes Bo.

The screenshots are kept in the folder that ``DATAGEN_TEST_PICTURES`` names, for whoever wants to look at the pages.
"""

from __future__ import annotations

import os
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pycocotools.coco import COCO
from sqlalchemy import select

import e2e_study
from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.accounts import NO_MEMBER
from datagen.label_studio.mapping.form_answers import verdict
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.study_pages.access import NO_STUDY
from e2e_steps import newest_decision
from e2e_steps import page as decision_html
from e2e_study import ROUND, Study
from page_steps import annotations_of, decide_on_page, expect_saved, page_of
from second_person import remove_member, sign_up, work_elsewhere
from stage.label_studio_server import LabelStudio
from stage.person import Person
from studio_log_ins import LogIns, fill_in

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Milliseconds that a page may take on busy cores, and seconds that a round or a run may.
PATIENCE_MS, SLOW_S = 90_000, 400.0
#: Number of samples of the audit, and of images of the run.
AUDIT, RUN = 3, 60
#: Number of backgrounds that are chosen on the page; the study has no others.
BACKGROUNDS = 6


@dataclass(frozen=True)
class Window:
    """A person's window on the studio's pages."""

    account: LabelStudio
    page: Page
    #: what the browser reported as errors
    errors: list[str]

    @property
    def main(self) -> str:
        """The text of the page that is shown."""
        return self.page.locator("main").inner_text()

    def look(self, name: str) -> None:
        """Keep a screenshot, if somebody wants to look at it."""
        if kept := os.environ.get("DATAGEN_TEST_PICTURES"):
            self.page.screenshot(path=f"{kept}/{name}.png", full_page=True)


OpenWindow = Callable[[LabelStudio, str], Window]


@pytest.fixture
def open_window(chromium: Browser, log_ins: LogIns) -> Iterator[OpenWindow]:
    """Returns a function that opens an address in a window of its own, in which a person has logged in."""
    contexts = []

    def open_window(account: LabelStudio, url: str) -> Window:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        window = Window(account, page, [])
        page.on("pageerror", lambda error: window.errors.append(str(error)))
        log_ins.open(page, account, url)
        return window

    yield open_window
    for context in contexts:
        context.close()


@pytest.fixture
def shelf(study: Study, whole_pack: Path) -> Iterator[int]:
    """A project of Label Studio with photos of two halls, in which nobody has thought of this study."""
    project = study.client.create_project(
        "Shelf", {"label_config": '<View><Image name="image" value="$image"/></View>'}
    )
    files = sorted((whole_pack / "background").iterdir())
    paths = study.client.upload(project.id, [(file.name, file.read_bytes()) for file in files])
    drafts = [
        {"data": {"image": path, "hall": "A" if number < BACKGROUNDS else "B"}} for number, path in enumerate(paths)
    ]
    study.client.import_tasks(project.id, drafts)
    yield project.id
    study.client.delete_project(project.id)


@pytest.fixture
def study(open_study: Callable[[str], Study], whole_pack: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose concept photos and canvases are drawn, without backgrounds."""
    monkeypatch.setattr(e2e_study, "PATIENCE_S", SLOW_S)
    opened = open_study(f"Two people {uuid.uuid4().hex[:6]}")
    for role in ("concept", "canvas"):
        opened.servers.datagen("add", opened.name, role, str(whole_pack / f"{role}.json"))
    return opened


def test_two_people_lead_a_study_from_the_pages_and_one_goes_on_in_label_studio(
    study: Study,
    shelf: int,
    open_window: OpenWindow,
    chromium: Browser,
    label_studio: LabelStudio,
    tmp_path: Path,
) -> None:
    bo_account = sign_up(label_studio)
    ann, bo = (open_window(account, page_of(study)) for account in (label_studio, bo_account))
    choose_backgrounds(study, ann, shelf)
    build_the_first_round(study, ann)
    judge_and_disagree(study, ann, bo)
    nothing_is_shown_to_who_may_not_see_it(study, open_window, label_studio)
    refine_and_judge_again(study, ann, bo)
    audit(study, ann, bo)
    approve_and_watch_the_run(study, ann)
    look_at_the_dataset_and_download_it(study, bo, tmp_path)
    go_on_in_label_studio_alone(study, chromium, bo_account)
    read_what_label_studio_did(study, ann)
    lose_the_right(study, ann, bo, label_studio)
    assert [ann.errors, bo.errors] == [[], []]
    assert decided(study) == [
        (label_studio.email, "build preview"),
        (label_studio.email, "refine"),
        (bo_account.email, "audit"),
        (label_studio.email, "approve"),
        (bo_account.email, "refine"),
    ]


def choose_backgrounds(study: Study, ann: Window, shelf: int) -> None:
    """Ann finds the photos of one hall in another project, and leaves none of them out."""
    page = ann.page
    study.wait(lambda: study.status()["inputs"] == {"concept": 6, "canvas": 6, "background": 0}, "the drawn inputs")
    page.reload()
    ann.look("01-study-without-backgrounds")
    page.get_by_role("link", name=re.compile("Backgrounds")).first.click()
    page.get_by_text("Choose backgrounds from a project").click()
    page.get_by_label("Project number").fill(str(shelf))
    page.get_by_label("Column of its data").fill("hall")
    page.get_by_label("Comparison").select_option("is")
    page.get_by_label("Value").fill("A")
    ann.look("02-search")
    page.get_by_role("button", name="Show the matches").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{BACKGROUNDS} matches")
    ann.look("03-matches")
    page.get_by_role("button", name="Add those that are ticked").click()
    expect(page.get_by_role("status")).to_have_text(f"{BACKGROUNDS} backgrounds added. They appear here once read.")
    ann.look("04-backgrounds-added")
    assert len(study.tasks(ProjectKind.BACKGROUNDS)) == BACKGROUNDS
    assert (ann.account.email, f"added {BACKGROUNDS} backgrounds from project {shelf}") in audit_lines(study)
    study.wait(lambda: study.status()["inputs"]["background"] == BACKGROUNDS, "the chosen backgrounds")


def build_the_first_round(study: Study, ann: Window) -> None:
    page = ann.page
    page.goto(page_of(study))
    decide_on_page(page, "Build preview", note="six photos of hall A")
    expect(page.get_by_role("status")).to_have_text(f"“build preview” was decided by {ann.account.email}.")
    ann.look("05-preview-decided")
    study.wait(lambda: study.status()["state"] == "reviewing", "the first round")
    assert len(study.tasks(ProjectKind.PREVIEWS)) == ROUND
    page.reload()
    expect(page.locator(".timeline .decision")).to_contain_text("six photos of hall A")


def judge_and_disagree(study: Study, ann: Window, bo: Window) -> None:
    """Bo judges the round by keyboard, Ann with the mouse; they disagree about the first image."""
    open_sheet(study, bo, f"Judge {ROUND} previews")
    bo.look("06-sheet")
    bo.page.keyboard.press("ArrowRight")
    bo.page.keyboard.press("1")  # a reason makes it bad
    bo.page.keyboard.press("c")
    bo.page.keyboard.type("too bright at its edge")
    bo.page.keyboard.press("Escape")
    bo.page.keyboard.press("b")
    for _ in range(ROUND - 1):
        bo.page.keyboard.press("g")
    expect_saved(bo.page, ROUND)
    bo.look("07-judged-by-keyboard")
    first = int(bo.page.locator("#sheet > li").first.get_attribute("data-number") or 0)
    others = sorted({*range(1, ROUND + 1)} - {first})

    ann.page.goto(page_of(study, "/round/1/review"))
    for item in ann.page.locator("#sheet > li").all():
        expect(item.locator(".others")).to_contain_text(bo.account.email)
        item.get_by_role("button", name="Good", exact=True).click()
    expect_saved(ann.page, ROUND)
    disputed = ann.page.locator("#sheet > li.disputed")
    expect(disputed).to_have_count(1)
    assert disputed.get_attribute("data-number") == str(first)
    expect(disputed.locator(".others")).to_contain_text("too bright at its edge")
    ann.look("08-disagreement-on-the-sheet")

    of_bo, of_ann = (annotations_of(study, window.account) for window in (bo, ann))
    read = verdict(of_bo[first].result)
    assert read is not None
    assert (read.opinion, len(read.reasons), read.comment) == ("bad", 1, "too bright at its edge")
    assert opinions(of_bo) == {first: "bad", **dict.fromkeys(others, "good")}
    assert opinions(of_ann) == dict.fromkeys(range(1, ROUND + 1), "good")
    study.wait(lambda: study.status()["verdicts"] == {"good": 2 * ROUND - 1, "bad": 1}, "the verdicts")
    ann.page.goto(page_of(study))
    expect(ann.page.locator(".before")).to_contain_text("the verdicts on 1 image disagree")
    ann.look("09-disagreement-on-the-study")
    study.wait(lambda: "Good and bad at once" in decision_html(study), "the disagreement on the decision task")


def nothing_is_shown_to_who_may_not_see_it(study: Study, open_window: OpenWindow, label_studio: LabelStudio) -> None:
    """Dee is refused with a sentence on each page, and so is what she sends, as in Label Studio itself."""
    account = sign_up(label_studio)
    work_elsewhere(label_studio, account)
    home = page_of(study).partition("/studio/")[0] + "/studio/"
    dee = open_window(account, home)
    assert study.name not in dee.page.content()
    assert "No study is shown to you" in dee.main
    dee.look("10-home-of-somebody-else")
    for below in ("", "/round/1", "/round/1/review", "/history", "/settings", "/inputs/concept"):
        answer = dee.page.goto(page_of(study, below))
        assert answer is not None
        assert (answer.status, NO_STUDY in dee.main) == (404, True)
        assert study.name not in dee.page.content()
    dee.look("11-study-of-others")
    before = audit_lines(study)
    form = {"form_token": dee.page.locator("input[name=form_token]").first.input_value(), "action": "stop"}
    answered = dee.page.request.post(page_of(study, "/decide"), form={**form, "state_token": ""})
    assert (answered.status, NO_STUDY in answered.text()) == (404, True)
    assert audit_lines(study) == before
    with closing(account.session()) as browser:
        project = browser.get(f"/api/projects/{study.projects[ProjectKind.PREVIEWS]}/")
        assert project.status_code == 404, "Label Studio itself shows it"


def refine_and_judge_again(study: Study, ann: Window, bo: Window) -> None:
    """Ann refines; both judge the second round good, Ann by keyboard."""
    decide_on_page(ann.page, "Refine", note="softer edges")
    expect(ann.page.get_by_role("status")).to_have_text(f"“refine” was decided by {ann.account.email}.")
    study.wait(lambda: study.status()["version"] == 2 and study.status()["state"] == "reviewing", "the second round")
    assert len(study.tasks(ProjectKind.PREVIEWS)) == 2 * ROUND
    open_sheet(study, ann, f"Judge {ROUND} previews")
    ann.page.keyboard.press("ArrowRight")
    for _ in range(ROUND):
        ann.page.keyboard.press("g")
    expect_saved(ann.page, ROUND)
    bo.page.goto(page_of(study, "/round/2/review"))
    for item in bo.page.locator("#sheet > li").all():
        item.get_by_role("button", name="Good", exact=True).click()
    expect_saved(bo.page, ROUND)
    for window in (ann, bo):
        given = annotations_of(study, window.account, number=2)
        assert opinions(given) == dict.fromkeys(range(1, ROUND + 1), "good")
    study.wait(lambda: study.status()["version_verdicts"] == {"good": 2 * ROUND, "bad": 0}, "the verdicts")
    ann.page.goto(page_of(study))
    expect(ann.page.get_by_role("heading", name="Version 2")).to_be_visible()
    assert "softer edges" in ann.main
    ann.look("12-second-round")


def audit(study: Study, ann: Window, bo: Window) -> None:
    """Bo, who may decide as Ann may, asks for an audit and judges it; the page shows both what it states."""
    bo.page.goto(page_of(study))
    decide_on_page(bo.page, "Audit", audit_count=str(AUDIT))
    expect(bo.page.get_by_role("status")).to_have_text(f"“audit” was decided by {bo.account.email}.")
    study.wait(lambda: study.status()["state"] == "reviewing", "the audit")
    open_sheet(study, bo, f"Judge {AUDIT} previews")
    bo.look("13-sheet-of-the-audit")
    bo.page.keyboard.press("ArrowRight")
    for _ in range(AUDIT):
        bo.page.keyboard.press("g")
    expect_saved(bo.page, AUDIT)
    assert opinions(annotations_of(study, bo.account, BatchKind.AUDIT)) == dict.fromkeys(range(1, AUDIT + 1), "good")
    study.wait(lambda: study.status()["audit_verdicts"] == {"good": AUDIT, "bad": 0}, "the verdicts of the audit")
    ann.page.reload()
    expect(ann.page.locator(".before")).to_contain_text(f"{AUDIT} audit verdicts, 0 bad")
    ann.look("14-audited")


def approve_and_watch_the_run(study: Study, ann: Window) -> None:
    """Ann approves, and sees the run under way and finished on a page that she does not load again."""
    decide_on_page(ann.page, "Approve", count=str(RUN), name="first batch", note="good enough")
    expect(ann.page.get_by_role("status")).to_have_text(f"“approve” was decided by {ann.account.email}.")
    ann.page.get_by_role("link", name="Run 1 · first batch").click()
    ann.look("15-run-begins")
    ann.page.evaluate("window.isTheSamePage = true")
    live = ann.page.locator("[data-part=run_progress]")
    expect(live).to_contain_text("under way")
    expect(live).to_contain_text(re.compile(rf"\d+ of {RUN} images"))
    ann.look("16-run-under-way")
    expect(live).to_contain_text("finished", timeout=SLOW_S * 1000)
    assert ann.page.evaluate("window.isTheSamePage") is True
    expect(ann.page.get_by_text("The run has ended.")).to_be_visible()
    study.wait(lambda: study.status()["state"] == "accepted", "the end of the run")
    with study.database.read() as session:
        run = session.scalars(
            select(BatchRow).join(StudyRow).where(StudyRow.name == study.name, BatchRow.kind == BatchKind.RUN)
        ).one()
        assert (run.count, run.name, run.note, run.requested_by) == (
            RUN,
            "first batch",
            "good enough",
            ann.account.email,
        )
    assert len(study.tasks(ProjectKind.DATASET)) == RUN


def look_at_the_dataset_and_download_it(study: Study, bo: Window, tmp_path: Path) -> None:
    bo.page.goto(page_of(study))
    bo.look("17-accepted")
    bo.page.get_by_role("link", name="Run 1 · first batch").click()
    expect(bo.page.locator("#figures + p")).to_contain_text(f"in {RUN} images")
    sizes = [int(text) for text in bo.page.locator("main table").last.locator("td:nth-child(6)").all_inner_texts()]
    assert sizes
    bo.look("18-dataset")
    bo.page.get_by_label("At least, pixels").fill(str(max(sizes)))
    bo.page.get_by_label("At least, pixels").press("Enter")
    bo.page.wait_for_url("**min_size=*")
    expect(bo.page.get_by_text("Show all")).to_be_visible()
    shown = [int(text) for text in bo.page.locator("main table").last.locator("td:nth-child(6)").all_inner_texts()]
    assert shown
    assert min(shown) >= max(sizes)
    bo.look("19-dataset-filtered")
    bo.page.get_by_text("Show all").click()

    bo.page.get_by_text("Download images with their labels").click()
    bo.look("20-download-form")
    bo.page.get_by_role("button", name="Make the download").click()
    bo.page.wait_for_url("**/run/1#handovers")
    link = bo.page.get_by_role("link", name=re.compile(f"Download {RUN} images"))
    expect(link).to_be_visible(timeout=SLOW_S * 1000)  # it appears by the stream of events
    bo.look("21-download-ready")
    with bo.page.expect_download() as started:
        link.click()
    started.value.save_as(tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(tmp_path / "set")
    (coco_file,) = (tmp_path / "set").rglob("*coco*.json")
    files = {image["file_name"] for image in COCO(str(coco_file)).dataset["images"]}
    assert {Path(name).name for name in files} == {task.data["file"] for task in study.tasks(ProjectKind.DATASET)}
    assert all((tmp_path / "set" / name).is_file() for name in files)


def go_on_in_label_studio_alone(study: Study, chromium: Browser, account: LabelStudio) -> None:
    """Bo refines on the decision task and judges the third round there, without a look at the studio's pages."""
    person = Person(chromium, account)
    person.log_in()
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    assert "first batch" in person.form_text()
    person.tick("refine")
    person.submit()
    study.wait(lambda: study.status()["version"] == 3 and study.status()["state"] == "reviewing", "the third round")
    newest = study.tasks(ProjectKind.PREVIEWS)[-ROUND:]
    assert {task.data["round"] for task in newest} == {"3"}
    for number, task in enumerate(newest):
        person.open_task(study.projects[ProjectKind.PREVIEWS], task.id)
        if number == 0:
            person.press("b")
            person.tick("too strong")
        else:
            person.press("g")
        person.submit_by_key()
    study.wait(lambda: study.status()["version_verdicts"] == {"good": ROUND - 1, "bad": 1}, "the verdicts")
    assert person.errors == []
    person.close()


def read_what_label_studio_did(study: Study, ann: Window) -> None:
    """Ann sees on the pages what Bo decided and judged in Label Studio."""
    ann.page.goto(page_of(study))
    version = ann.page.locator(".timeline > li").first
    expect(version.get_by_role("heading", level=3)).to_have_text("Version 3")
    expect(version.locator(".verdicts")).to_contain_text(f"{ROUND - 1} good, 1 bad")
    ann.look("22-after-label-studio")
    ann.page.goto(page_of(study, "/round/3/review"))
    expect(ann.page.locator("#sheet .others .pill.bad")).to_have_count(1)
    expect(ann.page.locator("#sheet .others .pill.good")).to_have_count(ROUND - 1)
    ann.look("23-verdicts-of-label-studio")
    ann.page.goto(page_of(study, "/history"))
    ann.look("24-history")


def lose_the_right(study: Study, ann: Window, bo: Window, label_studio: LabelStudio) -> None:
    """Bo is removed from the organization: he is not let in again, and his verdicts stay his, also when read again."""
    remove_member(label_studio, bo.account)
    bo.page.goto(page_of(study))
    bo.page.get_by_role("button", name="Log out").click()
    bo.page.goto(page_of(study))
    fill_in(bo.page, bo.account)
    expect(bo.page.get_by_role("alert")).to_have_text(NO_MEMBER)
    assert study.name not in bo.page.content()
    bo.look("25-removed")

    ann.page.goto(page_of(study, "/round/3/review"))
    item = ann.page.locator("#sheet > li", has=ann.page.locator(".others .pill.bad"))
    item.get_by_role("button", name="Good", exact=True).click()
    expect_saved(ann.page, 1)
    study.wait(lambda: study.status()["version_verdicts"] == {"good": ROUND, "bad": 1}, "the verdict of Ann")
    with study.database.read() as session:
        of_round = select(VerdictRow.reviewer).join(SampleRow).join(BatchRow).join(StudyRow)
        reviewers = session.scalars(
            of_round.where(StudyRow.name == study.name, BatchRow.kind == BatchKind.ROUND, BatchRow.number == 3)
        ).all()
    assert sorted(reviewer.rpartition(" ")[2] for reviewer in reviewers) == sorted(
        [ann.account.email, *ROUND * [bo.account.email]]
    )


def open_sheet(study: Study, window: Window, step: str) -> None:
    """Follow the study's next step to the review sheet."""
    window.page.goto(page_of(study))
    window.page.locator(".next").get_by_role("link", name=step).click()
    window.page.wait_for_url("**/review")


def opinions(annotations: dict[int, object]) -> dict[int, str]:
    """Number of an image → good or bad."""
    read = {number: verdict(annotation.result) for number, annotation in annotations.items()}
    return {number: str(given.opinion) for number, given in read.items() if given is not None}


def audit_lines(study: Study) -> list[tuple[str, str]]:
    """Who did what with the study, the oldest first."""
    with study.database.read() as session:
        lines = select(AuditRow.who, AuditRow.what).where(AuditRow.study == study.name).order_by(AuditRow.id)
        return [(who, line) for who, line in session.execute(lines)]


def decided(study: Study) -> list[tuple[str, str]]:
    """Who decided what, the oldest first."""
    actions = ("build preview", "refine", "audit", "approve")
    return [(who, line.split(" (")[0]) for who, line in audit_lines(study) if line.startswith(actions)]
