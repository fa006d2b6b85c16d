"""The whole loop, carried out by the simulated annotator: two rounds of review, an approval, the run, the export."""

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
#: Maximum seconds for a round, and for one image of the run; both are far more than needed.
ROUND_WITHIN_S, IMAGE_WITHIN_S = 180.0, 3.0


def steps(count: int) -> dict[str, float]:
    """Return the steps of the loop for a run of ``count`` images, with their expected duration in seconds."""
    return {
        "Building the first preview": 5.0,
        "Reviewing round 1": 10.0,
        "Refining": 5.0,
        "Reviewing round 2": 10.0,
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
        asked = annotator.decide("refine", note="fewer that stand out")
        tasks = annotator.await_previews(2 * ROUND, asked, ROUND_WITHIN_S)
    with progress.step("Reviewing round 2"):
        verdicts += annotator.review(tasks, progress.done)
    with progress.step(f"Generating {count} images"):
        began = time.monotonic()
        asked = annotator.decide("approve", count=count, name="demo", note="good enough")
        in_dataset = annotator.await_dataset(count, asked, ROUND_WITHIN_S + IMAGE_WITHIN_S * count, progress.done)
        bulk_seconds = time.monotonic() - began
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
        "verdicts": verdicts,
        "generated": generated,
        "dataset_tasks": in_dataset,
        "export": str(export),
        "seconds": {"preview_round": round(preview_seconds, 2), "bulk": round(bulk_seconds, 2)},
    }
