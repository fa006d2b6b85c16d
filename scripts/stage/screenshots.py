"""Makes the pictures of the README, of a review and of a decision about the rendered plates (``scripts/screenshots``).

The demo's annotator carries out a first round. A real browser then opens the pages."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from stage import loop, plates, servers
from stage.annotator import KINDS, Annotator
from stage.layout import ROOT
from stage.pack import read_pack
from stage.person import CHROMIUM_FLAGS, Person
from stage.processes import Processes, StageError, wait_until
from stage.progress import Progress, print_line

NAME = "Brushed plates"
#: Index of the preview that is shown. Its scratch is clearly visible; any other preview of the round would work too.
SHOWN = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the screenshots; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description="Makes the README's pictures anew.")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="keep a picture of every desk there, too")
    pages = parser.parse_args(arguments).pages
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print_line("There is no chromium on the PATH; install it (Debian: apt-get install chromium).")
        return 1
    with tempfile.TemporaryDirectory(prefix="datagen-screenshots-") as folder:
        processes = Processes(Path(folder) / "servers")
        try:
            _make(processes, Path(folder), program, pages)
        except StageError as error:
            print_line(str(error))
            return 1
        finally:
            processes.stop_all()
    return 0


def _make(processes: Processes, folder: Path, program: str, pages: Path | None) -> None:
    progress = Progress(
        {"Rendering plates": 15.0, **servers.STEPS, "Making a study and a round": 30.0}, folder / "seconds"
    )
    with progress.step("Rendering plates"):
        pack = read_pack(plates.write_pack(folder / "plates", lists=plates.GIVEN))
    running = servers.start_all(processes, folder, os.environ, progress)
    with progress.step("Making a study and a round"), _annotator(running) as annotator:
        for role in KINDS:
            annotator.bring(role, pack, progress.done)
        asked = annotator.decide("build preview")
        previews = annotator.await_previews(loop.ROUND, asked, loop.ROUND_WITHIN_S)
        annotator.review(previews[: loop.ROUND - 4], progress.done)
        decision = _settled_decision(annotator, loop.ROUND - 4)
        kinds = {
            kind: int(annotator.project(kind)["id"]) for kind in (*KINDS.values(), "Previews", "Decisions", "Dataset")
        }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        person = Person(browser, running.label_studio)
        person.log_in()
        person.open_task(kinds["Previews"], int(previews[loop.ROUND - 4 + SHOWN]["id"]))
        person.tick("good")
        _keep(person, ROOT / "docs" / "review.png")
        person.open_task(kinds["Decisions"], decision)
        person.form_text()
        _keep(person, ROOT / "docs" / "decision.png")
        if pages is not None:
            pages.mkdir(parents=True, exist_ok=True)
            for kind, project in kinds.items():
                person.open_project(project)
                _keep(person, pages / f"{kind.lower()}.png")
        person.close()
        browser.close()


def _annotator(running: servers.Servers) -> Annotator:
    running.datagen("provision", NAME, "--label", "scratch", "--json")
    return Annotator(running.label_studio.url, running.label_studio.token, NAME)


def _settled_decision(annotator: Annotator, judged: int) -> int:
    """Wait until the newest decision task counts ``judged`` verdicts; return the task's id."""
    left = f"{loop.ROUND - judged} still to review"
    newest = max(int(task["id"]) for task in annotator.tasks("Decisions"))
    wait_until(
        lambda: left in annotator.decision_text(newest), loop.ROUND_WITHIN_S, "The count of verdicts on the page"
    )
    return newest


def _keep(person: Person, file: Path) -> None:
    person.page.wait_for_load_state("networkidle")
    person.page.screenshot(path=file)
    print_line(str(file))


if __name__ == "__main__":
    raise SystemExit(main())
