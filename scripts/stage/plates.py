"""The sample data of the demo: brushed-metal plates with scratches, rendered, so that nothing is downloaded.

A plate with rounded corners and four bolt holes lies on a dark table under one lamp. Its surface is brushed: noise that
is drawn out along one direction, with a highlight across it. A scratch is a groove in a height map. Its floor is dark.
Of its two raised banks, the one towards the lamp is bright.

``write_pack`` makes a folder with the structure of every pack, and with true masks of the scratches for evaluations.
The same seed gives the same bytes. This module decides what a pack contains; ``metal`` renders metal and scratches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from stage.metal import HEIGHT, WIDTH, Plate, Scratch, photograph, plate_of, scratch_on

#: Number of images in each list. The demo needs the first three lists; the last two are for evaluations.
COUNTS = {"concept": 8, "canvas": 8, "background": 50, "test": 60, "reference": 40}
#: The lists of a pack that a study gets.
GIVEN = ("concept", "canvas", "background")
#: To be changed whenever the same seed gives other images.
EDITION = 1
#: Indices of the concepts whose scratch has a drawn outline besides its box. This scratch is faint between strong
#: grain, and the automatic cut-out includes grain: its IoU with the true mask is 0.49, that of the others is 0.68 to
#: 0.87.
OUTLINED = frozenset({0})
#: Pixels between a scratch and the box that a person draws round it.
BOX_MARGIN = 2


def write_pack(
    folder: Path,
    *,
    seed: int = 7,
    lists: Iterable[str] = tuple(COUNTS),
    counts: Mapping[str, int] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the lists of a pack into ``folder`` and return the folder; overwrite existing files of the same names.

    ``counts`` are the numbers of images in each list, ``COUNTS`` by default. ``report(done, of)`` is called after each
    image.
    """
    wanted, counts = tuple(lists), counts or COUNTS
    of, done = sum(counts[name] for name in wanted), 0
    for name in wanted:
        images = folder / name
        images.mkdir(parents=True, exist_ok=True)
        masks = folder / f"{name}_mask"
        if name not in ("canvas", "background"):
            masks.mkdir(exist_ok=True)
        tasks = []
        for number in range(counts[name]):
            # every image has its own stream: lists can be rendered in any order, or alone
            rng = np.random.default_rng([seed, EDITION, tuple(COUNTS).index(name), number])
            plate = plate_of(rng)
            scratches: list[Scratch] = []
            for _ in range(_how_many(name, number, rng)):
                scratches.append(scratch_on(plate, scratches, rng))
            photo, mask = photograph(plate, scratches, rng)
            Image.fromarray(photo).save(images / f"{number:03}.jpg", quality=94, subsampling=0)
            task: dict[str, Any] = {"data": {"image": f"{name}/{number:03}.jpg"}}
            if name == "canvas":
                task["annotations"] = [{"result": [_area(plate)]}]
            elif name != "background":
                Image.fromarray(np.where(mask > 0, np.uint8(255), np.uint8(0))).save(masks / f"{number:03}.png")
                task["data"]["mask"] = f"{name}_mask/{number:03}.png"
                outlines = _outlines(mask, scratches) if name == "concept" and number in OUTLINED else []
                task["annotations"] = [{"result": _boxes(mask, scratches) + outlines}]
            tasks.append(task)
            done += 1
            if report is not None:
                report(done, of)
        (folder / f"{name}.json").write_text(json.dumps(tasks, indent=1))
    return folder


def _how_many(name: str, number: int, rng: np.random.Generator) -> int:
    """Return a random number of scratches for an image; 0 for canvases, backgrounds and every second test image."""
    if name in ("canvas", "background") or (name == "test" and number % 2):
        return 0
    return 2 if rng.random() < 0.3 else 1


def _boxes(mask: np.ndarray[Any, np.dtype[np.uint8]], scratches: Sequence[Scratch]) -> list[dict[str, Any]]:
    boxes = []
    for number in range(len(scratches)):
        ys, xs = np.nonzero(mask == number + 1)
        left, top = max(int(xs.min()) - BOX_MARGIN, 0), max(int(ys.min()) - BOX_MARGIN, 0)
        right, bottom = min(int(xs.max()) + 1 + BOX_MARGIN, WIDTH), min(int(ys.max()) + 1 + BOX_MARGIN, HEIGHT)
        value = {
            "x": left * 100 / WIDTH,
            "y": top * 100 / HEIGHT,
            "width": (right - left) * 100 / WIDTH,
            "height": (bottom - top) * 100 / HEIGHT,
            "rotation": 0,
            "rectanglelabels": ["scratch"],
        }
        boxes.append(_region(f"r{number}", "concept", "rectanglelabels", value))
    return boxes


def _outlines(mask: np.ndarray[Any, np.dtype[np.uint8]], scratches: Sequence[Scratch]) -> list[dict[str, Any]]:
    """Return the outline that a person draws round each scratch.

    If a scratch is interrupted, it is the outline of its largest part.
    """
    outlines = []
    for number in range(len(scratches)):
        alone = np.where(mask == number + 1, np.uint8(255), np.uint8(0))
        parts, _ = cv2.findContours(alone, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outline = max(parts, key=cv2.contourArea).reshape(-1, 2)
        # a contour runs through the middles of the outermost pixels
        points = [[(float(x) + 0.5) * 100 / WIDTH, (float(y) + 0.5) * 100 / HEIGHT] for x, y in outline]
        value = {"points": points, "closed": True, "polygonlabels": ["scratch"]}
        outlines.append(_region(f"o{number}", "outline", "polygonlabels", value))
    return outlines


def _area(plate: Plate) -> dict[str, Any]:
    """Return the polygon that a person draws round the area for scratches: the plate without its rim and bolt holes."""
    points = [[round(x * 100 / WIDTH, 4), round(y * 100 / HEIGHT, 4)] for x, y in plate.area]
    return _region("r0", "canvas", "polygonlabels", {"points": points, "closed": True, "polygonlabels": ["area"]})


def _region(name: str, control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": name, "type": kind, "from_name": control, "to_name": "image", **size, "value": value}
