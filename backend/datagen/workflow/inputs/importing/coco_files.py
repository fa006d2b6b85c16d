"""COCO files as items: boxes, polygons and run-length masks with their categories (Lin et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import Role
from datagen.errors import BadRegion, InputProblem
from datagen.label_studio.mapping import brush_masks
from datagen.label_studio.mapping.region_conversion import check_size
from datagen.label_studio.mapping.region_limits import Allowance
from datagen.workflow.inputs.importing import coco_rle
from datagen.workflow.inputs.importing.items import MAX_ITEMS, Item, Reading
from datagen.workflow.inputs.importing.pixel_regions import box, numbers, pairs, polygon, whole_size

#: Largest number of annotations that are read for one picture.
_MAX_ON_ONE = 2_000


def looks_like_coco(value: Any) -> bool:
    """Return whether a JSON value is the content of a COCO file."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("images"), list)
        and isinstance(value.get("annotations", []), list)
        and ("annotations" in value or "categories" in value)
    )


def read_coco(value: Mapping[str, Any], called: str, role: Role, reading: Reading) -> None:
    """Add the pictures that a COCO file names to ``reading``, with their drawings.

    ``called`` is the file's name in messages.

    Raises:
        InputProblem: the file names no picture.
    """
    images = value["images"]
    if not images:
        raise InputProblem(f"{called} names no picture: its list of images is empty")
    names = _categories(value.get("categories"))
    by_image: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    first_by_id: dict[str, int] = {}
    for number, entry in enumerate(value.get("annotations") or [], start=1):
        if not isinstance(entry, Mapping):
            reading.report(f"{called}, annotation {number}", "it is no object")
            continue
        by_image.setdefault(str(entry.get("image_id")), []).append((number, entry))
    for number, image in enumerate(images, start=1):
        where = f"{called}, image {number}"
        if len(reading.items) >= MAX_ITEMS:
            reading.report(where, f"more than {MAX_ITEMS:,} pictures are not read at once; split the file")
            return
        name = image.get("file_name") if isinstance(image, Mapping) else None
        if not isinstance(name, str) or not name.strip():
            reading.report(where, "it has no file_name")
            continue
        if image.get("id") is not None and (first := first_by_id.setdefault(str(image["id"]), number)) != number:
            reading.report(where, f"it has the id of image {first}, which gets what is drawn; number the images anew")
        listed = by_image.pop(str(image.get("id")), [])
        if len(listed) > _MAX_ON_ONE:
            reading.report(where, f"it has more than {_MAX_ON_ONE:,} annotations; the rest is not read")
        annotations = [
            (count, entry) for count, entry in listed[:_MAX_ON_ONE] if _is_single_instance(entry, called, reading)
        ]
        size = whole_size(image.get("width"), image.get("height"))
        drawings = _Drawings(
            file=called, annotations=annotations, names=names, declared=size, role=role, reading=reading
        )
        draw = drawings.regions if annotations else None
        reading.items.append(Item(where=where, address=name.strip(), draw=draw))
    for unmatched in by_image.values():
        for count, _ in unmatched:
            reading.report(f"{called}, annotation {count}", "its image_id names no image of the file")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawings:
    """The annotations on one picture that a COCO file names."""

    #: the file's name in messages
    file: str
    #: pairs: the annotation's position in the file, counted for messages, and the annotation
    annotations: Sequence[tuple[int, Mapping[str, Any]]]
    #: category id → label
    names: Mapping[str, str]
    #: the picture's size (width, height) as declared in the file
    declared: tuple[int, int] | None
    role: Role
    reading: Reading

    def regions(self, width: int, height: int) -> list[dict[str, Any]]:
        """Return the regions on the picture. ``width`` and ``height`` are its actual size in pixels.

        An annotation that cannot be used is reported.
        """
        size = self.declared or (width, height)
        left = Allowance()
        categories = (str(entry.get("category_id")) for _, entry in self.annotations)
        labels = [self.names.get(category, category[:100]) for category in categories]
        return self.reading.regions(
            (
                f"{self.file}, annotation {number} (“{label}”)",
                partial(_annotation_regions, entry, label, size, (width, height), self.role, left),
            )
            for (number, entry), label in zip(self.annotations, labels, strict=True)
        )


def _annotation_regions(
    entry: Mapping[str, Any],
    label: str,
    size: tuple[int, int],
    actual: tuple[int, int],
    role: Role,
    left: Allowance,
) -> list[dict[str, Any]]:
    """Return the box and the outlines of one annotation as regions. For a canvas, leave out the box if outlines exist.

    Args:
        entry: the annotation in the file.
        label: the name of its category.
        size: the picture's size (width, height) as declared in the file.
        actual: the picture's actual size.
        role: the picture's role in the study.
        left: the remaining allowance for the masks of the picture.

    Raises:
        BadRegion: the annotation cannot be used.
    """
    declared = {"original_width": size[0], "original_height": size[1]}
    check_size(declared, {}, *actual)  # before a mask is unpacked to the declared size
    outlines = [polygon(points, label, size) for points in _outlines(entry.get("segmentation"), size, left)]
    frame = entry.get("bbox")
    if frame in (None, []) and not outlines:
        raise BadRegion("it has neither a bbox nor a segmentation")
    if role is Role.CANVAS and outlines:
        return outlines
    if frame in (None, []):
        corners = [corner for outline in outlines for corner in outline["value"]["points"]]
        left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
        right, bottom = (max(corner[axis] for corner in corners) for axis in (0, 1))
        x, y, across, down = (
            share * side / 100
            for share, side in zip((left, top, right - left, bottom - top), (*size, *size), strict=True)
        )
    else:
        x, y, across, down = numbers(frame, 4, "bbox")[:4]
    return [box(x, y, across, down, label, size), *outlines]


def _outlines(segmentation: Any, size: tuple[int, int], left: Allowance) -> list[list[tuple[float, float]]]:
    if segmentation in (None, [], {}):
        return []
    if isinstance(segmentation, Mapping):
        left.check()
        counts = segmentation.get("counts")
        left.take("brush bytes", len(counts) if isinstance(counts, str | list) else 0)
        left.take("brush pixels", size[0] * size[1])
        mask = coco_rle.decode(segmentation, size)
        left.take("painted", brush_masks.extent(mask))
        return [list(part.points) for stroke in brush_masks.outlines(mask) for part in stroke]
    if isinstance(segmentation, list) and isinstance(segmentation[0], int | float):
        segmentation = [segmentation]  # one polygon without the enclosing list
    if not isinstance(segmentation, list):
        raise BadRegion("its segmentation is neither a list of polygons nor a mask")
    return [pairs(numbers(part, 6, "segmentation"), "segmentation") for part in segmentation]


def _is_single_instance(entry: Mapping[str, Any], called: str, reading: Reading) -> bool:
    if entry.get("iscrowd") in (1, True):
        reading.report(f"{called}, annotation {entry.get('id')}", "it marks a crowd (iscrowd 1), not one object")
        return False
    return True


def _categories(categories: Any) -> dict[str, str]:
    names = {}
    for entry in categories if isinstance(categories, list) else []:
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            names[str(entry.get("id"))] = plain(entry["name"])[:100]
    return names
