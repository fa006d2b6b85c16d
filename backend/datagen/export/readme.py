"""README.txt of an export: a description of its files and their limits."""

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
    "coco": (("coco.json", "COCO: boxes, polygons (run-length masks where there are holes), areas; in pixels"),),
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

#: Format → the information that it cannot hold. ``masks/`` contains all of it.
_LOSSES = {
    "coco": "coco.json: a polygon follows the pixels' edge; what has a hole is a run-length mask, pixel for pixel.",
    "yolo": "labels/: boxes alone, no shapes.",
    "yolo-segment": (
        "labels/: one line per object. Parts and holes are joined to it by lines of no width, which hold for readers "
        "that fill by the even-odd rule, as Ultralytics does."
    ),
    "voc": "Annotations/: boxes alone, in whole pixels, no shapes.",
    "semantic": "semantic/: which label, not which of two objects of one label; at most 255 labels.",
}


def text(
    about: Mapping[str, Any],
    *,
    images: int,
    instances: Mapping[str, int],
    formats: Collection[str],
) -> str:
    """Return the text of README.txt.

    Args:
        about: JSON values that describe the export.
        images: the number of images.
        instances: label → number of instances, for each of the study's labels in order.
        formats: the formats that the export contains.
    """
    entries = [*_ALWAYS, *(entry for name in formats for entry in _BY_FORMAT[name])]
    width = max(len(path) for path, _ in entries)
    lines = ["Synthesized images with labels, made by Datagen for Label Studio.", ""]
    lines += [f"{path:<{width}}  {description}" for path, description in entries]
    lines += ["", f"Images: {images:,}", "Labels (number, name, instances):"]
    lines += [f"  {i + 1}  {label}  {count:,}" for i, (label, count) in enumerate(instances.items())]
    lines += ["", "What a file cannot hold (masks/ holds all of it, up to 255 objects in an image):"]
    lines += ["  manifest.jsonl: outlines without their holes."]
    lines += [f"  {_LOSSES[name]}" for name in _LOSSES if name in formats]
    lines += ["", "About this export:", json.dumps(dict(about), indent=2, ensure_ascii=False)]
    lines += [
        "",
        "Every file was checked against its checksum, and every label against its mask, when this was written.",
        "These images are synthetic: measure what a model learned from them on real ones.",
    ]
    return "\n".join(lines) + "\n"
