"""A pack folder as a spec with its pictures, and the real images for its evaluation.

A pack has ``concept.json``, ``canvas.json``, ``background.json``, ``test.json`` and ``reference.json`` in Label
Studio's import format. Paths of images are relative to the folder, and true masks are under ``data.mask``. An engine
gets only the first three lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef
from datagen.domain.spec import Spec
from datagen.errors import DatagenError
from datagen.imaging.codec import decode
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from datagen.synthesis.engine import Picture

_MAX_BYTES, _MAX_PIXELS = 2**28, 2**27


class PackPictures:
    """The pictures of a pack folder, by the digest of their file."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}

    def add(self, path: Path) -> ImageRef:
        """Add a picture file; return its reference."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._paths[digest] = path
        height, width = read_picture(path).shape[:2]
        return ImageRef(digest=digest, width=width, height=height, name=path.name)

    def load(self, ref: ImageRef) -> Picture:
        """Return the pixels of an added file, decoded at every call."""
        return read_picture(self._paths[ref.digest])


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """A real photo with its truth: ``mask`` [h, w] is true on the concept, and all false without one."""

    image: Picture
    mask: npt.NDArray[np.bool_]
    boxes: tuple[Box, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The content of a pack's folder."""

    name: str
    spec: Spec
    pictures: PackPictures
    concepts: tuple[RealImage, ...]
    reference: tuple[RealImage, ...]
    test: tuple[RealImage, ...]

    def backgrounds(self) -> list[Picture]:
        """The background photos, decoded."""
        return [self.pictures.load(ref) for ref in self.spec.backgrounds]


def read_picture(path: Path) -> Picture:
    """Return the pixels of a file: [h, w] or [h, w, 3], uint8 or uint16."""
    return decode(path.read_bytes(), max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS)


def read_pack(folder: Path, shots: int | None = None, *, judged: bool = True) -> Pack:
    """Return the pack in ``folder``, with its first ``shots`` concept images, or all of them if ``shots`` is None.

    The images for the evaluation are decoded and kept in memory. Without ``judged`` they are left out.

    Raises:
        DatagenError: a file is missing or is not what a pack holds; the sentence names it.
    """
    pictures = PackPictures()
    concept_tasks = _tasks(folder, "concept")[:shots]
    labels = _labels(concept_tasks)
    concepts, canvases = [], []
    for task in concept_tasks:
        ref = pictures.add(folder / task["data"]["image"])
        regions, _ = concept_regions(_result(task), ref.width, ref.height, labels)
        if regions:
            concepts.append(ConceptImage(image=ref, regions=regions))
    for task in _tasks(folder, "canvas"):
        ref = pictures.add(folder / task["data"]["image"])
        areas, _ = canvas_areas(_result(task), ref.width, ref.height, labels)
        canvases.append(CanvasImage(image=ref, areas=areas))
    backgrounds = tuple(pictures.add(folder / task["data"]["image"]) for task in _tasks(folder, "background"))
    spec = Spec(
        engine="composite",
        labels=labels,
        concepts=tuple(concepts),
        canvases=tuple(canvases),
        backgrounds=backgrounds,
    )
    return Pack(
        name=folder.name,
        spec=spec,
        pictures=pictures,
        concepts=_real(folder, concept_tasks if judged else (), labels),
        reference=_real(folder, _tasks(folder, "reference") if judged else (), labels),
        test=_real(folder, _tasks(folder, "test") if judged else (), labels),
    )


def pack_folders(given: Sequence[Path]) -> list[Path]:
    """Return the pack folders at the given paths.

    A folder with a ``concept.json`` is a pack; another folder may contain some.
    """
    folders: list[Path] = []
    for folder in given:
        inner = sorted(path.parent for path in folder.glob("*/concept.json"))
        folders += [folder] if (folder / "concept.json").exists() or not inner else inner
    return folders


def pack_digest(folder: Path) -> str:
    """Return the SHA-256 over a pack's lists and every picture that they name.

    Raises:
        DatagenError: a list or a picture is missing, or a list is not what a pack holds.
    """
    digest = hashlib.sha256()
    for name in ("concept", "canvas", "background", "test", "reference"):
        tasks = _tasks(folder, name)
        digest.update(json.dumps([name, tasks], sort_keys=True).encode())
        for task in tasks:
            for path in (task["data"].get("image"), task["data"].get("mask")):
                if path:
                    digest.update(_picture_digest(folder, path))
    return digest.hexdigest()


def _picture_digest(folder: Path, path: str) -> bytes:
    try:
        return hashlib.sha256((folder / path).read_bytes()).digest()
    except FileNotFoundError:
        raise DatagenError(f"{folder} is no pack: {path} is not there.") from None


def _tasks(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / f"{name}.json"
    try:
        tasks = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise DatagenError(f"{folder} is no pack: {path.name} is not there.") from None
    except json.JSONDecodeError as wrong:
        raise DatagenError(f"{path} is not JSON (line {wrong.lineno}).") from None
    if not isinstance(tasks, list):
        raise DatagenError(f"{path} must hold a list of tasks.")
    return tasks


def _result(task: dict[str, Any]) -> list[Any]:
    return [region for annotation in task.get("annotations", []) for region in annotation.get("result", [])]


def _labels(tasks: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the labels of the boxes, in the order of their first occurrence."""
    seen: dict[str, None] = {}
    for task in tasks:
        for region in _result(task):
            for label in region.get("value", {}).get("rectanglelabels", []):
                seen[label] = None
    return tuple(seen)


def _real(folder: Path, tasks: Sequence[dict[str, Any]], labels: Sequence[str]) -> tuple[RealImage, ...]:
    images = []
    for task in tasks:
        image = read_picture(folder / task["data"]["image"])
        height, width = image.shape[:2]
        regions, _ = concept_regions(_result(task), width, height, labels)
        mask = np.zeros((height, width), bool)
        if task["data"].get("mask"):
            mask = read_picture(folder / task["data"]["mask"]) > 0
            mask = mask if mask.ndim == 2 else mask.any(axis=2)
        images.append(
            RealImage(image=image, mask=mask, boxes=tuple(r.box for r in regions), name=task["data"]["image"])
        )
    return tuple(images)
