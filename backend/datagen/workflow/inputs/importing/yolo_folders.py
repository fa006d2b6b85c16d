"""YOLO folders as items: one text file per picture, with boxes, polygons or rotated boxes in fractions of its size.

Label files lie beside the pictures, or in ``labels/`` for pictures in ``images/``. A YAML file, ``classes.txt``,
``obj.names``, ``predefined_classes.txt`` or ``labels.txt`` names the classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from datagen.domain.foreign_text import plain
from datagen.errors import BadRegion, InputProblem
from datagen.workflow.inputs.importing.items import Draw, Item, Reading, folded
from datagen.workflow.inputs.importing.picture_suffixes import REFUSED_SUFFIXES, refusal
from datagen.workflow.inputs.importing.pixel_regions import MAX_CORNERS, box, polygon
from datagen.workflow.inputs.importing.text_files import read_text

_MAX_TEXT_BYTES = 8 * 2**20
_MAX_ROWS = 2_000
_MAX_CLASSES = 10_000
#: Largest number of digits of the number of a class.
_MAX_DIGITS = 9
_CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt", "labels.txt")
_YAML_SUFFIXES = (".yaml", ".yml")
#: Largest value of a coordinate that counts as a fraction of the picture's size. A larger one is probably in pixels.
_FARTHEST_FRACTION = 2.0


class _PlainTexts(yaml.BaseLoader):  # type: ignore[misc]  # yaml has no types
    """YAML loader that reads every scalar as text and refuses aliases.

    Scalars stay text because a class may be called “no” or “007”, and because parsing a number in base 60 takes
    quadratic time in its length. Aliases are refused because nested ones may double the result with every line of the
    file.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to other places of itself by “*”; write them out")
        return super().compose_node(parent, index)


