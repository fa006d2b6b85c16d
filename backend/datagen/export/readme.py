"""README.txt of an export: a description of its files and their limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from datagen.export import export_facts
from datagen.export.writer import ExportWriter

_IMAGES = (
    ("images/", "the synthesized images"),
    ("masks/", "their instance masks, PNG: 0 outside, 1 inside the first instance, 2 inside the second, …"),
)
_CHOSEN = ((export_facts.NAME, "what was selected, cut, encoded or added for this export"),)
_TEXTS = (
    ("manifest.jsonl", "one JSON line an image: files, SHA-256, labels, and where every pixel comes from"),
    (
        "specs.jsonl",
        "one JSON line a version: inputs and parameters, from which datagen reproduce renders images again",
    ),
)


def text(
    about: Mapping[str, Any],
    *,
    images: int,
    instances: Mapping[str, int],
    formats: Sequence[tuple[type[ExportWriter], str]],
    has_images: bool = True,
    splits: Mapping[str, int] | None = None,
    photos: int = 0,
    notes: Sequence[str] = (),
) -> str:
    """Return the text.

    Args:
        about: JSON values that describe the export.
        images: the number of images.
        instances: the number of instances of each of the study's labels, in order.
        formats: the requested formats, each with its folder.
        has_images: whether there are the folders images/ and masks/.
        splits: the number of images of each split.
        photos: the number of real photos among the images.
        notes: sentences about what was left out, or written otherwise.
    """
    entries = [*(_IMAGES if has_images else ()), *_TEXTS, *(_CHOSEN if export_facts.choices(about) else ())]
    for each, folder in formats:
        if folder:
            entries.append((folder, f"{each.name} with its images, in a folder of its own because of a common name"))
        entries += ((f"{folder}{path}", description) for path, description in each.paths)
    width = max(len(path) for path, _ in entries)
    lines = ["Synthesized images with labels, made by Datagen for Label Studio.", ""]
    lines += [f"{path:<{width}}  {description}" for path, description in entries]
    lines += ["", f"Images: {images:,}"]
    lines += [f"  {name}: {count:,}" for name, count in (splits or {}).items()]
    if photos:
        lines += [f"  of these real photos: {photos:,} (files photo_…, “origin” in manifest.jsonl), labelled by people"]
    lines += [f"{note}." for note in notes]
    lines += ["Labels (number, name, instances):"]
    lines += [f"  {i + 1}  {label}  {count:,}" for i, (label, count) in enumerate(instances.items())]
    lines += ["", "What a file cannot hold (the instance masks hold all of it, up to 255 objects in an image):"]
    lines += ["  manifest.jsonl: nothing; outlines and holes together, filled by the even-odd rule, are the masks."]
    lines += [f"  {each.name}: {each.limits}" for each, _ in formats]
    lines += ["", "About this export:", json.dumps(dict(about), indent=2, ensure_ascii=False)]
    lines += [
        "",
        "Every file was checked against its checksum, and every label against its mask, when this was written.",
        f"{'All other' if photos else 'These'} images are synthetic: measure what a model learned on other, real ones.",
    ]
    return "\n".join(lines) + "\n"
