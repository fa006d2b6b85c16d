"""README.txt of an export: what lies where, for whoever opens the zip in a year."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

_ALWAYS = (
    ("images/", "the synthesized images, PNG"),
    ("masks/", "their instance masks, PNG: 0 outside, 1 inside the first instance, 2 inside the second, …"),
    ("manifest.jsonl", "one JSON line an image: files, SHA-256, labels, and where every pixel comes from"),
)
_BY_FORMAT = {
    "coco": (("coco.json", "COCO: boxes, polygons, areas; coordinates in pixels"),),
    "yolo": (
        ("labels/", "YOLO: boxes, one text file an image"),
        ("data.yaml", "YOLO: the folders and classes, as Ultralytics reads them"),
    ),
    "yolo-segment": (
        ("labels/", "YOLO: polygons, one text file an image"),
        ("data.yaml", "YOLO: the folders and classes, as Ultralytics reads them"),
    ),
    "voc": (("Annotations/", "Pascal VOC: boxes, one XML file an image; pixels counted from 1"),),
    "semantic": (("semantic/", "label masks, PNG: 0 outside, else the label's number in the list below"),),
}


def text(
    about: Mapping[str, Any],
    *,
    images: int,
    instances: Mapping[str, int],
    formats: Collection[str],
) -> str:
    """The text; ``instances`` has how many there are of each of the study's labels, in their order."""
    entries = [*_ALWAYS, *(entry for name in formats for entry in _BY_FORMAT[name])]
    width = max(len(path) for path, _ in entries)
    lines = ["Synthesized images with labels, made by Datagen for Label Studio.", ""]
    lines += [f"{path:<{width}}  {what}" for path, what in entries]
    lines += ["", f"Images: {images:,}", "Labels (number, name, instances):"]
    lines += [f"  {i + 1}  {label}  {count:,}" for i, (label, count) in enumerate(instances.items())]
    lines += ["", "About this export:", json.dumps(dict(about), indent=2, ensure_ascii=False)]
    lines += [
        "",
        "Every file was checked against its checksum, and every label against its mask, when this was written.",
        "These images are synthetic: measure what a model learned from them on real ones.",
    ]
    return "\n".join(lines) + "\n"