def label_files(files: Sequence[Path], pictures: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Return the label file of each picture that has one."""
    texts = {_parts(path, root): path for path in files if path.suffix.lower() == ".txt"}
    for path in files:
        if path.name.lower() in _CLASS_FILES:
            texts.pop(_parts(path, root), None)
    label_file_of: dict[Path, Path] = {}
    for picture in pictures:
        parts = _parts(picture.with_suffix(".txt"), root)
        swapped = tuple("labels" if part == "images" else part for part in parts)
        for candidate in (parts, swapped):
            if candidate in texts:
                label_file_of[picture] = texts[candidate]
                break
    return label_file_of


def is_yolo(files: Sequence[Path], pictures: Sequence[Path], root: Path) -> bool:
    """Return whether a folder is in YOLO format.

    It is if pictures have label files, and at least one of these is valid or a file names the classes.
    """
    paired = label_files(files, pictures, root)
    for path in list(paired.values())[:20]:
        try:
            words = read_text(path, path.name, max_bytes=_MAX_TEXT_BYTES).split("\n", 1)[0].split()
        except InputProblem:
            continue
        if len(words) >= 5 and all(map(_is_number, words)):
            return True
    return bool(paired) and bool(_class_files(files))


def read_yolo(files: Sequence[Path], pictures: Sequence[Path], root: Path, reading: Reading) -> None:
    """Add the pictures of a folder, with the drawings of their label files."""
    names, has_keypoints = _classes(files, root, reading)
    paired = label_files(files, pictures, root)
    if not names:
        reading.notes.append("the folder names no classes (data.yaml, classes.txt): labels are the classes' numbers")
    for picture in pictures:
        called = str(picture.relative_to(root))
        text = paired.get(picture)
        draw: Draw | None = None
        if text is None:
            reading.count("pictures without a label file, added without drawings: {n}")
        else:
            draw = _Drawings(
                path=text, name=str(text.relative_to(root)), labels=names, has_keypoints=has_keypoints, reading=reading
            ).regions
        reading.items.append(Item(where=called, file=picture, name=called, draw=draw))
    # training writes a cache (.npy) beside each picture
    picture_stems = {picture.with_suffix("") for picture in pictures}
    refused = [
        path for path in files if path.suffix.lower() in REFUSED_SUFFIXES and path.with_suffix("") not in picture_stems
    ]
    for path in refused:
        reading.report(str(path.relative_to(root)), refusal(path))
    used = {*paired.values(), *label_files(files, refused, root).values()}
    for path in files:
        if path.suffix.lower() == ".txt" and path not in used and "labels" in path.relative_to(root).parts[:-1]:
            reading.report(str(path.relative_to(root)), "its picture is not in the folder; lay it into images/")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawings:
    """The content of the label file of one picture."""

    path: Path
    #: the file's name in messages
    name: str
    #: class number → label
    labels: dict[int, str]
    has_keypoints: bool
    reading: Reading

    def regions(self, width: int, height: int) -> list[dict[str, Any]]:
        """Return the regions on the picture. ``width`` and ``height`` are its actual size in pixels.

        A row that cannot be used is reported.
        """
        try:
            rows = read_text(self.path, self.name, max_bytes=_MAX_TEXT_BYTES).splitlines()
        except InputProblem as problem:
            self.reading.report(self.name, str(problem).removeprefix(f"{self.name} "))
            return []
        if len(rows) > _MAX_ROWS:
            self.reading.report(self.name, f"it has more than {_MAX_ROWS:,} rows; the rest is not read")
        size = (width, height)
        return self.reading.regions(
            (f"{self.name}, row {number}", partial(_row_regions, row.split(), self.labels, self.has_keypoints, size))
            for number, row in enumerate(rows[:_MAX_ROWS], start=1)
            if row.strip()
        )


def _row_regions(
    words: Sequence[str], names: dict[int, str], has_keypoints: bool, size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    if not all(map(_is_number, words)) or len(words) < 5:
        raise BadRegion("it is no row of YOLO's: a class and at least four numbers")
    number, *fractions = (float(word) for word in words)
    if number != int(number) or number < 0:
        raise BadRegion("its class is no whole number")
    label = names.get(int(number), str(int(number)))
    if len(fractions) > 2 * MAX_CORNERS:
        raise BadRegion(f"its polygon has more than {MAX_CORNERS:,} corners")
    if not all(-_FARTHEST_FRACTION <= fraction <= 1 + _FARTHEST_FRACTION for fraction in fractions):
        raise BadRegion("its numbers are no shares of the picture (0 to 1)")
    width, height = size
    if has_keypoints or len(fractions) in (4, 5):  # the fifth value is a model's confidence
        x, y, across, down = fractions[:4]
        yield box((x - across / 2) * width, (y - down / 2) * height, across * width, down * height, label, size)
        return
    if len(fractions) % 2:
        raise BadRegion("it has an odd number of coordinates, so it is neither a box nor a polygon")
    points = [(x * width, y * height) for x, y in zip(fractions[::2], fractions[1::2], strict=True)]
    yield polygon(points, label, size)


def _classes(files: Sequence[Path], root: Path, reading: Reading) -> tuple[dict[int, str], bool]:
    """Return class number → name of the class, and whether rows contain keypoints."""
    for path in sorted(_class_files(files), key=lambda file: (len(file.parts), file.suffix.lower() == ".txt")):
        called = str(path.relative_to(root))
        try:
            text = read_text(path, called, max_bytes=2**20)
            if path.suffix.lower() in _YAML_SUFFIXES:
                body = yaml.load(text, Loader=_PlainTexts)  # noqa: S506 (it creates only texts, lists and mappings)
                if isinstance(body, dict) and (names := _names_by_number(body.get("names"))):
                    return names, "kpt_shape" in body
                continue
            lines = [plain(line).strip()[:100] for line in text.splitlines()[:_MAX_CLASSES]]
            while lines and not lines[-1]:
                lines.pop()
            return dict(enumerate(lines)), False
        except (InputProblem, yaml.YAMLError, RecursionError, ValueError) as problem:
            reading.report(called, f"the names of the classes cannot be read ({str(problem).splitlines()[0][:200]})")
    return {}, False


def _names_by_number(names: Any) -> dict[int, str]:
    listed = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(listed, dict):
        return {}
    names_by_number = {}
    for number, name in list(listed.items())[:_MAX_CLASSES]:
        if str(number).isdecimal() and len(str(number)) <= _MAX_DIGITS and isinstance(name, str):
            names_by_number[int(number)] = plain(name)[:100]
    return names_by_number


def _class_files(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in _YAML_SUFFIXES or path.name.lower() in _CLASS_FILES]


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    return tuple(folded(part) for part in path.relative_to(root).parts)


def _is_number(word: str) -> bool:
    try:
        return abs(float(word)) < 1e9
    except ValueError:
        return False
