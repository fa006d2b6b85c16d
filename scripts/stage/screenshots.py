"""Makes the pictures of ``docs/tour.md`` and the README from a study on the rendered plates (``scripts/screenshots``).

The demo's annotator takes the study from its photos to a run. A person in a real browser looks at Label Studio and at
the studio's pages meanwhile. A further picture is a line in ``docs/tour.md``, and ``album.keep`` with its name here."""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from stage import loop, plates, servers
from stage.annotator import KINDS, Annotator
from stage.layout import ROOT
from stage.pack import Pack, read_pack
from stage.page_visitor import PageVisitor
from stage.person import CHROMIUM_FLAGS, Person
from stage.processes import Processes, StageError, wait_until
from stage.progress import Progress, print_line

NAME = "Brushed plates"
TOUR = ROOT / "docs" / "tour.md"
#: Name of the moving picture of a round.
MOVIE = "one-round.webp"
#: Number of images of the run.
IMAGES = 60
#: Number of previews that are judged before Label Studio is shown with the next one, and at each frame of the movie.
JUDGED, AT_A_TIME = 16, 4
#: Index of the preview that is shown among those that are left. Its scratch is clearly visible; any other preview would
#: work too.
SHOWN = 2
#: Width of the tour's pictures and of the movie, pixels.
WIDTH, MOVIE_WIDTH = 1200, 720
#: Height of the part of a page that a picture of the tour shows, in pixels of the page: more is of no use to a reader.
TALLEST = 1500
#: Milliseconds that a frame of the movie is shown, and the last one of a round.
FRAME_MS, LAST_MS = 700, 2600
#: Quality of WebP.
QUALITY, MOVIE_QUALITY = 80, 60


@dataclass
class Album:
    """The pictures of the tour that were taken, in a folder, and the frames of the movie."""

    folder: Path
    taken: set[str] = field(default_factory=set)
    frames: list[Image.Image] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    def keep(self, name: str, picture: Image.Image) -> None:
        """Keep a picture of the tour, cut to ``TALLEST`` and scaled to ``WIDTH``."""
        cut = picture.crop((0, 0, picture.width, min(picture.height, TALLEST)))
        self.folder.mkdir(parents=True, exist_ok=True)
        _scaled(cut, WIDTH).save(self.folder / name, quality=QUALITY, method=6)
        self.taken.add(name)
        print_line(str(self.folder / name))

    def add_frame(self, picture: Image.Image, milliseconds: int = FRAME_MS) -> None:
        """Add a frame to the movie."""
        self.frames.append(_scaled(picture, MOVIE_WIDTH))
        self.durations.append(milliseconds)

    def finish(self) -> None:
        """Write the movie.

        Raises:
            StageError: a picture of the tour was not taken, or one is not in the tour.
        """
        first, *others = self.frames
        first.save(
            self.folder / MOVIE,
            save_all=True,
            append_images=others,
            duration=self.durations,
            loop=0,
            quality=MOVIE_QUALITY,
            method=6,
        )
        shown = pictures_of_the_tour()
        if different := shown ^ {*self.taken, MOVIE}:
            raise StageError(f"{TOUR} and this script differ in their pictures: {', '.join(sorted(different))}.")


