"""Test data for imports: pictures, regions and files in the form in which other programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from datagen.domain.inputs import ProjectKind, Role
from datagen.imaging.png_encoder import encode_png
from datagen.label_studio.mapping.region_mapping import LabelNames, boxes_of, map_regions
from datagen.workflow.inputs.importing.items import Reading
from datagen.workflow.inputs.importing.sources import read_file, read_folder

WIDTH, HEIGHT = 200, 100
NAMES = LabelNames(labels=("scratch", "dent"), aliases={})


def picture(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8))


def rectangle(x: Any = 10, y: Any = 20, width: Any = 30, height: Any = 40, label: Any = "scratch") -> dict[str, Any]:
    """Return a rectangle of a project whose control is called “bbox”; numbers are in percent.

    By default it lies at (20, 20) and has 60 × 40 pixels.
    """
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "r1", "from_name": "bbox", "to_name": "img", "type": "rectanglelabels", "value": value, **sizes}


def task(image: str = "a.png", *results: dict[str, Any], **annotation: Any) -> dict[str, Any]:
    return {
        "data": {"image": image},
        "annotations": [{"id": 1, "result": list(results or [rectangle()]), **annotation}],
    }


def file(folder: Path, name: str, content: Any, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
    return path


def read(path: Path, role: Role = Role.CONCEPT) -> Reading:
    """Return what ``datagen add`` reads from a path, before it looks for the pictures."""
    reading = Reading()
    if path.is_dir():
        read_folder(path, str(path), role, reading, zipped=False)
    else:
        read_file(path, str(path), role, reading)
    return reading


def boxes(
    reading: Reading, kind: ProjectKind = ProjectKind.CONCEPTS, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> list[list[Any]]:
    """Return each item's regions as (label, x, y, width, height) in whole pixels.

    Regions that cannot be used are reported in ``reading``.
    """
    regions = []
    for item in reading.items:
        mapped = map_regions(item.draw(*size) if item.draw else None, kind, *size, NAMES)
        for sentence in mapped.problems:
            reading.report(item.where, sentence)
        frames = boxes_of(mapped.results, kind, *size, NAMES.labels)
        regions.append([(label, *(round(n) for n in (b.x, b.y, b.width, b.height))) for label, b in frames])
    return regions


THE_BOX = ("scratch", 20, 20, 60, 40)
