"""Reader of a pack: a folder of a few images with boxes and polygons, in Label Studio's JSON import format.

The lists are ``concept.json`` (boxes), ``canvas.json`` (polygons) and ``background.json``. Paths of images are relative
to the folder. Each entry that cannot be used becomes a sentence in ``problems``; all others are used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage.processes import StageError

#: File names of a pack's three lists, by the role of their images.
FILES = {"concept": "concept.json", "canvas": "canvas.json", "background": "background.json"}
#: A preview needs at least this many images of each role.
MINIMUM = 6


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its name in the pack (``concept/000.png``), its file, and the regions that are drawn on it."""

    name: str
    path: Path
    regions: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """The content of a pack's folder, by role.

    ``labels`` are in the order in which they first occur on the concepts.
    """

    name: str
    items: dict[str, tuple[Item, ...]]
    labels: tuple[str, ...]
    problems: tuple[str, ...]

    def missing(self) -> tuple[str, ...]:
        """A sentence for each role with too few usable images for a preview."""
        return tuple(
            f"{FILES[role]} gives {len(items)} usable {role} images; at least {MINIMUM} are needed."
            for role, items in self.items.items()
            if len(items) < MINIMUM
        )


def read_pack(folder: Path) -> Pack:
    """Return the pack in ``folder``.

    Raises:
        StageError: it is not a folder, or has none of the three lists.
    """
    if not folder.is_dir():
        raise StageError(f"{folder} is not a folder; --data takes a folder with {', '.join(FILES.values())}.")
    if not any((folder / file).is_file() for file in FILES.values()):
        raise StageError(f"{folder} holds none of {', '.join(FILES.values())}; --data takes a folder that does.")
    problems: list[str] = []
    items = {role: tuple(_items(folder, role, problems)) for role in FILES}
    labels = dict.fromkeys(label for item in items["concept"] for label in _labels(item))
    if items["concept"] and not labels:
        problems.append("concept.json: no box carries a label, so the concept is called “concept”.")
    return Pack(folder.resolve().name, items, tuple(labels) or ("concept",), tuple(problems))


def _items(folder: Path, role: str, problems: list[str]) -> Iterator[Item]:
    file = folder / FILES[role]
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{file.name} is not in {folder}; the study gets no {role} images.")
        return
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        problems.append(f"{file.name} is not JSON ({error}); the study gets no {role} images.")
        return
    if not isinstance(entries, list):
        problems.append(f"{file.name} is not a list of tasks; the study gets no {role} images.")
        return
    for number, entry in enumerate(entries):
        try:
            yield _item(folder, role, entry)
        except (StageError, KeyError, TypeError, IndexError) as error:
            why = error if isinstance(error, StageError) else f"it is not a task with data.image ({error!r})"
            problems.append(f"{file.name}, entry {number}: {why}; it is left out.")


def _item(folder: Path, role: str, entry: dict[str, Any]) -> Item:
    name = entry["data"]["image"]
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise StageError(f"{name} points outside the pack")
    if not path.is_file():
        raise StageError(f"the file {name} is missing")
    annotations = entry.get("annotations") or [{"result": []}]
    regions = tuple(annotations[0]["result"])
    if role != "background" and not regions:
        raise StageError(f"{name} has no {'box' if role == 'concept' else 'polygon'}")
    return Item(name, path, regions)


def _labels(item: Item) -> Iterator[str]:
    for region in item.regions:
        yield from region["value"].get(region["type"], ())
