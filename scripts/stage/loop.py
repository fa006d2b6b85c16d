"""The whole loop, carried out by the simulated annotator: two rounds of review, an audit, an approval, the export."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from stage.annotator import Annotator
from stage.contact_sheet import write_sheet
from stage.processes import StageError
from stage.progress import Progress, print_line
from stage.servers import Servers

#: Number of review tasks in a round, as set for the installation of the stage.
ROUND = 20
#: Number of samples in the audit: with none bad, at least 90 % are promised to be acceptable, at 90 % confidence.
AUDIT = 22
#: Maximum seconds for a round, and for one image of the run; both are far more than needed.
ROUND_WITHIN_S, IMAGE_WITHIN_S = 180.0, 3.0


def steps(count: int) -> dict[str, float]:
    """Return the steps of the loop for a run of ``count`` images, with their expected duration in seconds."""
    return {
        "Building the first preview": 5.0,
        "Reviewing round 1": 10.0,
        "Refining": 5.0,
        "Reviewing round 2": 10.0,
        "Auditing": 5.0,
        f"Judging {AUDIT} audit samples": 10.0,
        f"Generating {count} images": 3 + 0.06 * count,
        "Exporting": 3 + 0.02 * count,
    }


def play(servers: Servers, annotator: Annotator, count: int, progress: Progress, results: Path) -> dict[str, Any]:
    """Run the loop from the first preview to the export; return the counts and measurements.

    Raises:
        StageError: a step failed or took too long, or the numbers of images at the end are not equal.
    """
    verdicts = 0
    with progress.step("Building the first preview"):
        began = time.monotonic()
        asked = annotator.decide("build preview")
        tasks = annotator.await_previews(ROUND, asked, ROUND_WITHIN_S)
        preview_seconds = time.monotonic() - began
    with progress.step("Reviewing round 1"):
        verdicts += annotator.review(tasks, progress.done)
    with progress.step("Refining"):
        asked = annotator.decide("refine", note="smaller ones")
        tasks = annotator.await_previews(2 * ROUND, asked, ROUND_WITHIN_S)
        learned = annotator.await_changes(2, ROUND_WITHIN_S)
    print_line("Learned from round 1: " + " ".join(learned[:2]))
    with progress.step("Reviewing round 2"):
        verdicts += annotator.review(tasks, progress.done)
        effect = annotator.await_words(
            # it counts all verdicts
            rf"(Version 2 is|Whether version 2 is)[^.]* of {ROUND} verdicts[^.]*\.",
            ROUND_WITHIN_S,
        )
    print_line(f"What it changed: {effect}")
    with progress.step("Auditing"):
        asked = annotator.decide("audit", audit_count=AUDIT)
        samples = annotator.await_previews(2 * ROUND + AUDIT, asked, ROUND_WITHIN_S)
    with progress.step(f"Judging {AUDIT} audit samples"):
        verdicts += annotator.review(samples, progress.done)
        promise = annotator.await_words(
            rf"At least \d+ % acceptable, at \d+ % confidence: {AUDIT} audit verdicts, \d+ bad\.", ROUND_WITHIN_S
        )
    print_line(f"What the approval states: {promise}")
    with progress.step(f"Generating {count} images"):
        began = time.monotonic()
        asked = annotator.decide("approve", count=count, name="demo", note="good enough")
        in_dataset = annotator.await_dataset(count, asked, ROUND_WITHIN_S + IMAGE_WITHIN_S * count, progress.done)
        bulk_seconds = time.monotonic() - began
        if f"Stated: {promise}" not in (decided := annotator.decision_text(asked)):
            raise StageError(f"The approval does not state the promise “{promise}”. The decision task says: {decided}")
    with progress.step("Exporting"):
        results.mkdir(parents=True, exist_ok=True)
        export = results / f"{annotator.study}.zip".replace(" ", "-").replace(":", "")
        servers.datagen("export", annotator.study, "--out", str(export))
        sheet = export.with_suffix(".png")
        generated = write_sheet(export, sheet)
    print_line(f"A contact sheet to look at: {sheet}")
    if not generated == in_dataset == count:
        raise StageError(
            f"{count} images were asked for, the dataset has {in_dataset} tasks, the export {generated} images."
        )
    return {
        "study": annotator.study,
        "rounds": 2,
        "previews": len(tasks),
        "audited": AUDIT,
        "verdicts": verdicts,
        "learned": learned,
        "effect": effect,
        "promise": promise,
        "generated": generated,
        "dataset_tasks": in_dataset,
        "export": str(export),
        "seconds": {"preview_round": round(preview_seconds, 2), "bulk": round(bulk_seconds, 2)},
    }
