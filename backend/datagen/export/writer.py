"""The interface of an export format, and the registry of the installed ones.

Formats are plug-ins: an entry point in the group ``datagen.export_formats`` names a subclass of ``ExportWriter``. The
help of the command line, the README.txt of an export and the documentation are made from the classes' attributes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Polygon
from datagen.domain.sample import RealPhoto, Sample
from datagen.errors import InputProblem
from datagen.export.sinks import Sink
from datagen.synthesis.entry_points import installed

#: [h, w] uint8: 0 outside, i + 1 inside instance i.
Mask = npt.NDArray[np.uint8]

#: The attributes that every format's class sets.
_DESCRIBED = ("name", "sentence", "limits", "paths", "opened_by")

#: The split of samples in an export without splits.
NO_SPLIT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSample:
    """A sample whose labels agree with its mask, with all that a format may need."""

    #: of a tile, with the tile's size and instances
    sample: Sample | RealPhoto
    #: the sample that a tile was cut from; else ``sample``
    whole: Sample | RealPhoto
    #: the name of its files without suffix; unique in the export
    name: str
    #: the path of its image from the folder that the format's paths begin at
    image_path: str
    #: the bytes of the image file, and of the instance mask (PNG)
    image: bytes
    mask_png: bytes
    mask: Mask
    #: number of channels of the image file: 1 or 3
    channels: int
    #: the area of each instance in pixels
    areas: Sequence[int]
    #: the rings of each instance's holes, which its outlines do not include
    rings: Sequence[Sequence[Polygon]]
    #: JSON values on where its pixels come from; see ``manifest.provenance``
    provenance: Mapping[str, Any]
    #: “train”, “val” or “test”; ``NO_SPLIT`` in an export without splits
    split: str = NO_SPLIT
    #: what the manifest says besides, as JSON values: the place of a tile, the encoding of the image
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mask_path(self) -> str:
        """The path of its mask, from the same folder as ``image_path``."""
        return self.image_path.replace("images/", "masks/", 1).removesuffix(self.image_suffix) + ".png"

    @property
    def origin(self) -> str:
        """The origin of the image, as a phrase."""
        if isinstance(self.sample, RealPhoto):
            return "a photo, labelled by people"
        return f"synthesized by {self.sample.provenance.engine}"

    @property
    def image_suffix(self) -> str:
        """The suffix of the image file, with its dot."""
        return self.image_path[self.image_path.rindex(".") :]

    def inside(self, number: int) -> npt.NDArray[np.bool_]:
        """Return the pixels [h, w] of instance ``number``, counted from 0."""
        return np.equal(self.mask, number + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportContext:
    """The facts that a format receives before the first sample."""

    #: where files go; use it through ``path``
    sink: Sink
    #: the study's labels, in order
    labels: tuple[str, ...]
    #: JSON values that describe the export
    about: Mapping[str, Any]
    #: the folder of this format, with a slash at the end; "" if no other requested format has files of the same names
    folder: str = ""
    #: the splits of the export, in order
    splits: tuple[str, ...] = (NO_SPLIT,)
    #: whether labels are predictions where a format tells them from annotations
    predictions: bool = False

    def path(self, name: str) -> str:
        """Return the path in the export of a file of this format."""
        return self.folder + name


class ExportWriter(ABC):
    """Base class of export formats: created once an export, then ``add`` for each sample in order, then ``finish``."""

    #: the name of the entry point, by which an export asks for the format
    name: ClassVar[str]
    #: one sentence on what the format holds
    sentence: ClassVar[str]
    #: one sentence on what the format cannot hold
    limits: ClassVar[str]
    #: the format's files (a folder ends with a slash) and a description of each; formats with a path in common get a
    #: folder each when they are requested together
    paths: ClassVar[tuple[tuple[str, str], ...]]
    #: programs and libraries that open the format
    opened_by: ClassVar[str]
    #: whether the format's files hold images and masks; an export of such formats alone has no images/ and masks/
    holds_images: ClassVar[bool] = False
    #: whether the format can hold a box without a shape; if not, photos on which people drew boxes alone are left out
    boxes_suffice: ClassVar[bool] = False
    #: the largest number of labels; None: no limit
    max_labels: ClassVar[int | None] = None
    #: the extra of this package that the format needs; "" if none
    extra: ClassVar[str] = ""

    def __init__(self, context: ExportContext) -> None:
        self.context = context

    @classmethod
    def check(cls, labels: Sequence[str]) -> None:
        """Check, before anything is written, that a study with these labels can be exported.

        Raises:
            InputProblem: it cannot; the sentence names the fix.
        """
        if cls.max_labels is not None and len(labels) > cls.max_labels:
            raise InputProblem(
                f"the format {cls.name} holds {cls.max_labels} labels, the study has {len(labels)}; "
                "leave it out: masks/ and coco.json hold every label"
            )

    @abstractmethod
    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Write one sample; return the paths in the export of the files of this sample alone, by kind."""

    def finish(self) -> None:  # noqa: B027 - a format may have nothing left to write
        """Write what needs all samples; called once, also in an export without samples."""

    def discard(self) -> None:  # noqa: B027 - a format may have nothing to release
        """Release what is open after a failure, in place of ``finish``; the destination removes the files itself."""


def format_names() -> list[str]:
    """Return the names of all installed formats, sorted."""
    return sorted(_installed())


def format_class(name: str) -> type[ExportWriter]:
    """Load the class of the format of that name.

    Raises:
        InputProblem: no installed package provides it, it cannot be imported, or it is no complete ``ExportWriter``.
    """
    formats = _installed()
    if name not in formats:
        raise InputProblem(f"{name!r} is no export format; there are: {', '.join(sorted(formats)) or 'none'}")
    try:
        loaded: object = formats[name].load()
    except Exception as fault:  # the module of another package may raise anything
        raise InputProblem(
            f"the export format {name!r} cannot be loaded ({type(fault).__name__}: {fault}); "
            "install its package again, or remove it"
        ) from fault
    if not (isinstance(loaded, type) and issubclass(loaded, ExportWriter)):
        raise InputProblem(
            f"the export format {name!r} is not derived from datagen.export.writer.ExportWriter; "
            "install a release of its package for this version, or remove it"
        )
    if missing := [each for each in _DESCRIBED if not hasattr(loaded, each)]:
        raise InputProblem(f"the export format {name!r} does not set {', '.join(missing)}; correct its class")
    if loaded.name != name:
        raise InputProblem(
            f"the export format {name!r} calls itself {loaded.name!r}; give its class and its entry point one name"
        )
    return loaded


def requested_formats(names: Sequence[str], labels: Sequence[str]) -> list[type[ExportWriter]]:
    """Return the classes of the requested formats, in order, after checks that need no sample.

    Raises:
        InputProblem: a format is unknown or requested twice, or cannot hold a study with these labels.
    """
    for name in names:
        if names.count(name) > 1:
            raise InputProblem(f"the format {name} is requested twice; name it once")
    classes = [format_class(name) for name in names]
    for each in classes:
        each.check(labels)
    return classes


def format_folders(classes: Sequence[type[ExportWriter]]) -> list[str]:
    """Return the folder of each format: its name where another requested one has a path in common, else ""."""
    users: dict[str, int] = {}
    for each in classes:
        for path, _ in each.paths:
            users[path] = users.get(path, 0) + 1
    return [f"{each.name}/" if any(users[path] > 1 for path, _ in each.paths) else "" for each in classes]


def _installed() -> dict[str, EntryPoint]:
    return installed("datagen.export_formats")
