"""The manifest of an export of Datagen (``manifest.jsonl``) as items: boxes, outlines and holes of each image.

A folder with a manifest also holds masks, and often the same labels in other formats: the manifest is read, and masks
are no pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.domain.geometry import MAX_HOLES, MAX_PARTS, Polygon
from datagen.domain.inputs import Role
from datagen.domain.outline_joining import joined
from datagen.errors import BadRegion
from datagen.label_studio.mapping.region_conversion import check_size
from datagen.label_studio.mapping.region_limits import MAX_CORNERS_IN_ALL
from datagen.workflow.inputs.importing.items import MAX_ITEMS, Item, Reading
from datagen.workflow.inputs.importing.pixel_regions import MAX_CORNERS, box, numbers, pairs, polygon, whole_size

#: The name of the file in an export.
NAME = "manifest.jsonl"
#: Folders of an export that hold masks.
_MASK_FOLDERS = ("masks", "semantic")
#: Largest number of instances read of one image.
_MAX_INSTANCES = 2_000
#: Largest number of lines of each kind of one instance. Joining all of them takes work for each line and corner.
_MAX_LINES = {"outlines": MAX_PARTS, "holes": MAX_HOLES}


def is_manifest_line(value: Any) -> bool:
    """Return whether a JSON value is a line of a manifest."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("files"), Mapping)
        and isinstance(value.get("instances"), list)
        and isinstance(value.get("provenance"), Mapping)
    )


def without_masks(files: Sequence[Path], root: Path) -> list[Path]:
    """Return the files of a folder, without the masks where the folder is an export."""
    exports = {path.parent for path in files if path.name == NAME}
    masks = tuple(export / folder for export in exports for folder in _MASK_FOLDERS if export.is_relative_to(root))
    return [path for path in files if not any(path.is_relative_to(folder) for folder in masks)]


def read_manifest(lines: Iterable[Any], called: str, role: Role, reading: Reading) -> None:
    """Add the images of a manifest with their instances."""
    for number, line in enumerate(lines, start=1):
        where = f"{called}, line {number}"
        if len(reading.items) >= MAX_ITEMS:
            reading.report(where, f"more than {MAX_ITEMS:,} pictures are not read at once; split the file")
            return
        if not is_manifest_line(line):
            reading.report(where, "it is no line of a manifest")
            continue
        address = line["files"].get("image")
        if not isinstance(address, str) or not address.strip():
            reading.report(where, "it names no image file; export the set with a format that has images/")
            continue
        if len(line["instances"]) > _MAX_INSTANCES:
            reading.report(where, f"it has more than {_MAX_INSTANCES:,} instances; the rest is not read")
        drawings = _Drawings(
            where=where,
            instances=line["instances"][:_MAX_INSTANCES],
            declared=whole_size(line.get("width"), line.get("height")),
            role=role,
            reading=reading,
        )
        draw = drawings.regions if line["instances"] else None
        reading.items.append(Item(where=where, address=address.strip(), draw=draw))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawings:
    """The instances of one image."""

    #: the line's name in messages
    where: str
    instances: Sequence[Any]
    #: the image's size (width, height) as declared in the line
    declared: tuple[int, int] | None
    role: Role
    reading: Reading

    def regions(self, width: int, height: int) -> list[dict[str, Any]]:
        """Return the regions on the image, whose actual size is given; an invalid instance is reported."""
        return self.reading.regions(
            (
                f"{self.where}, instance {number}",
                partial(_instance_regions, instance, self.declared or (width, height), (width, height), self.role),
            )
            for number, instance in enumerate(self.instances, start=1)
        )


def _instance_regions(
    instance: Any, size: tuple[int, int], actual: tuple[int, int], role: Role
) -> list[dict[str, Any]]:
    """Return the box and the outline of one instance; for a canvas only the outline.

    Raises:
        BadRegion: the instance cannot be used.
    """
    check_size({"original_width": size[0], "original_height": size[1]}, {}, *actual)
    if not isinstance(instance, Mapping) or not isinstance(instance.get("label"), str):
        raise BadRegion("it has no label")
    label = plain(instance["label"])[:100]
    lines = [*_lines(instance, "outlines"), *_lines(instance, "holes")]
    if not lines:
        raise BadRegion("it has no outlines")
    if (corners := sum(len(line.points) for line in lines)) > MAX_CORNERS_IN_ALL:
        raise BadRegion(f"its outlines and holes have {corners:,} corners, at most {MAX_CORNERS_IN_ALL:,} are read")
    outline = polygon(joined(lines), label, size)
    if role is Role.CANVAS:
        return [outline]
    x, y, across, down = numbers(instance.get("box"), 4, "box")[:4]
    return [box(x, y, across, down, label, size), outline]


def _lines(instance: Mapping[str, Any], key: str) -> list[Polygon]:
    lines = instance.get(key, [])
    if not isinstance(lines, list) or len(lines) > _MAX_LINES[key]:
        raise BadRegion(f"its {key} are no list of at most {_MAX_LINES[key]:,} lines")
    polygons = []
    for line in lines:
        if not isinstance(line, list) or not 3 <= len(line) <= MAX_CORNERS:
            raise BadRegion(f"its {key} have a line that is no list of 3 to {MAX_CORNERS:,} corners")
        flat = [value for corner in line for value in numbers(corner, 2, key)[:2]]
        polygons.append(Polygon(tuple(pairs(flat, key))))
    return polygons