def pictures_of_the_tour() -> set[str]:
    """Return the names of the pictures that the tour shows."""
    return set(re.findall(r"\]\(tour/([^)]+)\)", TOUR.read_text(encoding="utf-8")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pictures; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/screenshots", description="Makes the pictures of the tour and the README anew."
    )
    parser.add_argument("--pages", type=Path, metavar="DIR", help="also save a picture of every project there")
    pages = parser.parse_args(arguments).pages
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print_line("There is no chromium on the PATH; install it (Debian: apt-get install chromium).")
        return 1
    with tempfile.TemporaryDirectory(prefix="datagen-screenshots-") as folder:
        processes = Processes(Path(folder) / "servers")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
                _make(processes, Path(folder), browser, pages)
                browser.close()
        except StageError as error:
            print_line(str(error))
            return 1
        finally:
            processes.stop_all()
    return 0


def _make(processes: Processes, folder: Path, browser: Browser, pages: Path | None) -> None:
    progress = Progress({"Rendering plates": 15.0, **servers.STEPS, "Making a study": 120.0}, folder / "seconds")
    with progress.step("Rendering plates"):
        pack = read_pack(plates.write_pack(folder / "plates", lists=plates.GIVEN))
    running = servers.start_all(processes, folder, os.environ, progress)
    running.datagen("provision", NAME, "--label", "scratch", "--json")
    album = Album(TOUR.parent / "tour")
    visitor = PageVisitor(browser, f"http://127.0.0.1:{running.settings['PORT']}")
    visitor.log_in(running.label_studio)
    person = Person(browser, running.label_studio)
    person.log_in()
    with (
        progress.step("Making a study"),
        Annotator(running.label_studio.url, running.label_studio.token, NAME) as annotator,
    ):
        _first_round(annotator, pack, person, visitor, album)
        _second_round(annotator, visitor, album)
        _dataset(annotator, visitor, album)
        if pages is not None:
            _projects(annotator, person, pages)
    person.close()
    visitor.close()
    if visitor.errors:
        raise StageError(f"The pages reported errors: {'; '.join(visitor.errors)}")
    album.finish()


def _first_round(annotator: Annotator, pack: Pack, person: Person, visitor: PageVisitor, album: Album) -> None:
    for role in KINDS:
        annotator.bring(role, pack, _silent)
    asked = annotator.decide("build preview")
    previews = annotator.await_previews(loop.ROUND, asked, loop.ROUND_WITHIN_S)
    annotator.choose_standard(previews)
    _judge_on_the_sheet(annotator, previews[:JUDGED], visitor, album)
    left = int(previews[JUDGED + SHOWN]["id"])
    person.open_task(int(annotator.project("Previews")["id"]), left)
    person.tick("good")
    album.keep("judge.webp", _screen(person))
    person.open_task(int(annotator.project("Decisions")["id"]), _settled_decision(annotator, JUDGED))
    person.form_text()
    album.keep("decide.webp", _screen(person))
    _judge(annotator, previews[JUDGED:], visitor, album, round_number=1, before=JUDGED)
    album.keep("round.webp", visitor.picture(full_page=True))
    visitor.follow(re.compile("^Every pixel of image"))
    visitor.page.get_by_role("dialog").wait_for()
    visitor.page.keyboard.press("z")
    visitor.page.locator(".pswp img.squares").wait_for()
    album.keep("pixels.webp", visitor.picture())


def _second_round(annotator: Annotator, visitor: PageVisitor, album: Album) -> None:
    asked = annotator.decide("refine", note="smaller ones")
    previews = annotator.await_previews(2 * loop.ROUND, asked, loop.ROUND_WITHIN_S)[-loop.ROUND :]
    annotator.await_changes(2, loop.ROUND_WITHIN_S)
    _judge(annotator, previews, visitor, album, round_number=2)
    annotator.await_words(rf"(Version 2 is|Whether version 2 is)[^.]* of {loop.ROUND} verdicts", loop.ROUND_WITHIN_S)
    _study(visitor)
    visitor.page.get_by_role("heading", name="Results of the rounds").scroll_into_view_if_needed()
    album.add_frame(visitor.picture(), LAST_MS)
    visitor.home()
    album.keep("studies.webp", visitor.picture())


def _dataset(annotator: Annotator, visitor: PageVisitor, album: Album) -> None:
    asked = annotator.decide("audit", audit_count=loop.AUDIT)
    samples = annotator.await_previews(2 * loop.ROUND + loop.AUDIT, asked, loop.ROUND_WITHIN_S)
    annotator.review(samples, _silent)
    annotator.await_words(rf"At least \d+ % acceptable, .*{loop.AUDIT} audit verdicts", loop.ROUND_WITHIN_S)
    asked = annotator.decide("approve", count=IMAGES, name="spring", note="good enough")
    annotator.await_dataset(IMAGES, asked, loop.ROUND_WITHIN_S + loop.IMAGE_WITHIN_S * IMAGES, _silent)
    _study(visitor)
    album.keep("study.webp", visitor.picture(full_page=True))
    visitor.follow(re.compile("Concept photos"))
    album.keep("inputs.webp", visitor.picture(full_page=True))
    _study(visitor)
    visitor.follow(re.compile("^Run 1"))
    album.keep("run.webp", visitor.picture(full_page=True))
    visitor.follow(re.compile(r"^image \d+$"))
    visitor.page.get_by_role("heading", name="Origin").wait_for()
    album.keep("origin.webp", visitor.picture(full_page=True))


def _judge_on_the_sheet(
    annotator: Annotator, previews: Sequence[dict[str, Any]], visitor: PageVisitor, album: Album
) -> None:
    """Judge previews of the first round on its review sheet by keyboard, with a frame after each few."""
    _study(visitor)
    visitor.follow("Preview round 1")
    visitor.follow("Review here")
    album.add_frame(visitor.picture(), LAST_MS)
    for done, task in enumerate(previews, start=1):
        card = visitor.page.locator(f"#sheet > li[data-number='{task['data']['index']}']")
        card.focus()
        opinion = annotator.opinion_of(task)
        for reason in opinion.reasons:
            key = card.locator("label", has_text=reason).locator("kbd").text_content()  # it is folded away
            visitor.page.keyboard.press(str(key))
        visitor.page.keyboard.press("g" if opinion.good else "b")
        if done % AT_A_TIME == 0:
            album.add_frame(visitor.picture())
        if done == len(previews) // 2:
            album.keep("sheet.webp", visitor.picture())
    saved = visitor.page.locator("#sheet .state", has_text=re.compile("^saved$"))
    expect(saved).to_have_count(len(previews), timeout=1000 * loop.ROUND_WITHIN_S)


def _judge(
    annotator: Annotator,
    previews: Sequence[dict[str, Any]],
    visitor: PageVisitor,
    album: Album,
    *,
    round_number: int,
    before: int = 0,
) -> None:
    """Judge previews of a round in which ``before`` are judged; after each few, add a frame of the round's gallery."""
    for start in range(0, len(previews), AT_A_TIME):
        annotator.review(previews[start : start + AT_A_TIME], _silent)
        _study(visitor)
        visitor.follow(f"Preview round {round_number}")
        judged = before + min(start + AT_A_TIME, len(previews))
        _await_verdicts(visitor, judged)
        album.add_frame(visitor.picture(), LAST_MS if judged == loop.ROUND else FRAME_MS)


def _await_verdicts(visitor: PageVisitor, count: int) -> None:
    """Load the gallery anew until it shows so many verdicts, which webhooks bring."""
    judged = visitor.page.locator(".gallery li:is(.good, .bad)")

    def are_there() -> bool:
        if judged.count() >= count:
            return True
        visitor.page.reload()
        return False

    wait_until(are_there, loop.ROUND_WITHIN_S, f"The gallery with {count} verdicts")


def _study(visitor: PageVisitor) -> None:
    visitor.home()
    visitor.follow(NAME)


def _projects(annotator: Annotator, person: Person, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (*KINDS.values(), "Previews", "Decisions", "Dataset"):
        person.open_project(int(annotator.project(kind)["id"]))
        _screen(person).save(folder / f"{kind.lower()}.png")


def _settled_decision(annotator: Annotator, judged: int) -> int:
    """Wait until the newest decision task counts ``judged`` verdicts; return the task's id."""
    left = f"{loop.ROUND - judged} still to review"
    newest = max(int(task["id"]) for task in annotator.tasks("Decisions"))
    wait_until(
        lambda: left in annotator.decision_text(newest), loop.ROUND_WITHIN_S, "The count of verdicts on the page"
    )
    return newest


def _screen(person: Person) -> Image.Image:
    person.page.wait_for_load_state("networkidle")
    return Image.open(io.BytesIO(person.page.screenshot())).convert("RGB")


def _scaled(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)


def _silent(*_: object) -> None:
    """Report nothing: the step as a whole is short."""


if __name__ == "__main__":
    raise SystemExit(main())
