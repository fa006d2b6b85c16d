"""Pascal VOC: one ``Annotations/NAME.xml`` per image (Everingham et al. 2010, the VOC development kit).

Boxes only. As in the development kit, corners are whole pixels counted from 1, and both are inside the box. Splits are
lists of names in ``ImageSets/Main/``.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from typing import IO
from xml.etree import ElementTree as ET

from datagen.export.writer import NO_SPLIT, ExportContext, ExportedSample, ExportWriter


class VocWriter(ExportWriter):
    """Writes one XML file an image."""

    name = "voc"
    sentence = "Pascal VOC: boxes in whole pixels counted from 1, in one XML file an image."
    limits = "Boxes alone, in whole pixels, no shapes."
    paths = (("Annotations/", "Pascal VOC: boxes, one XML file an image; pixels counted from 1"),)
    opened_by = "supervision, torchvision, MMDetection"
    boxes_suffice = True

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._lists: dict[str, IO[bytes]] = {
            split: context.sink.open(context.path(f"ImageSets/Main/{split}.txt"))
            for split in context.splits
            if split != NO_SPLIT
        }

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Write the annotation of one image."""
        body = annotation(sample)
        self.context.sink.write(self.context.path(f"Annotations/{sample.name}.xml"), body)
        if sample.split in self._lists:
            self._lists[sample.split].write(f"{sample.name}\n".encode())
        return {}

    def finish(self) -> None:
        """Complete the lists of the splits."""
        for file in self._lists.values():
            file.close()


def annotation(sample: ExportedSample) -> bytes:
    """Return the file of one image."""
    folder, name = posixpath.split(sample.image_path)
    image = sample.sample.image
    root = ET.Element("annotation")
    _add(root, "folder", folder)
    _add(root, "filename", name)
    _add(ET.SubElement(root, "source"), "database", sample.origin)
    size = ET.SubElement(root, "size")
    _add(size, "width", image.width)
    _add(size, "height", image.height)
    _add(size, "depth", sample.channels)
    _add(root, "segmented", 0)
    for instance in sample.sample.instances:
        entry = ET.SubElement(root, "object")
        _add(entry, "name", instance.label)
        _add(entry, "pose", "Unspecified")
        _add(entry, "truncated", 0)
        _add(entry, "difficult", 0)
        corners = ET.SubElement(entry, "bndbox")
        _add(corners, "xmin", math.floor(instance.box.x) + 1)
        _add(corners, "ymin", math.floor(instance.box.y) + 1)
        _add(corners, "xmax", math.ceil(instance.box.right))
        _add(corners, "ymax", math.ceil(instance.box.bottom))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode").encode() + b"\n"


def _add(parent: ET.Element, name: str, value: str | int) -> None:
    ET.SubElement(parent, name).text = str(value)
