"""Label Studio JSON: a list of tasks with annotations or predictions, and the label config of a project for them.

A task names its image by the address at which Label Studio serves local files (``/data/local-files/?d=…``), relative
to the export's folder.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import IO, Any, ClassVar
from urllib.parse import quote
from xml.etree import ElementTree as ET

from datagen.domain.geometry import Polygon
from datagen.domain.outline_joining import joined
from datagen.export.writer import ExportContext, ExportedSample, ExportWriter
from datagen.label_studio.mapping import brush_encoding
from datagen.label_studio.mapping.predictions import polygon_region, region, regions_prediction

#: The name of the control in the label config, and of the regions' ``from_name``.
CONTROL = "label"
_OPENED_BY = "Label Studio"


class _TasksWriter(ExportWriter):
    """The common part of both forms: the list of tasks, and the label config."""

    opened_by = _OPENED_BY
    paths = (
        ("label_studio.json", "Label Studio: tasks with annotations or predictions, to be imported"),
        ("label_config.xml", "Label Studio: the labeling interface of a project for these tasks"),
    )
    #: the tag of the control
    tag: ClassVar[str]

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._tasks = 0
        self._file: IO[bytes] = context.sink.open(context.path("label_studio.json"))

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        regions = [self._region(sample, i) for i in range(len(sample.sample.instances))]
        data = {
            "image": f"/data/local-files/?d={quote(self.context.path(sample.image_path))}",
            "name": f"{sample.name}{sample.image_suffix}",
            "sample": sample.name,
        }
        if sample.split:
            data["split"] = sample.split
        labels = {"predictions": [regions_prediction(regions)]}
        if not self.context.predictions:
            labels = {"annotations": [{"result": regions, "was_cancelled": False, "ground_truth": False}]}
        entry = json.dumps({"data": data, **labels}, ensure_ascii=False)
        self._file.write(f"{',' if self._tasks else '['}\n{entry}".encode())
        self._tasks += 1
        return {}

    def finish(self) -> None:
        with self._file:
            self._file.write(b"\n]\n" if self._tasks else b"[]\n")
        self.context.sink.write(self.context.path("label_config.xml"), label_config(self.tag, self.context.labels))

    @abstractmethod
    def _region(self, sample: ExportedSample, number: int) -> dict[str, Any]:
        """Return the region of instance ``number``, counted from 0."""


class LabelStudioWriter(_TasksWriter):
    """Writes polygons: one an instance, whose parts and holes are joined by lines of no width."""

    name = "label-studio"
    sentence = "Label Studio JSON: tasks with a polygon an object, as annotations or predictions, and a label config."
    limits = "One polygon per object; parts and holes are joined to it by lines of no width."
    tag = "PolygonLabels"

    def _region(self, sample: ExportedSample, number: int) -> dict[str, Any]:
        instance, image = sample.sample.instances[number], sample.sample.image
        line = Polygon(joined((*instance.outlines, *sample.rings[number])))
        return polygon_region(f"i{number}", CONTROL, instance.label, line, image.width, image.height)


class LabelStudioBrushWriter(_TasksWriter):
    """Writes brush masks, pixel for pixel."""

    name = "label-studio-brush"
    sentence = (
        "Label Studio JSON: tasks with a brush mask an object, as annotations or predictions, and a label config."
    )
    limits = "Nothing of the shapes; Label Studio shows brush masks slowly where there are many."
    tag = "BrushLabels"

    def _region(self, sample: ExportedSample, number: int) -> dict[str, Any]:
        instance, image = sample.sample.instances[number], sample.sample.image
        value = {
            "format": "rle",
            "rle": brush_encoding.encode(sample.inside(number)),
            "brushlabels": [instance.label],
        }
        return region(f"i{number}", CONTROL, "brushlabels", value, image.width, image.height)


def label_config(tag: str, labels: tuple[str, ...]) -> bytes:
    """Return the label config (XML) of an image with one control of these labels, named ``CONTROL``."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true")
    control = ET.SubElement(view, tag, name=CONTROL, toName="image")
    for label in labels:
        ET.SubElement(control, "Label", value=label)
    ET.indent(view)
    return ET.tostring(view, encoding="unicode").encode() + b"\n"
