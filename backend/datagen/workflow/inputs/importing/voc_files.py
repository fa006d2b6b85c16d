"""Pascal VOC annotations as items: one XML file for each picture, with boxes and polygons (Everingham et al. 2010).

Corners are read as in the VOC development kit: they are whole pixels counted from 1, and both lie inside the box. If a
program counted from 0, its boxes begin one pixel too early here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import Role
from datagen.errors import BadRegion, InputProblem
from datagen.workflow.inputs.importing.items import Item, Reading
from datagen.workflow.inputs.importing.pixel_regions import MAX_CORNERS, box, polygon, whole_size
from datagen.workflow.inputs.importing.text_files import read_text

#: Largest annotation of one picture, bytes.
MAX_XML_BYTES = 4 * 2**20
_MAX_OBJECTS = 2_000


def parsed(path: Path, called: str) -> Element | None:
    """Return the root of a VOC annotation; None for XML of another kind.

    Raises:
        InputProblem: the file is not XML, is too large, or defines entities.
    """
    text = read_text(path, called, max_bytes=MAX_XML_BYTES)
    try:
        root = fromstring(text.partition("?>")[2] if text.lstrip("\ufeff").startswith("<?xml") else text)
    except (ParseError, DefusedXmlException, ValueError, RecursionError) as fault:
        raise InputProblem(f"{called} is no XML that can be read: {str(fault) or type(fault).__name__}") from None
    return (
        root if isinstance(root, Element) and root.tag == "annotation" and root.find("filename") is not None else None
    )


def read_voc(files: Sequence[tuple[Path, str]], role: Role, reading: Reading) -> None:
    """Add the pictures of XML files, given as (path, displayed name), with their drawings."""
    for path, called in files:
        try:
            root = parsed(path, called)
        except InputProblem as problem:
            reading.report(called, str(problem).removeprefix(f"{called} "))
            continue
        if root is None:
            reading.report(called, "it is no Pascal VOC annotation (an “annotation” with a “filename”)")
            continue
        objects = root.findall("object")
        if len(objects) > _MAX_OBJECTS:
            reading.report(called, f"it has more than {_MAX_OBJECTS:,} objects; the rest is not read")
        size = whole_size(root.findtext("size/width"), root.findtext("size/height"))
        drawings = _Drawings(file=called, objects=objects[:_MAX_OBJECTS], declared=size, role=role, reading=reading)
        draw = drawings.regions if objects else None
        folder, name = (plain(root.findtext(tag) or "").strip() for tag in ("folder", "filename"))
        address = f"{folder}/{name}" if folder and "/" not in name and "\\" not in name else name
        reading.items.append(Item(where=called, address=address or path.stem, draw=draw))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawings:
    """The objects that an XML file marks on its picture."""

    #: the file's name in messages
    file: str
    objects: Sequence[Element]
    #: the picture's size (width, height) as declared in the file
    declared: tuple[int, int] | None
    role: Role
    reading: Reading

    def regions(self, width: int, height: int) -> list[dict[str, Any]]:
        """Return the regions on the picture. ``width`` and ``height`` are its actual size in pixels.

        An object that cannot be used is reported.
        """
        size = self.declared or (width, height)
        labels = [plain(entry.findtext("name") or "").strip()[:100] for entry in self.objects]
        return self.reading.regions(
            (f"{self.file}, object {number} (“{label}”)", partial(_object_regions, entry, label, size, self.role))
            for number, (entry, label) in enumerate(zip(self.objects, labels, strict=True), start=1)
        )


def _object_regions(entry: Element, label: str, size: tuple[int, int], role: Role) -> Iterator[dict[str, Any]]:
    outline, frame = entry.find("polygon"), entry.find("bndbox")
    corners = _corners(outline) if outline is not None else []
    if frame is None and not corners:
        raise BadRegion("it has no bndbox; draw a box round it")
    if frame is not None and not (role is Role.CANVAS and corners):
        left, top, right, bottom = (_number(frame, name) for name in ("xmin", "ymin", "xmax", "ymax"))
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
        yield box(
            max(left - 1, 0.0), max(top - 1, 0.0), right - max(left - 1, 0), bottom - max(top - 1, 0), label, size
        )
    if corners:
        yield polygon(corners, label, size)


def _corners(outline: Element) -> list[tuple[float, float]]:
    """Return the corners of a polygon in pixels.

    Its elements are ``pt`` with x and y (LabelMe), or ``x1``, ``y1``, ``x2``, ``y2``, … (V7, Roboflow).
    """
    points = outline.findall("pt")
    if points:
        _check_corners(len(points))
        return [(_number(point, "x"), _number(point, "y")) for point in points]
    texts: dict[str, str | None] = {}
    for child in outline:
        texts.setdefault(child.tag, child.text)
    corners: list[tuple[float, float]] = []
    while (x := f"x{len(corners) + 1}") in texts:
        _check_corners(len(corners) + 1)
        y = f"y{len(corners) + 1}"
        corners.append((_finite(texts[x], x), _finite(texts.get(y), y)))
    if len(corners) < 3:
        raise BadRegion("its polygon has no corners that can be read")
    return corners


def _check_corners(count: int) -> None:
    if count > MAX_CORNERS:
        raise BadRegion(f"its polygon has more than {MAX_CORNERS:,} corners; simplify it")


def _number(parent: Element, name: str) -> float:
    return _finite(parent.findtext(name), name)


def _finite(text: str | None, name: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e9:
        raise BadRegion(f"its {name} is not a number")
    return number
