"""Pascal VOC: whole pixels from 1, both corners inside."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from datagen.domain.sample import Sample
from datagen.export.voc import annotation


def test_corners_are_the_first_and_the_last_pixel_counted_from_one(sample: Sample) -> None:
    root = ET.fromstring(annotation(sample, "images/a.png", channels=3))
    for entry, instance in zip(root.iter("object"), sample.instances, strict=True):
        corners = {corner.tag: int(corner.text or "") for corner in entry.find("bndbox") or []}
        box = instance.box
        assert entry.findtext("name") == instance.label
        assert corners == {"xmin": box.x + 1, "ymin": box.y + 1, "xmax": box.right, "ymax": box.bottom}


def test_the_image_is_named_with_its_size(sample: Sample) -> None:
    root = ET.fromstring(annotation(sample, "images/a.png", channels=1))
    assert (root.findtext("folder"), root.findtext("filename")) == ("images", "a.png")
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["60", "40", "1"]


def test_a_label_is_escaped(sample: Sample) -> None:
    odd = replace(sample, instances=(replace(sample.instances[0], label="<b> & “ö”"),))
    assert ET.fromstring(annotation(odd, "images/a.png", channels=3)).findtext("object/name") == "<b> & “ö”"
