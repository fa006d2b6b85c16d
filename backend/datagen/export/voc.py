"""Pascal VOC: one ``Annotations/NAME.xml`` per image (Everingham et al. 2010, the VOC development kit).

The files contain only boxes. As in the development kit, corners are whole pixels counted from 1, and both corners are
inside the box.
"""

from __future__ import annotations

import math
import posixpath
from xml.etree import ElementTree as ET

from datagen.domain.sample import Sample


def annotation(sample: Sample, file_name: str, *, channels: int) -> bytes:
    """Return the bytes of the file of one image.

    Args:
        sample: the sample.
        file_name: the image's path in the export, with forward slashes.
        channels: the number of the image's channels, 1 or 3.
    """
    folder, name = posixpath.split(file_name)
    root = ET.Element("annotation")
    _add(root, "folder", folder)
    _add(root, "filename", name)
    _add(ET.SubElement(root, "source"), "database", f"synthesized by {sample.provenance.engine}")
    size = ET.SubElement(root, "size")
    _add(size, "width", sample.image.width)
    _add(size, "height", sample.image.height)
    _add(size, "depth", channels)
    _add(root, "segmented", 1)
    for instance in sample.instances:
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
