"""Pascal VOC: whole pixels from 1, both corners inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from datagen.domain.sample import Sample
from datagen.export.formats.voc import annotation


def test_corners_are_the_first_and_the_last_pixel_counted_from_one(shelf: Any, sample: Sample) -> None:
    root = ET.fromstring(annotation(shelf.exported(sample)))
    for entry, instance in zip(root.iter("object"), sample.instances, strict=True):
        corners = {corner.tag: int(corner.text or "") for corner in entry.find("bndbox") or []}
        box = instance.box
        assert entry.findtext("name") == instance.label
        assert corners == {"xmin": box.x + 1, "ymin": box.y + 1, "xmax": box.right, "ymax": box.bottom}


def test_the_image_is_named_with_its_size(shelf: Any, sample: Sample) -> None:
    grey = replace(shelf.exported(sample), channels=1, image_path="images/val/a.jpg")
    root = ET.fromstring(annotation(grey))
    assert (root.findtext("folder"), root.findtext("filename")) == ("images/val", "a.jpg")
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["60", "40", "1"]


def test_a_label_is_escaped(shelf: Any, sample: Sample) -> None:
    exported = shelf.exported(sample)
    odd = replace(exported, sample=replace(sample, instances=(replace(sample.instances[0], label="<b> & “ö”"),)))
    assert ET.fromstring(annotation(odd)).findtext("object/name") == "<b> & “ö”"


def test_supervision_reads_the_boxes(difficult: list[Sample], export_to: Callable[..., Path]) -> None:
    import supervision  # here, because each worker would spend half a second on it

    folder = export_to(difficult, "voc")
    read = supervision.DetectionDataset.from_pascal_voc(str(folder / "images"), str(folder / "Annotations"))
    by_name = {Path(path).stem: detections for path, _, detections in read}
    for sample in difficult:
        boxes = np.array([(i.box.x, i.box.y, i.box.right, i.box.bottom) for i in sample.instances])
        # supervision's corners are counted from 0, and the last one is inside the box
        np.testing.assert_allclose(by_name[sample.provenance.file_stem].xyxy, boxes, atol=1)
